"""What is asked for in hidden patches, and how far off an answer is.

Targets are computed on whole crops, so that a patch's border is no edge, and in fp32. Voxels standardised patch by
patch are the target of He et al. 2022 (arXiv 2111.06377); histograms of oriented gradients are that of Wei et al. 2022
(arXiv 2112.09133), here with the soft bins and overlapping blocks of Dalal and Triggs 2005.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from neuropil.config.pretrain import TargetConfig
from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Int3
from neuropil.models.layers import fold, unfold


def grid_of(shape: Int3, patch: Int3) -> Int3:
    """Patches along z, y, x of a crop.

    Raises
    ------
    GeometryError
        If the crop is not a whole number of patches.
    """
    if any(n % p or n < p for n, p in zip(shape, patch, strict=True)):
        raise GeometryError(
            f"a crop of {shape} voxels with patches of {patch}",
            "a whole number of patches along z, y and x",
            "choose a crop that is a multiple of the patch",
        )
    return shape[0] // patch[0], shape[1] // patch[1], shape[2] // patch[2]


def patches(x_BCZYX: Tensor, patch: Int3) -> Tensor:
    """The patches of crops, (B, N, P): N in C order over the grid, P in C order over the patch, channels last.

    Raises
    ------
    GeometryError
        If the crop is not a whole number of patches.
    """
    grid_of(_extent(x_BCZYX), patch)
    return fold(x_BCZYX, patch).flatten(2).transpose(1, 2)


def from_patches(x_BNP: Tensor, grid: Int3, patch: Int3) -> Tensor:
    """The crops (B, C, Z, Y, X) that these are the patches of.

    Raises
    ------
    GeometryError
        If the number of patches is not that of the grid.
    """
    if x_BNP.shape[1] != math.prod(grid):
        raise GeometryError(f"{x_BNP.shape[1]} patches on a grid of {grid}", f"{math.prod(grid)} patches")
    b, _, p = x_BNP.shape
    return unfold(x_BNP.transpose(1, 2).reshape(b, p, *grid), patch)


@torch.no_grad()
def standardised(x_BNP: Tensor, variance_floor: float) -> Tensor:
    """Each patch with mean 0 and variance v / (v + floor), where v was its variance; fp32."""
    variance, mean = torch.var_mean(x_BNP.float(), dim=-1, correction=0, keepdim=True)
    return (x_BNP.float() - mean) * torch.rsqrt(variance + variance_floor)


@torch.no_grad()
def hog(x_BCZYX: Tensor, patch: Int3, config: TargetConfig) -> Tensor:
    """Histograms of oriented gradients of every section, regrouped by patch.

    A voxel votes with its gradient magnitude for the two nearest orientations. A cell's histogram is divided by the
    length of each block of 2 x 2 cells around it; the copies are averaged, which keeps the target narrow.

    Returns
    -------
    Tensor
        (B, N, H), fp32, with H = sections x cells y x cells x orientations x channels of one patch.
    """
    grid_of(_extent(x_BCZYX), patch)
    b, c, z, y, x = x_BCZYX.shape
    cell = hog_cell(patch, config)
    sections_SYX = x_BCZYX.float().reshape(b * c * z, y, x)
    cells_SOYX = _cell_histograms(sections_SYX, cell, config.orientations)
    normal_SOYX = cells_SOYX * _block_scale(cells_SOYX, config.gradient_floor)
    cy, cx = normal_SOYX.shape[2:]
    on_grid = normal_SOYX.reshape(b, c, z, config.orientations, cy, cx).permute(0, 1, 3, 2, 4, 5)
    return patches(on_grid.flatten(1, 2), (patch[0], patch[1] // cell[0], patch[2] // cell[1]))


def hog_cell(patch: Int3, config: TargetConfig) -> tuple[int, int]:
    """Voxels y, x of a histogram: the largest that divide the patch, up to what is set."""
    return _cell(patch[1], config.cell), _cell(patch[2], config.cell)


def _extent(x_BCZYX: Tensor) -> Int3:
    z, y, x = x_BCZYX.shape[2:]
    return z, y, x


def _cell(patch: int, largest: int) -> int:
    return max(n for n in range(1, min(patch, largest) + 1) if patch % n == 0)


def _slope(x: Tensor, axis: int) -> Tensor:
    """Central differences in grey levels a voxel, one-sided at the ends."""
    if x.shape[axis] == 1:
        return torch.zeros_like(x)
    (slope,) = torch.gradient(x, dim=axis)
    return slope


def _cell_histograms(sections_SYX: Tensor, cell: tuple[int, int], orientations: int) -> Tensor:
    """(S, orientations, cells y, cells x): gradient magnitude a voxel that votes for each orientation."""
    up, along = _slope(sections_SYX, 1), _slope(sections_SYX, 2)
    magnitude = torch.hypot(up, along)
    place = torch.atan2(up, along).remainder(math.pi) * (orientations / math.pi) - 0.5
    histograms = []
    # one orientation at a time: a scatter would need atomic adds, whose order differs between runs on a GPU
    for centre in range(orientations):
        away = (place - centre).abs()
        away = torch.minimum(away, orientations - away)
        histograms.append(F.avg_pool2d(magnitude * (1 - away).clamp(min=0), cell))
    return torch.stack(histograms, dim=1)


def _block_scale(cells_SOYX: Tensor, floor: float) -> Tensor:
    """(S, 1, cells y, cells x): mean over the blocks that hold a cell of one over the block's length."""
    energy = cells_SOYX.square().sum(1, keepdim=True)
    size = [min(2, n) for n in energy.shape[2:]]
    area = size[0] * size[1]
    inverse = torch.rsqrt(F.avg_pool2d(energy, size, stride=1) * area + floor**2)
    ring = [size[1] - 1, size[1] - 1, size[0] - 1, size[0] - 1]
    total = F.avg_pool2d(F.pad(inverse, ring), size, stride=1)
    blocks = F.avg_pool2d(F.pad(torch.ones_like(inverse[:1]), ring), size, stride=1)
    return total / blocks


@torch.no_grad()
def edge_density(x_BCZYX: Tensor, patch: Int3, config: TargetConfig) -> Tensor:
    """How much edge there is in each patch, (B, N), fp32: about 1 on average over a crop, 0 where it is flat."""
    edges = sum(w * _slope(x_BCZYX.float(), axis + 2).abs() for axis, w in enumerate(config.edge_axes))
    assert isinstance(edges, Tensor)
    mean = edges.mean((1, 2, 3, 4), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return patches((edges / mean).clamp(max=config.edge_clip), patch).mean(-1)


@torch.no_grad()
def patch_moments(x_BNP: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each patch, (B, N) each, fp32."""
    variance, mean = torch.var_mean(x_BNP.float(), dim=-1, correction=0)
    return mean, variance


def taken(x_BN: Tensor, index_BK: Tensor) -> Tensor:
    """The patches of each crop named by an index: (B, N, ...) → (B, K, ...)."""
    index = index_BK.reshape(*index_BK.shape, *(1,) * (x_BN.ndim - 2))
    return x_BN.gather(1, index.expand(*index_BK.shape, *x_BN.shape[2:]))


def masked_loss(predicted_BMP: Tensor, target_BNP: Tensor, masked_BM: Tensor) -> Tensor:
    """Mean squared error of each hidden patch, (B, M), fp32.

    Parameters
    ----------
    predicted_BMP
        Answers for the hidden patches, in the order of `masked_BM`.
    target_BNP
        The target of all patches.
    masked_BM
        Indices of the hidden patches. Seen patches have no part in the loss.

    Raises
    ------
    InputError
        If the answers are not one for each hidden patch.
    """
    expected = (*masked_BM.shape, target_BNP.shape[2])
    if tuple(predicted_BMP.shape) != expected:
        raise InputError(f"answers of shape {tuple(predicted_BMP.shape)}", f"{expected}: one for each hidden patch")
    return (predicted_BMP.float() - taken(target_BNP, masked_BM).float()).square().mean(-1)


class Balance:
    """Makes losses of different nature comparable: each is divided by a moving average of its own magnitude.

    Parameters
    ----------
    decay
        Share of the average that each observation keeps.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._mean: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step; hand in means over all devices when there are several."""
        for name, loss in losses.items():
            keep = self._decay
            self._mean[name] = keep * self._mean.get(name, 0.0) + (1 - keep) * float(loss.detach().float().mean())
            self._seen[name] = keep * self._seen.get(name, 0.0) + (1 - keep)

    def magnitude(self, name: str) -> float:
        """The average so far; 1 before anything was seen or while it is zero."""
        mean, seen = self._mean.get(name, 0.0), self._seen.get(name, 0.0)
        return mean / seen if mean > 0 else 1.0

    def combined(self, losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """Weighted sum of the losses, each over its magnitude; of their common shape."""
        parts = [loss * (weights[name] / self.magnitude(name)) for name, loss in losses.items()]
        return torch.stack(parts).sum(0)

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Plain numbers."""
        return {"mean": dict(self._mean), "seen": dict(self._seen)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Take back what `state_dict` gave."""
        self._mean, self._seen = dict(state["mean"]), dict(state["seen"])
