"""Where the tiles of a prediction lie, and how much each one counts at each voxel.

Tiles lie on one regular grid that follows from the volume's box alone, never from the blocks that are written. The
blending weights are a product of one profile per axis, and the profiles of all tiles of an axis sum to one at every
voxel, so no volume of weights is ever kept and nothing is divided afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError
from neuropil.geometry import Box, Int3


@dataclass(frozen=True)
class TilePlan:
    """A regular grid of overlapping tiles that covers a box.

    Parameters
    ----------
    box
        The volume. Tiles may reach beyond it, equally far on both sides (up to one voxel).
    tile, overlap
        Shape of every tile, and how many voxels neighbours share, z, y, x.
    first
        Start of the first tile.
    count
        Tiles along each axis.
    """

    box: Box
    tile: Int3
    overlap: Int3
    first: Int3
    count: Int3

    @property
    def step(self) -> Int3:
        """Distance between neighbouring tiles, z, y, x."""
        z, y, x = (t - o for t, o in zip(self.tile, self.overlap, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return math.prod(self.count)

    def start(self, axis: int, index: int) -> int:
        """First voxel of the tiles with this grid index along an axis."""
        return self.first[axis] + index * self.step[axis]

    def tile_box(self, index: Int3) -> Box:
        """The voxels of one tile; may leave the volume."""
        z, y, x = (self.start(axis, i) for axis, i in enumerate(index))
        start: Int3 = (z, y, x)
        tz, ty, tx = (s + t for s, t in zip(start, self.tile, strict=True))
        return Box(start, (tz, ty, tx), self.box.voxel_size)

    def touching(self, axis: int, low: int, high: int) -> range:
        """Grid indices, along an axis, of the tiles that share a voxel with ``low <= v < high``."""
        first, step, tile = self.first[axis], self.step[axis], self.tile[axis]
        begin = max(0, (low - first - tile) // step + 1)
        end = min(self.count[axis], -((first - high) // step))
        return range(begin, max(begin, end))

    def profiles(self, axis: int, reach: Sequence[int]) -> npt.NDArray[np.float32]:
        """Blending weights along one axis.

        Parameters
        ----------
        reach
            For each channel, how far its edge reaches along this axis. Where the far end of an edge leaves the tile
            the network cannot have seen it: such a voxel counts only if no tile holds both ends.

        Returns
        -------
        profiles
            (count, channels, tile). At every voxel of the axis, the weights of its tiles sum to one.
        """
        tile, step, count = self.tile[axis], self.step[axis], self.count[axis]
        plain = _profile(tile, self.overlap[axis], 0)
        seen = np.stack([_profile(tile, self.overlap[axis], r) for r in reach])
        extent = (count - 1) * step + tile
        plain_sum, seen_sum = np.zeros(extent), np.zeros((len(reach), extent))
        for i in range(count):
            plain_sum[i * step : i * step + tile] += plain
            seen_sum[:, i * step : i * step + tile] += seen
        out = np.empty((count, len(reach), tile), np.float32)
        for i in range(count):
            here = slice(i * step, i * step + tile)
            total = seen_sum[:, here]
            out[i] = np.where(total > 0, seen / np.where(total > 0, total, 1), plain / plain_sum[here])
        return out


def plan_tiles(box: Box, tile: Int3, overlap: Int3, multiple_of: Int3) -> TilePlan:
    """Cover a box with the fewest tiles not larger than `tile`, then with the smallest tiles of that number.

    Parameters
    ----------
    tile
        Largest tile, voxels z, y, x. The tiles are as much smaller as the number of them permits, so that little is
        computed beyond the volume.
    overlap
        Voxels that neighbouring tiles share.
    multiple_of
        What the network's input shape must be divisible by.

    Raises
    ------
    InputError
        If the box is empty, the tile is not a positive multiple, or the overlap is not smaller than the tile.
    """
    if box.size == 0:
        raise InputError(f"a volume of shape {box.shape}", "at least one voxel")
    sizes: list[tuple[int, int, int]] = []
    for name, extent, largest, shared, multiple in zip("zyx", box.shape, tile, overlap, multiple_of, strict=True):
        if multiple < 1 or largest < 1 or largest % multiple:
            raise InputError(f"tile {tile}", f"a multiple of {multiple} on axis {name}", "set predict.tile")
        if not 0 <= shared < largest:
            raise InputError(
                f"overlap {overlap} for tiles of {tile}", f"0 <= overlap < tile on axis {name}", "set predict.overlap"
            )
        count = max(1, -(-(extent - shared) // (largest - shared)))
        needed = extent if count == 1 else -(-(extent - shared) // count) + shared
        size = -(-needed // multiple) * multiple
        shared = min(shared, size - 1)  # one small tile: there is nothing to share
        sizes.append((size, shared, count))
    (tz, oz, nz), (ty, oy, ny), (tx, ox, nx) = sizes
    z, y, x = (a - (n * (t - o) + o - e) // 2 for a, e, (t, o, n) in zip(box.start, box.shape, sizes, strict=True))
    return TilePlan(box, (tz, ty, tx), (oz, oy, ox), (z, y, x), (nz, ny, nx))


def _profile(tile: int, overlap: int, reach: int) -> npt.NDArray[np.float64]:
    """Raised cosine over the overlap at both ends, flat between; zero where an edge of this reach leaves the tile."""
    low, high = max(0, -reach), tile - max(0, reach)
    voxel = np.arange(tile)
    depth = np.minimum(voxel - low, high - 1 - voxel) + 0.5
    ramp = max(1, overlap - abs(reach))
    weight: npt.NDArray[np.float64] = np.sin(0.5 * np.pi * np.clip(depth / ramp, 0, 1)) ** 2
    return weight
