"""Detection scores against the definitions, voxel by voxel and object by object, with nothing sparse or sorted."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuropil.metrics.detection import AP_THRESHOLDS, average_precision, detection_scores
from neuropil.metrics.matching import overlaps
from neuropil.metrics.overlap import contingency


def masks_of(labels):
    return {int(i): labels == i for i in np.unique(labels) if i > 0}


def iou_of(a, b):
    return Fraction(int((a & b).sum()), int((a | b).sum()))


def counted(truth, pred, threshold):
    """tp, fp, fn and total IoU; above one half an object has one partner at most."""
    true, found = masks_of(truth), masks_of(pred)
    hits = [iou_of(t, p) for t in true.values() for p in found.values() if iou_of(t, p) >= threshold]
    return len(hits), len(found) - len(hits), len(true) - len(hits), float(sum(hits))


def curve_by_objects(truth, pred, score, threshold, low=0, high=10**9):
    """AP of the first challenge: walk down the ranks, each prediction claims the truth it fits best."""
    true = {i: m for i, m in masks_of(truth).items() if low < m.sum() <= high}
    found = masks_of(pred)
    taken, points, hits, misses = set(), [], 0, 0
    for p in sorted(found, key=lambda i: -score[i]):
        best = max(true, key=lambda t: iou_of(true[t], found[p]), default=None)
        good = best is not None and iou_of(true[best], found[p]) >= threshold
        if good and best not in taken:
            taken.add(best)
            hits += 1
        elif good or low < found[p].sum() <= high:
            misses += 1
        else:
            continue
        points.append((Fraction(hits, len(true)), Fraction(hits, hits + misses)))
    at = [max((p for r, p in points if r >= Fraction(n, 100)), default=Fraction(0)) for n in range(101)]
    return float(sum(at) / 101)


@st.composite
def scenes(draw):
    """A truth of blocks and a prediction that is it, shifted, merged here and there, and eaten by noise."""
    blocks = draw(hnp.arrays(np.int64, (2, 2, 3), elements=st.integers(0, 7)))
    assume(blocks.any())
    truth = np.kron(blocks, np.ones((2, 3, 4), np.int64))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pred = np.roll(truth, draw(st.integers(0, 1)), axis=draw(st.integers(0, 2)))
    pred = np.where(
        rng.random(truth.shape) < draw(st.sampled_from([0, 0.05, 0.2])), rng.integers(0, 12, truth.shape), pred
    )
    names = rng.permutation(50)[:12] + 1
    return (
        truth,
        np.where(pred > 0, names[pred], 0),
        {int(n): float(s) for n, s in zip(names, rng.random(12), strict=True)},
    )


@settings(max_examples=60)
@given(scenes())
def test_counts_are_those_of_the_definition(scene):
    truth, pred, _ = scene
    got = detection_scores(overlaps(contingency(truth, pred)))
    tp, fp, fn, total = counted(truth, pred, Fraction(3, 4))
    assert got["accuracy_75"] == tp / (tp + fp + fn)
    assert got["f1_75"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert got["pq_75"] == pytest.approx(total / (tp + fp / 2 + fn / 2))
    assert got["recall_75"] == tp / (tp + fn)
    assert got["precision_75"] == (tp / (tp + fp) if tp else 0)


@settings(max_examples=60)
@given(scenes(), st.sampled_from([Fraction(1, 10), Fraction(11, 20), Fraction(3, 4)]))
def test_average_precision_is_that_of_the_walk_down_the_ranks(scene, threshold):
    truth, pred, score = scene
    pairs = overlaps(contingency(truth, pred))
    ranks = np.array([score[int(i)] for i in pairs.pred_ids])
    got = average_precision(pairs, ranks, float(threshold))
    if threshold < Fraction(1, 2) and tied(truth, pred):
        return  # which of two equal fits is claimed is nobody's rule
    assert got == pytest.approx(curve_by_objects(truth, pred, score, threshold))
    sizes = sorted(int(m.sum()) for m in masks_of(truth).values())
    low, high = sizes[0] - 1, sizes[len(sizes) // 2]
    got = average_precision(pairs, ranks, float(threshold), bins=np.array([low, high]))
    assert got == pytest.approx(curve_by_objects(truth, pred, score, threshold, low, high))


def tied(truth, pred):
    """Does a prediction fit two true objects equally well?"""
    for p in masks_of(pred).values():
        fits = [v for t in masks_of(truth).values() if (v := iou_of(t, p)) > 0]
        if len(fits) != len(set(fits)):
            return True
    return False


def test_ap_50_95_is_the_mean_of_ten():
    rng = np.random.default_rng(0)
    truth = np.kron(rng.permutation(60).reshape(3, 4, 5), np.ones((4, 4, 4), np.int64))
    pred = np.where(rng.random(truth.shape) < 0.2 * (truth % 3), 0, truth)
    score = {i: float(s) for i, s in enumerate(rng.random(60))}
    pairs = overlaps(contingency(truth, pred))
    got = detection_scores(pairs, scores=np.array([score[int(i)] for i in pairs.pred_ids]))
    ten = [curve_by_objects(truth, pred, score, Fraction(n, 20)) for n in range(10, 20)]
    assert got["ap_50_95"] == pytest.approx(np.mean(ten))
    assert (got["ap_50"], got["ap_75"]) == pytest.approx((ten[0], ten[5]))
    assert len(AP_THRESHOLDS) == 10
