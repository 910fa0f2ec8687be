"""Weighted means along an axis of a volume: what Gaussians are made of. Beyond the array stands the value at its edge.

Rows are mixed whole, in loops without branches, so that many voxels are done at once.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]


def smoothed(source_ZYX: Image, taps: npt.NDArray[np.float32], axis: int, *, rounded_by: int = 0) -> Image:
    """The volume with each voxel the weighted sum of those around it along an axis.

    Parameters
    ----------
    source_ZYX
        (Z, Y, X) contiguous.
    taps
        (2 h + 1,) symmetric weights.
    axis
        0, 1 or 2.
    rounded_by
        What sums are divided by before they are rounded to whole numbers (halves up); 0 leaves them as they are.
    """
    out: Image = np.empty(source_ZYX.shape, np.float32)
    share = np.float32(1 / rounded_by if rounded_by else 0)
    (_along_z, _along_y, _along_x)[axis](source_ZYX, taps, share, out)
    return out


@numba.njit(cache=True, nogil=True, inline="always")
def _round(share, row):  # type: ignore[no-untyped-def]
    if share > 0:
        for x in range(row.size):
            row[x] = np.floor(row[x] * share + np.float32(0.5))


@numba.njit(cache=True, nogil=True)
def _along_z(src, taps, share, out):  # type: ignore[no-untyped-def]
    Z, Y, _ = src.shape
    for z in range(Z):
        for y in range(Y):
            _mix(src[:, y], z, taps, out[z, y])
            _round(share, out[z, y])


@numba.njit(cache=True, nogil=True)
def _along_y(src, taps, share, out):  # type: ignore[no-untyped-def]
    Z, Y, _ = src.shape
    for z in range(Z):
        for y in range(Y):
            _mix(src[z], y, taps, out[z, y])
            _round(share, out[z, y])


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(rows, at, taps, out):  # type: ignore[no-untyped-def]
    """The weighted sum of whole rows."""
    last, h = rows.shape[0] - 1, taps.size // 2
    middle, tap = rows[at], taps[h]
    for x in range(out.size):
        out[x] = tap * middle[x]
    for k in range(1, h + 1):
        low, high, tap = rows[max(0, at - k)], rows[min(last, at + k)], taps[h + k]
        for x in range(out.size):
            out[x] += tap * (low[x] + high[x])


@numba.njit(cache=True, nogil=True)
def _along_x(src, taps, share, out):  # type: ignore[no-untyped-def]
    Z, Y, X = src.shape
    h = taps.size // 2
    padded = np.empty(X + 2 * h, np.float32)
    for z in range(Z):
        for y in range(Y):
            padded[:h] = src[z, y, 0]
            padded[h : h + X] = src[z, y]
            padded[h + X :] = src[z, y, X - 1]
            line, middle = out[z, y], padded[h : h + X]
            for x in range(X):
                line[x] = taps[h] * middle[x]
            for k in range(1, h + 1):
                low, high, tap = padded[h - k : h - k + X], padded[h + k : h + k + X], taps[h + k]
                for x in range(X):
                    line[x] += tap * (low[x] + high[x])
            _round(share, line)
