"""The voxels of neurites as sorted rows: a stack is mostly background, so only the rest is held.

Row ``r = z * Y + y`` has its voxels at ``starts[r]:starts[r + 1]`` of `x`, in rising order; a voxel is the number of
its place there. This takes 21 bytes a neurite voxel and 8 a row, and a neighbour is found by bisecting a short row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3, Int3

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Neurite voxels of a stack.

    Parameters
    ----------
    shape
        z, y, x of the whole stack.
    spacing_nm
        Voxel size z, y, x.
    starts
        (Z * Y + 1,) int64 first voxel of every row.
    row, x
        (N,) int32 place of every voxel, in row-major order.
    value
        (N,) uint8 evidence of neurite, 255 = sure.
    depth_nm
        (N,) float32 distance to the nearest voxel that is not neurite, capped.
    """

    shape: Int3
    spacing_nm: Float3
    starts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int32]
    x: npt.NDArray[np.int32]
    value: npt.NDArray[np.uint8]
    depth_nm: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def edge_nm(self) -> float:
        """The finest voxel edge; see `finest_nm`."""
        return finest_nm(self.shape, self.spacing_nm)

    def places_nm(self, index: npt.NDArray[np.integer]) -> Floats:
        """(n, 3) centres of voxels in nm from the corner of the stack, z, y, x."""
        row = self.row[index]
        zyx = np.stack([row // self.shape[1], row % self.shape[1], self.x[index]], axis=-1)
        return np.asarray((zyx + 0.5) * np.asarray(self.spacing_nm))

    def holds(self, places_nm: Floats) -> npt.NDArray[np.bool_]:
        """(n,) whether places (nm from the corner of the stack, z, y, x) lie in one of the voxels."""
        zyx = np.floor(places_nm / np.asarray(self.spacing_nm)).astype(np.int64)
        inside = ((zyx >= 0) & (zyx < self.shape)).all(axis=1)
        mine = self.row.astype(np.int64) * self.shape[2] + self.x
        asked = np.where(inside, (zyx[:, 0] * self.shape[1] + zyx[:, 1]) * self.shape[2] + zyx[:, 2], -1)
        at = np.minimum(np.searchsorted(mine, asked), max(len(mine) - 1, 0))
        return np.asarray(mine[at] == asked) if len(mine) else inside & False

    def subset(self, keep: npt.NDArray[np.bool_]) -> Voxels:
        """Only the voxels marked in `keep`."""
        row = self.row[keep]
        return Voxels(
            self.shape,
            self.spacing_nm,
            row_starts(row, self.shape),
            row,
            self.x[keep],
            self.value[keep],
            self.depth_nm[keep],
        )


def finest_nm(shape: Int3, spacing_nm: Float3) -> float:
    """The finest voxel edge in nm, which settings count in; the thickness of a single section is none of them."""
    return min((step for n, step in zip(shape, spacing_nm, strict=True) if n > 1), default=min(spacing_nm))


def from_places(
    linear: npt.NDArray[np.int64],
    value: npt.NDArray[np.uint8],
    depth_nm: npt.NDArray[np.float32],
    *,
    shape: Int3,
    spacing_nm: Float3,
) -> Voxels:
    """Voxels from their row-major places in the stack, in any order."""
    order = np.argsort(linear, kind="stable")
    linear = linear[order]
    row = (linear // shape[2]).astype(np.int32)
    x = (linear % shape[2]).astype(np.int32)
    return Voxels(shape, spacing_nm, row_starts(row, shape), row, x, value[order], depth_nm[order])


def row_starts(row: npt.NDArray[np.int32], shape: Int3) -> npt.NDArray[np.int64]:
    """(Z * Y + 1,) where the voxels of every row begin."""
    counts = np.bincount(row, minlength=shape[0] * shape[1])
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@numba.njit(cache=True, nogil=True, inline="always")
def lower(starts, x, row, at):  # type: ignore[no-untyped-def]
    """The first voxel of a row whose x is not below `at`."""
    lo, hi = starts[row], starts[row + 1]
    while lo < hi:
        mid = (lo + hi) >> 1
        if x[mid] < at:
            lo = mid + 1
        else:
            hi = mid
    return lo
