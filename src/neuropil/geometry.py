"""Integer regions that know their voxel size: `Box`, and `Block` (what to write, what to read for it)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from neuropil.errors import GeometryError

Int3 = tuple[int, int, int]
Float3 = tuple[float, float, float]

#: Largest relative difference between the voxel size that a network has learned and one that it is used at.
ALIKE = 0.25


def same_voxel_size(a: Float3, b: Float3) -> bool:
    """Whether two voxel sizes (nm; z, y, x) are equal to one part in a thousand, as file formats round them."""
    return all(math.isclose(p, q, rel_tol=1e-3) for p, q in zip(a, b, strict=True))


def alike(voxel_size: Float3, learned: Float3) -> bool:
    """Whether voxels are of about the size (nm; z, y, x) that a network has learned: within `ALIKE` of it.

    Examples
    --------
    >>> alike((10, 10, 10), (8, 8, 8)), alike((40, 4, 4), (8, 8, 8))
    (True, False)
    """
    return all(abs(a / b - 1) <= ALIKE for a, b in zip(voxel_size, learned, strict=True))


@dataclass(frozen=True, order=True)
class Box:
    """A half-open region of voxels, `start <= v < stop`, on the grid of one voxel size.

    Parameters
    ----------
    start, stop
        Voxel indices, z, y, x. May be negative: a volume with an offset starts elsewhere than at zero.
    voxel_size
        nm, z, y, x.

    Examples
    --------
    >>> box = Box((0, 0, 0), (4, 6, 8), (40.0, 4.0, 4.0))
    >>> box.shape, box.grown((1, 2, 2)).start
    ((4, 6, 8), (-1, -2, -2))
    """

    start: Int3
    stop: Int3
    voxel_size: Float3

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            value = getattr(self, name)
            if len(value) != 3:
                raise GeometryError(f"a box with {name} {value}", "three integers z, y, x")
            object.__setattr__(self, name, tuple(int(v) for v in value))
        if len(self.voxel_size) != 3 or not all(v > 0 and math.isfinite(v) for v in self.voxel_size):
            raise GeometryError(f"a voxel size of {self.voxel_size}", "three positive numbers z, y, x in nm")
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in self.voxel_size))
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise GeometryError(f"a box from {self.start} to {self.stop}", "stop not below start on any axis")

    @property
    def shape(self) -> Int3:
        """Extent in voxels, z, y, x."""
        return _int3(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def offset_nm(self) -> Float3:
        """Position of the first voxel's corner in nm, z, y, x."""
        z, y, x = (s * v for s, v in zip(self.start, self.voxel_size, strict=True))
        return z, y, x

    def grown(self, halo: Int3) -> Box:
        """A box larger by `halo` voxels on both sides of each axis (smaller where negative)."""
        return Box(
            _int3(a - h for a, h in zip(self.start, halo, strict=True)),
            _int3(b + h for b, h in zip(self.stop, halo, strict=True)),
            self.voxel_size,
        )

    def shifted(self, by: Int3) -> Box:
        """The same extent, moved by a number of voxels."""
        return Box(
            _int3(a + s for a, s in zip(self.start, by, strict=True)),
            _int3(b + s for b, s in zip(self.stop, by, strict=True)),
            self.voxel_size,
        )

    def intersected(self, other: Box) -> Box:
        """The common part of two boxes; its size is zero where they do not meet.

        Raises
        ------
        GeometryError
            If the voxel sizes differ: the same index would mean two places.
        """
        self._same_grid(other)
        start = _int3(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = _int3(max(s, min(a, b)) for s, a, b in zip(start, self.stop, other.stop, strict=True))
        return Box(start, stop, self.voxel_size)

    def contains(self, other: Box) -> bool:
        """Whether `other` lies wholly inside (voxel sizes must be equal)."""
        common = self.intersected(other)
        return (common.start, common.stop) == (other.start, other.stop)

    def slices(self, origin: Int3 = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Slices of an array whose first voxel is at `origin`.

        Raises
        ------
        GeometryError
            If the box begins before the origin: a negative slice would silently wrap around.
        """
        z, y, x = (slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, origin, strict=True))
        if min(z.start, y.start, x.start) < 0:
            raise GeometryError(f"box {self.start}..{self.stop}", f"a box that begins at or after {origin}")
        return z, y, x

    def blocks(self, shape: Int3, halo: Int3 = (0, 0, 0)) -> Iterator[Block]:
        """Tile the box with blocks of `shape` on the global grid (multiples of `shape` from index 0).

        The write regions cover the box exactly once; each read region is its write region grown by `halo` and is
        *not* clipped, because what lies outside the volume is for the reader to decide (reflect, zero, refuse).
        """
        if any(s <= 0 for s in shape):
            raise GeometryError(f"a block shape of {shape}", "three positive integers")
        if self.size == 0:
            return
        lows = [a // s for a, s in zip(self.start, shape, strict=True)]
        highs = [-(-b // s) for b, s in zip(self.stop, shape, strict=True)]
        for iz in range(lows[0], highs[0]):
            for iy in range(lows[1], highs[1]):
                for ix in range(lows[2], highs[2]):
                    index = (iz, iy, ix)
                    cell_start = _int3(i * s for i, s in zip(index, shape, strict=True))
                    cell_stop = _int3((i + 1) * s for i, s in zip(index, shape, strict=True))
                    write = self.intersected(Box(cell_start, cell_stop, self.voxel_size))
                    yield Block(index, write, write.grown(halo))

    def _same_grid(self, other: Box) -> None:
        if not same_voxel_size(self.voxel_size, other.voxel_size):
            raise GeometryError(
                f"boxes of voxel size {self.voxel_size} and {other.voxel_size} nm",
                "boxes on one grid",
                "resample one volume, or give --voxel-size if the metadata is wrong",
            )


@dataclass(frozen=True, order=True)
class Block:
    """One unit of blockwise work: its grid index, the box it alone writes, and the box it may read."""

    index: Int3
    write: Box
    read: Box


def _int3(values: Iterable[int]) -> Int3:
    z, y, x = values
    return int(z), int(y), int(x)
