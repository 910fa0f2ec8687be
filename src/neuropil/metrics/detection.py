"""Scores of instances: which true objects were found, from one contingency table and the IoU of overlapping pairs.

Truth and prediction are matched one to one: as many pairs as possible with IoU ≥ t, and among those matchings the one
of largest total IoU. Above t = 0.5 a pair has no rival, so nothing has to be chosen. With TP matched pairs, FP
predicted and FN true objects left over:

- precision = TP/(TP+FP), recall = TP/(TP+FN), F1 = TP/(TP+FP/2+FN/2), accuracy = TP/(TP+FP+FN);
- SQ = mean IoU of matched pairs, PQ = SQ · F1 (Kirillov et al., CVPR 2019; its RQ is F1).

AP is that of the first MitoEM challenge: predictions ranked by a score, each claims the true object of highest IoU, and
101 points of the interpolated precision-recall curve are averaged. Ranks need a score: the mean foreground evidence
inside an object, or its voxel count, as the challenge tool had it when no score was given; the latter rewards nothing
but size. Where we depart from the official tools, none of which holds a million objects:

- IoUs are exact; TIMISE rounds them to half precision, so 0.7498 passes 0.75 (`Overlaps.in_half_precision` does too);
- predictions of equal score enter the curve together, so the numbering of objects means nothing;
- recall is compared with the 101 points in whole numbers, so 7 of 20 reaches 0.35;
- an object that two predictions claim is found once; the second is false (possible only at an IoU of exactly 0.5).

Wei et al., MICCAI 2020 (MitoEM, AP-75); Franco-Barranco et al., IEEE TMI 42 (2023) (accuracy-75, cable length).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box, Int3
from neuropil.metrics.evaluate import volume_contingency
from neuropil.metrics.matching import Matching, Overlaps, match, overlaps
from neuropil.metrics.overlap import BACKGROUND_IDS, Contingency, Counts, Ids, weighted_bincount
from neuropil.volume import Volume

__all__ = [
    "HIGHER_IS_BETTER",
    "average_precision",
    "by_category",
    "detection",
    "detection_scores",
    "evaluate_detection",
    "evaluate_semantic",
    "match",
    "overlaps",
    "semantic",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: IoU thresholds of precision, recall, F1, PQ and accuracy; those of AP-50:95.
THRESHOLDS = (0.5, 0.75)
AP_THRESHOLDS = tuple(n / 100 for n in range(50, 100, 5))
#: Limits between small, medium and large of the first challenge's tool (voxels), between short, middle and long cable
#: of the second's (nm).
SIZE_EDGES_VOXELS = (5_000.0, 15_000.0)
CABLE_EDGES_NM = (1_000.0, 4_000.0)
SIZES, CABLES = ("small", "medium", "large"), ("short", "middle", "long")

_OBJECT_SCORES = ("precision", "recall", "f1", "accuracy", "pq")
_AP = ("ap_50", "ap_75", "ap_50_95")
#: every key with a direction. `sq` has none, as it only judges what was matched; nor have the scores of a group that
#: count false objects, as a worse one may be of another group (why the challenge gave up size groups).
HIGHER_IS_BETTER = dict.fromkeys(
    (
        *(f"{name}_{round(100 * t)}" for t in THRESHOLDS for name in _OBJECT_SCORES),
        *_AP,
        *(f"{name}_voxels" for name in _AP),
        *(f"recall_75_{group}" for group in SIZES + CABLES),
        *("dice", "iou", "foreground_precision", "foreground_recall"),
    ),
    True,
)


def average_precision(pairs: Overlaps, scores: Floats, threshold: float, *, bins: Floats | None = None) -> float:
    """101-point interpolated average precision at one IoU threshold; see the module for the rules.

    Parameters
    ----------
    scores
        (P,) score of each predicted object, the larger the surer.
    bins
        (2,) only true objects of more than `bins[0]` and at most `bins[1]` voxels; predictions of another size that
        claim none of them are left out of the curve. NaN if there is no such object.

    Raises
    ------
    InputError
        If the scores are not one finite number for each predicted object.
    """
    return _Ranking.of(pairs, scores, bins).average_precision(threshold)


def detection(table: Contingency) -> dict[str, float | int]:
    """All scores of a table of instances, objects ranked by voxel count; see `detection_scores`."""
    return detection_scores(overlaps(table)) | semantic(table)


def detection_scores(
    pairs: Overlaps, *, scores: Floats | None = None, size_edges_voxels: Sequence[float] = SIZE_EDGES_VOXELS
) -> dict[str, float | int]:
    """All scores of instances.

    Parameters
    ----------
    scores
        (P,) score of each predicted object for AP; their voxel counts when None.
    size_edges_voxels
        The largest small and the largest medium object.

    Returns
    -------
    dict
        `precision_50, recall_50, f1_50, accuracy_50, pq_50, sq_50` and the same `_75`; `ap_50, ap_75, ap_50_95` with
        objects ranked by `scores`, and `ap_50_voxels, ...` ranked by voxel count; `accuracy_75_small, ap_75_small,
        num_truth_small` and so on for each size that occurs; `num_truth`, `num_pred`.
    """
    found: dict[str, float | int] = {}
    matched = {t: match(pairs, t) for t in THRESHOLDS}
    true, predicted = len(pairs.truth_ids), len(pairs.pred_ids)
    for threshold, pairing in matched.items():
        found |= _named(_counted(pairing.iou, true, predicted), f"_{round(100 * threshold)}")
    sizes = pairs.pred_voxels.astype(np.float64)
    ranked = sizes if scores is None else scores
    for rank, suffix in ((ranked, ""), (sizes, "_voxels")):
        ranking = _Ranking.of(pairs, rank, None)
        curve = [ranking.average_precision(t) for t in AP_THRESHOLDS]
        values = (curve[0], curve[AP_THRESHOLDS.index(0.75)], float(np.mean(curve)))
        found |= {f"{name}{suffix}": value for name, value in zip(_AP, values, strict=True)}
    edges = np.array([0.0, *size_edges_voxels, np.inf])
    found |= by_category(pairs, matched[0.75], (pairs.truth_voxels, pairs.pred_voxels), edges, SIZES)
    for group, limits in zip(SIZES, itertools.pairwise(edges), strict=True):
        if f"num_truth_{group}" in found:
            found[f"ap_75_{group}"] = average_precision(pairs, ranked, 0.75, bins=np.array(limits))
    return found | {"num_truth": true, "num_pred": predicted}


def by_category(
    pairs: Overlaps, matching: Matching, values: tuple[NDArray[Any], NDArray[Any]], edges: Floats, names: Sequence[str]
) -> dict[str, float | int]:
    """Scores at IoU 0.75 of groups of objects: by size, cable length, or whatever `values` measure.

    A match and a miss count for the group of the true object, a false object for its own.

    Parameters
    ----------
    matching
        `match(pairs, 0.75)`.
    values
        (T,) of true and (P,) of predicted objects.
    edges
        (G+1,) rising limits; a group holds values above its lower and up to its upper limit.

    Returns
    -------
    dict
        `precision_75_<name>` and so on, and `num_truth_<name>`; groups without a true object are left out.
    """
    truth_group, pred_group = (np.searchsorted(edges, value, side="left") - 1 for value in values)
    false = np.ones(len(pairs.pred_ids), np.bool_)
    false[matching.column] = False
    found: dict[str, float | int] = {}
    for group, name in enumerate(names):
        true = int((truth_group == group).sum())
        if not true:
            continue
        iou = matching.iou[truth_group[matching.row] == group]
        found |= _named(_counted(iou, true, len(iou) + int((pred_group[false] == group).sum())), f"_75_{name}")
        found[f"num_truth_{name}"] = true
    return found


def semantic(table: Contingency) -> dict[str, float]:
    """Dice, IoU, `foreground_precision` and `foreground_recall` of everything labelled against everything labelled.

    Raises
    ------
    InputError
        If the truth holds no object.
    """
    table = table.without(truth=BACKGROUND_IDS[1:], pred=())
    true, predicted = (~np.isin(ids, np.array(BACKGROUND_IDS, np.uint64)) for ids in (table.truth, table.pred))
    wanted, got = int(table.voxels[true].sum()), int(table.voxels[predicted].sum())
    if not wanted:
        raise InputError("a truth without foreground", "labels above 0", "check that this is the truth, and its box")
    both = int(table.voxels[true & predicted].sum())
    return {
        "dice": 2 * both / (wanted + got),
        "iou": both / (wanted + got - both),
        "foreground_precision": both / got if got else 0.0,
        "foreground_recall": both / wanted,
    }


def evaluate_detection(
    truth: Volume,
    pred: Volume,
    *,
    block_shape: Int3,
    scores: Volume | Mapping[int, float] | None = None,
    ignore_border_nm: float | None = None,
    size_edges_um3: tuple[float, float] | None = None,
    cable_nm: tuple[Mapping[int, float], Mapping[int, float]] | None = None,
) -> dict[str, float | int]:
    """All scores of instances in two label volumes, read by blocks; the keys are those of `detection`.

    Parameters
    ----------
    block_shape
        Voxels z, y, x read at a time.
    scores
        What ranks predicted objects for `ap_*`: evidence of foreground, over the same box, averaged over each
        object, or predicted id → score. Their voxel counts when None.
    ignore_border_nm
        See `neuropil.metrics.evaluate.evaluate_arrays`.
    size_edges_um3
        The largest small and medium object; `SIZE_EDGES_VOXELS` when None.
    cable_nm
        True id → skeleton length, predicted id → skeleton length (nm): adds `accuracy_75_short`, `_middle`, `_long`.

    Raises
    ------
    GeometryError
        If the volumes do not fit; see `volume_contingency`.
    InputError
        If a volume does not hold labels, the truth holds none, or an object has no score or length.
    """
    table = volume_contingency(truth, pred, ignore_border_nm=ignore_border_nm, block_shape=block_shape)
    pairs = overlaps(table)
    voxel_um3 = float(np.prod(truth.voxel_size)) * 1e-9
    edges = SIZE_EDGES_VOXELS if size_edges_um3 is None else tuple(um3 / voxel_um3 for um3 in size_edges_um3)
    ranks = None
    if isinstance(scores, Volume):
        ranks = _mean_inside(pred, scores, truth.box, pairs.pred_ids, block_shape)
    elif scores is not None:
        ranks = _looked_up(scores, pairs.pred_ids, "score")
    found = detection_scores(pairs, scores=ranks, size_edges_voxels=edges) | semantic(table)
    if cable_nm is not None:
        lengths = tuple(
            _looked_up(known, ids, "length")
            for known, ids in zip(cable_nm, (pairs.truth_ids, pairs.pred_ids), strict=True)
        )
        limits = np.array([-np.inf, *CABLE_EDGES_NM, np.inf])
        found |= by_category(pairs, match(pairs, 0.75), (lengths[0], lengths[1]), limits, CABLES)
    return found


def evaluate_semantic(
    truth: Volume, pred: Volume, *, block_shape: Int3, ignore_border_nm: float | None = None
) -> dict[str, float]:
    """Scores of everything labelled in two volumes, read by blocks; see `semantic` and `evaluate_detection`."""
    return semantic(volume_contingency(truth, pred, ignore_border_nm=ignore_border_nm, block_shape=block_shape))


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Predictions by falling score: what each claims, whether it may be left out, and where its score ends."""

    claimed: Counts
    iou: Floats
    optional: Bools
    last: Bools
    wanted: int

    @classmethod
    def of(cls, pairs: Overlaps, scores: Floats, bins: Floats | None) -> _Ranking:
        count = len(pairs.pred_ids)
        if np.shape(scores) != (count,) or not np.isfinite(scores).all():
            raise InputError(f"scores of shape {np.shape(scores)}", f"({count},), one finite number for each object")
        low, high = (0.0, np.inf) if bins is None else (float(bins[0]), float(bins[1]))
        in_bin = (pairs.truth_voxels > low) & (pairs.truth_voxels <= high)
        order = pairs.by_claim
        order = order[in_bin[pairs.row[order]]]
        who, first = np.unique(pairs.column[order], return_index=True)
        claimed, iou = np.full(count, -1, np.int64), np.zeros(count)
        claimed[who], iou[who] = pairs.row[order[first]], pairs.iou[order[first]]
        optional = (pairs.pred_voxels <= low) | (pairs.pred_voxels > high)
        rank = np.argsort(-np.asarray(scores), kind="stable")
        last = np.ones(count, np.bool_)
        last[:-1] = scores[rank[:-1]] != scores[rank[1:]]
        return cls(claimed[rank], iou[rank], optional[rank], last, int(in_bin.sum()))

    def average_precision(self, threshold: float) -> float:
        if not self.wanted:
            return float("nan")
        hit = np.flatnonzero(self.iou >= threshold)
        true = np.zeros(len(self.iou), np.bool_)
        true[hit[np.unique(self.claimed[hit], return_index=True)[1]]] = True
        false = ~true & ~(self.optional & (self.iou < threshold))
        found, wrong = np.cumsum(true)[self.last], np.cumsum(false)[self.last]
        precision = found / np.maximum(found + wrong, 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        needed = -(-np.arange(101) * self.wanted // 100)
        return float(envelope[np.searchsorted(found, needed, side="left")].mean())


def _counted(iou: Floats, true: int, predicted: int) -> dict[str, float]:
    """Scores of `len(iou)` matched pairs among so many objects; 0 where there is nothing to divide by."""
    hits, total = len(iou), float(iou.sum())
    return {
        "precision": hits / max(predicted, 1),
        "recall": hits / max(true, 1),
        "f1": 2 * hits / max(true + predicted, 1),
        "accuracy": hits / max(true + predicted - hits, 1),
        "pq": 2 * total / max(true + predicted, 1),
        "sq": total / max(hits, 1),
    }


def _named(values: dict[str, float], suffix: str) -> dict[str, float]:
    return {f"{name}{suffix}": value for name, value in values.items()}


def _mean_inside(pred: Volume, evidence: Volume, box: Box, ids: Ids, block_shape: Int3) -> Floats:
    """Mean evidence over each predicted object in the box."""
    if evidence.ndim != 3 or not evidence.box.contains(box):
        raise GeometryError(
            f"evidence '{evidence.name}' of shape {evidence.shape} for a box of shape {box.shape}",
            "three axes z, y, x that cover the box",
            "give the foreground channel alone",
        )
    total, voxels = np.zeros(len(ids)), np.zeros(len(ids))
    for block in box.blocks(block_shape):
        labels, values = pred.read(block.write), evidence.read(block.write)
        here = labels.astype(np.uint64).ravel()
        at = np.minimum(np.searchsorted(ids, here), len(ids) - 1) if len(ids) else np.zeros(0, np.int64)
        known = ids[at] == here if len(ids) else np.zeros(len(here), np.bool_)
        total += weighted_bincount(at[known], values.ravel()[known].astype(np.float64), len(ids))
        voxels += np.bincount(at[known], minlength=len(ids))
    return total / np.maximum(voxels, 1)


def _looked_up(known: Mapping[int, float], ids: Ids, what: str) -> Floats:
    missing = [int(i) for i in ids if int(i) not in known]
    if missing:
        raise InputError(
            f"no {what} for object {missing[0]} and {len(missing) - 1} more", f"one {what} for each object"
        )
    return np.array([known[int(i)] for i in ids], np.float64)
