"""A volume by way of cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3, Int3
from neuropil.post.cell import Cell


def cells(
    labels: npt.NDArray[np.uint32], size: Int3, voxel_size: Float3
) -> Iterator[tuple[Cell, npt.NDArray[np.uint32]]]:
    """The cells of a volume, each with the voxels that it is given."""
    grid = tuple(-(-n // s) for n, s in zip(labels.shape, size, strict=True))
    for at in np.ndindex(*grid):
        z, y, x = (i * s for i, s in zip(at, size, strict=True))
        part = labels[z : z + size[0] + 1, y : y + size[1] + 1, x : x + size[2] + 1]
        below = (z > 0, y > 0, x > 0)
        above = (at[0] + 1 < grid[0], at[1] + 1 < grid[1], at[2] + 1 < grid[2])
        yield Cell((z, y, x), below, above, voxel_size), np.ascontiguousarray(part)
