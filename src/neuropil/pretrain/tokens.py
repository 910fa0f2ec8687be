"""From a pyramid of maps to tokens that two views can be compared by: places of each level, or whole channels.

Places are the proposal of our specification; channels are what the paper (arXiv 2308.09917) compares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.geometry import Int3
from neuropil.pretrain.restorer import Pyramid


@dataclass(frozen=True)
class Layout:
    """What each token of a crop stands for.

    Parameters
    ----------
    level_T
        Level of each token, int64; 0 is the coarsest.
    places_T3, cells_T3
        Centre and extent in voxels of the crop, z, y, x; None where tokens are channels, which have no place.
    """

    level_T: Tensor
    places_T3: Tensor | None
    cells_T3: Tensor | None

    def to(self, device: torch.device) -> Layout:
        """The same on a device."""
        moved = (None if t is None else t.to(device) for t in (self.places_T3, self.cells_T3))
        return Layout(self.level_T.to(device), *moved)


def cells_along(extent: int, most: int) -> tuple[int, int]:
    """How many cells an axis of so many voxels is cut into, at most, and the voxels of a cell: (count, size).

    Cells are equal and do not overlap, so no voxel counts twice and sections are never mixed unevenly. Of the counts
    above half of `most`, the one that leaves the fewest voxels over wins.

    Examples
    --------
    >>> cells_along(64, 8), cells_along(18, 16), cells_along(5, 8)
    ((8, 8), (9, 2), (5, 1))
    """
    if extent <= most:
        return extent, 1
    count = max(range(most // 2 + 1, most + 1), key=lambda n: (n * (extent // n), n))
    return count, extent // count


def pooled(map_BCZYX: Tensor, most: Int3) -> Tensor:
    """Means over cells (B, C, z, y, x) of the central part of a map that is a whole number of cells; fp32."""
    parts = [cells_along(int(n), m) for n, m in zip(map_BCZYX.shape[2:], most, strict=True)]
    inner = [slice(None), slice(None)]
    for extent, (count, size) in zip(map_BCZYX.shape[2:], parts, strict=True):
        start = (int(extent) - count * size) // 2
        inner.append(slice(start, start + count * size))
    return F.avg_pool3d(map_BCZYX[tuple(inner)].float(), tuple(size for _, size in parts))


def layout_of_places(shapes: Sequence[Int3], strides: Sequence[Int3], most: Int3) -> Layout:
    """The layout of `PlaceTokens` for maps of such shapes and strides."""
    levels, places, cells = [], [], []
    for level, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        axes, size = [], []
        for extent, step, n in zip(shape, stride, most, strict=True):
            count, width = cells_along(extent, n)
            start = (extent - count * width) // 2
            axes.append((start + (torch.arange(count) + 0.5) * width) * step)
            size.append(float(width * step))
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
        levels.append(torch.full((len(grid),), level))
        places.append(grid)
        cells.append(torch.tensor(size).expand_as(grid))
    return Layout(torch.cat(levels), torch.cat(places), torch.cat(cells))


class PlaceTokens(nn.Module):
    """A token for each cell of each level: the mean of its features, by one matrix for each level.

    A 1 x 1 x 1 convolution and a mean may change places, so cells are averaged first: the matrix then costs nothing.

    Parameters
    ----------
    channels
        Of each level, coarsest first.
    dim
        Width of a token.
    most
        Cells of a level along z, y, x, at most.
    centre
        Whether what all crops of a batch share at a place is taken from it. Two views of a crop lie alike, so a network
        that knows places (position codes, padding) could find a place by its number alone.
    """

    def __init__(self, channels: Sequence[int], dim: int, most: Int3, *, centre: bool) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(c, dim, bias=not centre) for c in channels)
        self._most, self._centre, self.dim = most, centre, dim

    def forward(self, maps: Pyramid) -> Tensor:
        """(B, T, dim), of length sqrt(dim), fp32."""
        found = []
        for (features, _), projection in zip(maps, self.projections, strict=True):
            token_BND = projection(pooled(features, self._most).flatten(2).transpose(1, 2))
            found.append(token_BND - token_BND.mean(0) if self._centre else token_BND)
        return F.normalize(torch.cat(found, dim=1), dim=-1) * math.sqrt(self.dim)

    def layout(self, maps: Pyramid) -> Layout:
        """What the tokens of such maps stand for."""
        shapes = []
        for features, _ in maps:
            z, y, x = features.shape[2:]
            shapes.append((z, y, x))
        return layout_of_places(shapes, [stride for _, stride in maps], self._most)


class ChannelTokens(nn.Module):
    """A token for each channel of each level, as in the paper: the channel's map at one size for all levels.

    Parameters
    ----------
    grid
        That size, z, y, x. Cells of uneven maps overlap, as in the released code.
    """

    def __init__(self, grid: Int3) -> None:
        super().__init__()
        self._grid, self.dim = grid, math.prod(grid)

    def forward(self, maps: Pyramid) -> Tensor:
        """(B, T, values of the grid), fp32."""
        return torch.cat([F.adaptive_avg_pool3d(m.float(), self._grid).flatten(2) for m, _ in maps], dim=1)

    def layout(self, maps: Pyramid) -> Layout:
        """What the tokens of such maps stand for."""
        levels = [torch.full((m.shape[1],), level) for level, (m, _) in enumerate(maps)]
        return Layout(torch.cat(levels), None, None)
