"""Where a segmentation and the truth differ: voxel classes, and the objects that cost most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from neuropil.geometry import Int3
from neuropil.metrics.overlap import Contingency, contingency
from neuropil.metrics.partition import object_voi
from neuropil.report.scene import Labels

#: Values of `error_classes`; FALSE is for objects in a background (see `neuropil.report.objects`).
IGNORED, MATCHED, SPLIT, MERGE, BORDER, MISSED, FALSE = range(7)

#: Voxels without a segment are shown as missed, and left out of the bits.
CONVENTION = "assigned"


@dataclass(frozen=True)
class Match:
    """How objects of truth and segmentation answer each other (indices as in `Labels`; -1 = no partner).

    `main_pred[t]` is the segment that covers most of neuron t, `main_truth[p]` the neuron that fills most of
    segment p. `t`, `p`, `n` list every overlap of two objects in voxels, background left out.
    """

    main_pred: npt.NDArray[np.int64]
    main_truth: npt.NDArray[np.int64]
    t: npt.NDArray[np.int64]
    p: npt.NDArray[np.int64]
    n: npt.NDArray[np.int64]
    table: Contingency


@dataclass(frozen=True)
class Mistake:
    """One object, and what it adds to the variation of information or has of wrong voxels.

    Parameters
    ----------
    kind
        ``"split"``: a neuron of the truth in several segments; ``"merge"``: a segment holding several neurons. Of
        objects in a background also ``"missed"`` (of the truth) and ``"false"`` (a segment).
    index
        Of the neuron (split) or the segment (merge), as in its `Labels`.
    bits
        Its share of the split or merge VOI, in bits.
    parts
        Indices of the segments (split) or neurons (merge) that it consists of, largest first.
    sizes
        Their voxels.
    place
        A voxel z, y, x of the crop where the two largest parts come closest, or in the middle of what has no partner.
    wrong, voxels
        Its wrong voxels and all of them; of objects in a background.
    """

    kind: str
    index: int
    bits: float
    parts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    place: Int3
    wrong: int = 0
    voxels: int = 0

    @property
    def of_truth(self) -> bool:
        """Whether the object is one of the truth."""
        return self.kind in ("split", "missed")


def match(truth: Labels, pred: Labels) -> Match:
    """Find the best partner of every object by overlap."""
    return matched(contingency(truth.index_ZYX, pred.index_ZYX), truth.count, pred.count)


def matched(overlaps: Contingency, truths: int, preds: int) -> Match:
    """The best partner of every object 1..`truths` and 1..`preds`, given how many voxels each two share."""
    table = overlaps.without(truth=(0,), pred=(0,))
    t, p, n = table.truth.astype(np.int64), table.pred.astype(np.int64), table.voxels
    main_pred, main_truth = np.full(truths + 1, -1, np.int64), np.full(preds + 1, -1, np.int64)
    order = np.argsort(n, kind="stable")  # the largest overlap is written last and stays
    main_pred[t[order]], main_truth[p[order]] = p[order], t[order]
    return Match(main_pred, main_truth, t, p, n, table)


def error_classes(truth_ZYX: npt.NDArray[Any], pred_ZYX: npt.NDArray[Any], found: Match) -> npt.NDArray[np.uint8]:
    """Class of every voxel, given object indices.

    MATCHED
        In the main segment of its neuron, which in turn is the main neuron of the segment.
    SPLIT
        In a segment that belongs to its neuron but is not the neuron's main one.
    MERGE
        In its neuron's main segment, which belongs to another neuron.
    BORDER
        Neither: mostly where the border between two neurons was drawn a little aside.
    MISSED
        A neuron's voxel without segment. IGNORED: the truth says nothing here.
    """
    own_segment = found.main_pred[truth_ZYX] == pred_ZYX
    own_neuron = found.main_truth[pred_ZYX] == truth_ZYX
    classes = np.full(truth_ZYX.shape, BORDER, np.uint8)
    classes[own_segment & own_neuron] = MATCHED
    classes[~own_segment & own_neuron] = SPLIT
    classes[own_segment & ~own_neuron] = MERGE
    classes[pred_ZYX == 0] = MISSED
    classes[truth_ZYX == 0] = IGNORED
    return classes


def shares(classes: npt.NDArray[np.uint8]) -> dict[int, float]:
    """Share of the labelled voxels in each class but IGNORED."""
    count = np.bincount(classes.ravel(), minlength=7).astype(float)
    return {k: float(count[k] / max(1.0, count[1:].sum())) for k in (MATCHED, SPLIT, MERGE, BORDER, MISSED, FALSE)}


def worst(truth: Labels, pred: Labels, found: Match, count: int) -> list[Mistake]:
    """The objects that add most to the variation of information, in bits, largest first.

    Only voxels with both a neuron and a segment count; see `neuropil.metrics.partition.object_voi`.
    """
    if not len(found.n):
        return []
    costs = object_voi(found.table, convention=CONVENTION)
    ranked = sorted(
        [("split", int(i), float(bits)) for i, bits in zip(costs.truth_ids, costs.split_bits, strict=True)]
        + [("merge", int(i), float(bits)) for i, bits in zip(costs.pred_ids, costs.merge_bits, strict=True)],
        key=lambda item: (-item[2], item[0], item[1]),
    )
    return [_mistake(kind, i, bits, truth, pred, found) for kind, i, bits in ranked[:count] if bits > 1e-9]


def total_bits(found: Match) -> float:
    """VOI sum over the voxels that have both a neuron and a segment."""
    return float(object_voi(found.table, convention=CONVENTION).scores()["voi_sum"]) if len(found.n) else 0.0


def _mistake(kind: str, index: int, bits: float, truth: Labels, pred: Labels, found: Match) -> Mistake:
    mine, other = (found.t, found.p) if kind == "split" else (found.p, found.t)
    here = mine == index
    order = np.argsort(-found.n[here], kind="stable")
    parts, sizes = other[here][order], found.n[here][order]
    whole_ZYX, part_ZYX = truth.index_ZYX, pred.index_ZYX
    if kind == "merge":
        whole_ZYX, part_ZYX = part_ZYX, whole_ZYX
    place = meeting_place(whole_ZYX, index, part_ZYX, (int(parts[0]), int(parts[1])))
    return Mistake(kind, index, bits, parts, sizes, place)


def meeting_place(
    whole_ZYX: npt.NDArray[np.int32], index: int, part_ZYX: npt.NDArray[np.int32], two: tuple[int, int]
) -> Int3:
    """The voxel in the middle of the contact of two parts of an object; if they do not touch, of the second where it
    comes closest to the first."""
    corner, window = bounds(whole_ZYX == index)
    inside = np.where(whole_ZYX[window] == index, part_ZYX[window], 0)
    first, second = inside == two[0], inside == two[1]
    contact = np.zeros(inside.shape, np.bool_)
    for axis in range(3):
        a, b = np.moveaxis(first, axis, 0), np.moveaxis(second, axis, 0)
        touch = np.moveaxis(contact, axis, 0)
        touch[:-1] |= (a[:-1] & b[1:]) | (b[:-1] & a[1:])
    if not contact.any():
        contact = _nearest(first, second)
    points = np.argwhere(contact)
    # the median may lie outside a curved contact, so the nearest contact voxel is taken
    middle = points[np.argmin(((points - np.median(points, axis=0)) ** 2).sum(axis=1))]
    z, y, x = (int(m + c) for m, c in zip(middle, corner, strict=True))
    return z, y, x


def _nearest(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The voxels of `second` nearest to `first`; of large objects every other voxel is looked at."""
    step = 2 if first.size > 1 << 20 and first[::2, ::2, ::2].any() and second[::2, ::2, ::2].any() else 1
    coarse = (slice(None, None, step),) * 3
    far = np.where(second[coarse], ndimage.distance_transform_edt(~first[coarse]), np.inf)
    near = np.zeros_like(second)
    near[coarse] = far == far.min()
    return near


def bounds(mask: npt.NDArray[np.bool_]) -> tuple[Int3, tuple[slice, slice, slice]]:
    """First voxel and box of what is set."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return (spans[0].start, spans[1].start, spans[2].start), (spans[0], spans[1], spans[2])
