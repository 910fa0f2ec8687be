"""The sparse contingency table of two label volumes: which truth label meets which predicted label in how many voxels.

Every overlap score (VOI, Rand, per-object) is computed from this table, so the voxels are read once. Nothing is
ignored here except voxels outside `valid`: what 0 means is a matter of convention, see `neuropil.metrics.partition`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.errors import GeometryError, InputError

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

#: ids that never name an object: 0, and the background and ignore values of CREMI files.
BACKGROUND_IDS = (0, 2**64 - 1, 2**64 - 2)

_SLAB_VOXELS = 1 << 19  # bounds the copies made of arrays that are not contiguous uint64; fits the cache
_FIRST_CAPACITY = 1 << 12


@dataclass(frozen=True, eq=False)
class Contingency:
    """Voxel counts of all (truth, predicted) label pairs that occur, sorted by truth id, then predicted id.

    Parameters
    ----------
    truth, pred
        (K,) uint64 ids of each pair.
    voxels
        (K,) number of voxels of each pair, at least 1.
    excluded
        Number of voxels that were seen but not counted (outside `valid`).
    """

    truth: Ids
    pred: Ids
    voxels: Counts
    excluded: int

    @property
    def total(self) -> int:
        """Number of counted voxels."""
        return int(self.voxels.sum())

    @cached_property
    def truth_objects(self) -> tuple[Ids, Counts, Counts]:
        """Truth ids (T,), their voxel counts (T,), and the row (K,) of each pair in these."""
        return _marginal(self.truth, self.voxels)

    @cached_property
    def pred_objects(self) -> tuple[Ids, Counts, Counts]:
        """Predicted ids (P,), their voxel counts (P,), and the column (K,) of each pair in these."""
        return _marginal(self.pred, self.voxels)

    def without(self, *, truth: tuple[int, ...], pred: tuple[int, ...]) -> Contingency:
        """A copy that lacks the pairs of the given truth and predicted ids (they count as excluded)."""
        drop = np.isin(self.truth, np.array(truth, np.uint64)) | np.isin(self.pred, np.array(pred, np.uint64))
        if not drop.any():
            return self
        keep = ~drop
        lost = int(self.voxels[drop].sum())
        return Contingency(self.truth[keep], self.pred[keep], self.voxels[keep], self.excluded + lost)

    def relabelled(self, *, pred: tuple[int, ...], to: int) -> Contingency:
        """A copy in which several predicted ids have become one."""
        renamed = np.where(np.isin(self.pred, np.array(pred, np.uint64)), np.uint64(to), self.pred)
        return _summed(self.truth, renamed, self.voxels, self.excluded)

    def regrouped(self, lookup: NDArray[Any]) -> Contingency:
        """The table after every predicted id has become `lookup[id]`: what merging fragments does to the scores."""
        return _summed(self.truth, lookup[self.pred].astype(np.uint64), self.voxels, self.excluded)

    def merged(self, other: Contingency) -> Contingency:
        """The table of two disjoint regions together."""
        return _summed(
            np.concatenate([self.truth, other.truth]),
            np.concatenate([self.pred, other.pred]),
            np.concatenate([self.voxels, other.voxels]),
            self.excluded + other.excluded,
        )


class PairCounter:
    """Accumulates a contingency table over blocks; memory grows with the number of distinct pairs, not of voxels.

    Examples
    --------
    >>> import numpy as np
    >>> counter = PairCounter()
    >>> counter.add(np.array([1, 1, 2]), np.array([7, 7, 7]))
    >>> counter.table().voxels.tolist()
    [2, 1]
    """

    def __init__(self) -> None:
        self._truth = np.zeros(_FIRST_CAPACITY, np.uint64)
        self._pred = np.zeros(_FIRST_CAPACITY, np.uint64)
        self._voxels = np.zeros(_FIRST_CAPACITY, np.int64)
        self._used = 0
        self._excluded = 0

    def add(self, truth: NDArray[Any], pred: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> None:
        """Count the voxels of one block.

        Parameters
        ----------
        truth, pred
            Integer labels of equal shape, any number of axes, any integer type up to uint64.
        valid
            Voxels to count; all when None.

        Raises
        ------
        InputError
            If an array does not hold integer labels, or holds negative ones.
        GeometryError
            If the shapes differ.
        """
        _check(truth, pred, valid)
        rows = max(1, _SLAB_VOXELS // max(1, truth[:1].size))
        for start in range(0, len(truth), rows):
            part = slice(start, start + rows)
            mask = None if valid is None else np.ascontiguousarray(valid[part]).reshape(-1)
            self._add_flat(_flat(truth[part], "truth"), _flat(pred[part], "predicted"), mask)

    def _add_flat(self, truth: Ids, pred: Ids, valid: NDArray[np.bool_] | None) -> None:
        at = 0
        while at < len(truth):
            if 2 * self._used >= len(self._voxels):
                self._truth, self._pred, self._voxels = _doubled(self._truth, self._pred, self._voxels)
            at, self._used, excluded = _count(
                self._truth, self._pred, self._voxels, self._used, (truth, pred, valid), at
            )
            self._excluded += excluded

    def table(self) -> Contingency:
        """The table of everything added so far."""
        filled = self._voxels > 0
        truth, pred, voxels = self._truth[filled], self._pred[filled], self._voxels[filled]
        order = np.lexsort((pred, truth))
        return Contingency(truth[order], pred[order], voxels[order], int(self._excluded))


def contingency(truth: NDArray[Any], pred: NDArray[Any], *, valid: NDArray[np.bool_] | None = None) -> Contingency:
    """Count label pairs in one pass over two arrays; see `PairCounter.add` for arguments and errors.

    Runs of one pair along x are counted in registers, and only their ends touch an open-addressing hash table: EM
    labels have long runs, so the pass runs at about the speed of memory.
    """
    counter = PairCounter()
    counter.add(truth, pred, valid)
    return counter.table()


def weighted_bincount(index: Counts, weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of the weights of each index in 0..count-1."""
    return np.bincount(index, weights, count).astype(np.float64, copy=False)


def _check(truth: NDArray[Any], pred: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
    for name, labels in (("truth", truth), ("predicted", pred)):
        if labels.dtype.kind not in "iub":
            raise InputError(
                f"{name} labels of type {labels.dtype}", "integer object ids", "check that this is a label volume"
            )
    if truth.shape != pred.shape:
        raise GeometryError(
            f"truth of shape {truth.shape} and prediction of shape {pred.shape}",
            "two label arrays of one region",
            "crop both to the same box",
        )
    if truth.ndim == 0:
        raise GeometryError("labels without an axis", "arrays of one to three axes")
    if valid is not None and (valid.shape != truth.shape or valid.dtype != np.bool_):
        raise GeometryError(f"a mask of shape {valid.shape} and type {valid.dtype}", f"bool of shape {truth.shape}")


def _flat(labels: NDArray[Any], name: str) -> Ids:
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"negative {name} labels ({labels.min()})", "ids of 0 or more", "set ignored voxels to 0")
    return np.ascontiguousarray(labels).reshape(-1).astype(np.uint64, copy=False)


def _marginal(ids: Ids, voxels: Counts) -> tuple[Ids, Counts, Counts]:
    unique, index = np.unique(ids, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, index, voxels)
    return unique, sums, index.astype(np.int64)


def _summed(truth: Ids, pred: Ids, voxels: Counts, excluded: int) -> Contingency:
    """Sort pairs and add up those that occur more than once."""
    order = np.lexsort((pred, truth))
    truth, pred, voxels = truth[order], pred[order], voxels[order]
    first = np.ones(len(truth), np.bool_)
    first[1:] = (truth[1:] != truth[:-1]) | (pred[1:] != pred[:-1])
    starts = np.flatnonzero(first)
    sums = np.add.reduceat(voxels, starts) if len(starts) else voxels
    return Contingency(truth[starts], pred[starts], sums, excluded)


@njit(cache=True, nogil=True, inline="always")
def _slot(truth: Any, pred: Any, mask: Any) -> Any:
    """First place to look for a pair (splitmix64 finaliser over both ids)."""
    h = truth * np.uint64(0x9E3779B97F4A7C15) ^ (pred + np.uint64(0x7F4A7C15)) * np.uint64(0xC2B2AE3D27D4EB4F)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (h ^ (h >> np.uint64(29))) & mask


@njit(cache=True, nogil=True)
def _insert(keys_t: Any, keys_p: Any, counts: Any, truth: Any, pred: Any, run: Any) -> Any:
    """Add a run to the table; 1 when the pair is new. The table always has an empty slot (count 0)."""
    mask = np.uint64(len(counts) - 1)
    slot = _slot(truth, pred, mask)
    while counts[slot] != 0:
        if keys_t[slot] == truth and keys_p[slot] == pred:
            counts[slot] += run
            return 0
        slot = (slot + np.uint64(1)) & mask
    keys_t[slot], keys_p[slot], counts[slot] = truth, pred, run
    return 1


@njit(cache=True, nogil=True)
def _doubled(keys_t: Any, keys_p: Any, counts: Any) -> Any:
    size = 2 * len(counts)
    new_t, new_p, new_counts = np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for i in range(len(counts)):
        if counts[i] != 0:
            _insert(new_t, new_p, new_counts, keys_t[i], keys_p[i], counts[i])
    return new_t, new_p, new_counts


@njit(cache=True, nogil=True)
def _is_valid(valid: Any, i: Any) -> Any:
    # numba drops the branch that does not fit the argument's type, but only when it is written as if-else
    if valid is None:
        return True
    else:
        return valid[i]


@njit(cache=True, nogil=True)
def _count(keys_t: Any, keys_p: Any, counts: Any, used: Any, labels: Any, start: Any) -> Any:
    """Count flat uint64 (truth, pred, valid) from voxel `start` until the table is half full.

    Returns the voxel to go on from, the used slots, and how many voxels were not valid. The table is not replaced in
    here: a loop over arrays that never change runs ten times as fast.
    """
    truth, pred, valid = labels
    i, n, limit, excluded = start, len(truth), len(counts) // 2, 0
    while i < n and used < limit:
        if not _is_valid(valid, i):
            excluded += 1
            i += 1
            continue
        t, p, first = truth[i], pred[i], i
        i += 1
        while i < n and truth[i] == t and pred[i] == p and _is_valid(valid, i):
            i += 1
        used += _insert(keys_t, keys_p, counts, t, p, i - first)
    return i, used, excluded
