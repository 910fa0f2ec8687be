"""One-to-one matching of true and predicted objects by their IoU, from the pairs that overlap at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from neuropil.errors import ConfigError, InputError
from neuropil.metrics.overlap import BACKGROUND_IDS, Contingency, Counts, Ids

Floats = NDArray[np.float64]

_DENSE_CELLS = 1 << 18  # above this a piece of the matching is solved as a sparse problem


@dataclass(frozen=True, eq=False)
class Overlaps:
    """True objects, predicted objects, and all pairs of them that share a voxel.

    Parameters
    ----------
    truth_ids, truth_voxels
        (T,) ids and voxel counts of true objects, background not among them, by rising id.
    pred_ids, pred_voxels
        (P,) the same of predicted objects.
    row, column, iou
        (K,) index of a pair's true object, of its predicted object, and the intersection over union, in (0, 1].
    """

    truth_ids: Ids
    truth_voxels: Counts
    pred_ids: Ids
    pred_voxels: Counts
    row: Counts
    column: Counts
    iou: Floats

    def in_half_precision(self) -> Overlaps:
        """A copy with IoUs rounded as TIMISE keeps them, for comparing with its tables."""
        return replace(self, iou=self.iou.astype(np.float16).astype(np.float64))

    @cached_property
    def by_claim(self) -> Counts:
        """(K,) order of the pairs: by predicted object, then falling IoU, then truth id."""
        return np.lexsort((self.row, -self.iou, self.column)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Matching:
    """One-to-one pairs of `Overlaps`: index of the true object (M,), of the predicted object (M,), and IoU (M,)."""

    row: Counts
    column: Counts
    iou: Floats


def overlaps(table: Contingency) -> Overlaps:
    """Objects and overlapping pairs of a contingency table.

    Truth 0 is background; voxels of truth 2⁶⁴-1 and 2⁶⁴-2 were not annotated and do not count at all. All three are
    background in the prediction.

    Raises
    ------
    InputError
        If the truth holds no object.
    """
    table = table.without(truth=BACKGROUND_IDS[1:], pred=())
    (truth_ids, truth_voxels, row), (pred_ids, pred_voxels, column) = table.truth_objects, table.pred_objects
    true, predicted = (~np.isin(ids, np.array(BACKGROUND_IDS, np.uint64)) for ids in (truth_ids, pred_ids))
    if not true.any():
        raise InputError("a truth without objects", "labels above 0", "check that this is the truth, and the right box")
    pair = true[row] & predicted[column]
    both = table.voxels[pair]
    union = truth_voxels[row[pair]] + pred_voxels[column[pair]] - both
    return Overlaps(
        truth_ids[true],
        truth_voxels[true],
        pred_ids[predicted],
        pred_voxels[predicted],
        (np.cumsum(true) - 1)[row[pair]],
        (np.cumsum(predicted) - 1)[column[pair]],
        both / union,
    )


def match(pairs: Overlaps, threshold: float) -> Matching:
    """The largest one-to-one matching of pairs with IoU ≥ `threshold`; among those, the one of largest total IoU.

    Raises
    ------
    ConfigError
        If the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"an IoU threshold of {threshold}", "more than 0, at most 1")
    good = np.flatnonzero(pairs.iou >= threshold)
    chosen = good[one_to_one(pairs.row[good], pairs.column[good], pairs.iou[good])]
    return Matching(pairs.row[chosen], pairs.column[chosen], pairs.iou[chosen])


def one_to_one(row: Counts, column: Counts, gain: Floats) -> Counts:
    """The pairs of the largest one-to-one matching; among those matchings, the one of largest total gain.

    Only pairs with a rival are looked at: they fall into small connected pieces, each an assignment problem.

    Parameters
    ----------
    row, column, gain
        (K,) the two things that each pair joins, and what it is worth, in [0, 1].

    Returns
    -------
    array
        (M,) int64 numbers of the chosen pairs, rising.
    """
    if not len(row):
        return np.empty(0, np.int64)
    rivals = (np.bincount(row)[row] > 1) | (np.bincount(column)[column] > 1)
    contested = _pieces(row, column, np.flatnonzero(rivals))
    return np.sort(np.concatenate([np.flatnonzero(~rivals), *(_assigned(row, column, gain, p) for p in contested)]))


def _pieces(row: Counts, column: Counts, contested: Counts) -> list[Counts]:
    """The contested pairs by connected piece."""
    if not len(contested):
        return []
    one = np.unique(row[contested], return_inverse=True)[1]
    other = np.unique(column[contested], return_inverse=True)[1] + one.max() + 1
    size = int(other.max()) + 1
    piece = connected_components(coo_array((np.ones(len(one)), (one, other)), (size, size)), directed=False)[1][one]
    order = np.argsort(piece, kind="stable")
    return np.split(contested[order], np.flatnonzero(np.diff(piece[order])) + 1)


def _assigned(row: Counts, column: Counts, gain: Floats, piece: Counts) -> Counts:
    """The pairs chosen in one piece."""
    rows, row = np.unique(row[piece], return_inverse=True)
    columns, column = np.unique(column[piece], return_inverse=True)
    # one more pair outweighs any gain
    weight = gain[piece] + min(len(rows), len(columns)) + 1
    if len(rows) * len(columns) <= _DENSE_CELLS:
        dense, which = np.zeros((len(rows), len(columns))), np.full((len(rows), len(columns)), -1)
        dense[row, column], which[row, column] = weight, piece
        chosen: Counts = which[linear_sum_assignment(dense, maximize=True)]
        return chosen[chosen >= 0]
    # a column of its own for every row lets it stay single, at next to no weight
    alone = np.arange(len(rows))
    full = csr_array(
        (
            np.concatenate([weight, np.full(len(rows), 1e-9)]),
            (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone])),
        )
    )
    partner = np.empty(len(rows), np.int64)
    at, to = min_weight_full_bipartite_matching(full, maximize=True)
    partner[at] = to
    kept: Counts = piece[partner[row] == column]
    return kept
