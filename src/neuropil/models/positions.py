"""Position codes in nanometres: fixed sines and cosines, factored over z, y, x (Vaswani et al. 2017, arXiv 1706.03762).

The code of a place depends on its distance in nm from the corner of the crop, not on the number of the token: weights
serve any crop and, where patches cover the same tissue, any voxel size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuropil.geometry import Float3, Int3


def position_codes(
    grid: Int3, patch_nm: Float3, dim: int, wavelengths_nm: tuple[float, float], device: torch.device
) -> Tensor:
    """Codes (N, dim), fp32, of the centres of patches; N in C order of the grid.

    Parameters
    ----------
    grid
        Patches along z, y, x.
    patch_nm
        Extent of a patch.
    dim
        Width; what does not divide by six stays zero.
    wavelengths_nm
        Shortest and longest wave; those between are spaced evenly in the logarithm.
    """
    pairs = dim // 6
    short, long = wavelengths_nm
    waves = short * (long / short) ** torch.linspace(0, 1, pairs, device=device)
    codes = []
    for axis, (count, size) in enumerate(zip(grid, patch_nm, strict=True)):
        centre_nm = (torch.arange(count, device=device) + 0.5) * size
        phase = 2 * math.pi * centre_nm[:, None] / waves
        code = torch.cat([phase.sin(), phase.cos()], dim=1)
        codes.append(code.view(*(count if a == axis else 1 for a in range(3)), 2 * pairs).expand(*grid, -1))
    rest = codes[0].new_zeros(*grid, dim - 6 * pairs)
    return torch.cat([*codes, rest], dim=-1).flatten(0, 2)
