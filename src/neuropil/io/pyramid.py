"""Coarser copies of an array: which factors, and how values are combined."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Float3, Int3

_NEAR_ISOTROPIC = 2.0


def level_factors(shape: Sequence[int], voxel_size: Float3, smallest: Sequence[int]) -> Iterator[Int3]:
    """The factor z, y, x from each level to the next, until a level fits into `smallest` voxels.

    Only the finest axes are halved until all voxel edges are within a factor of two of one another.
    """
    extent, voxel = list(shape), list(voxel_size)
    while any(n > s for n, s in zip(extent, smallest, strict=True)):
        finest = min(v for v, n in zip(voxel, extent, strict=True) if n > 1)
        factor = [2 if v < _NEAR_ISOTROPIC * finest and n > 1 else 1 for v, n in zip(voxel, extent, strict=True)]
        extent = [-(-n // f) for n, f in zip(extent, factor, strict=True)]
        voxel = [v * f for v, f in zip(voxel, factor, strict=True)]
        yield factor[0], factor[1], factor[2]


def downsampled(array: npt.NDArray[Any], factor: Int3, kind: str) -> npt.NDArray[Any]:
    """Combine cells of `factor` voxels: the mode for labels and masks, else the mean (rounded for integers).

    Parameters
    ----------
    array
        (Z, Y, X) or (C, Z, Y, X); a cell that is cut by the end of the array uses the voxels that it has.
    """
    lead = array.ndim - 3
    pads = [(0, 0)] * lead + [(0, -n % f) for n, f in zip(array.shape[lead:], factor, strict=True)]
    # repeating the last voxel weighs each voxel of a cut cell alike, so mean and mode are those of what is there
    padded = np.pad(array, pads, mode="edge") if any(p for _, p in pads) else array
    parts = []
    for z, y, x in itertools.product(*(range(f) for f in factor)):
        parts.append(padded[..., z :: factor[0], y :: factor[1], x :: factor[2]])
    return _mode(parts) if kind in ("labels", "mask") else _mean(parts, array.dtype)


def _mean(parts: list[npt.NDArray[Any]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    total = np.zeros(parts[0].shape, np.float64 if dtype.itemsize > 2 else np.float32)
    for part in parts:
        total += part
    total /= len(parts)
    return (np.rint(total) if dtype.kind in "ui" else total).astype(dtype)


def _mode(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The most frequent of equally shaped arrays, voxel by voxel; of equally frequent ones, the first."""
    best, most = parts[0].copy(), np.zeros(parts[0].shape, np.uint8)
    for candidate in parts:
        votes = np.zeros(candidate.shape, np.uint8)
        for other in parts:
            votes += candidate == other
        better = votes > most
        np.copyto(best, candidate, where=better)
        np.copyto(most, votes, where=better)
    return best
