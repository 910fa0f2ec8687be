import itertools

import numpy as np
import pytest

from neuropil.errors import ConfigError, InputError
from neuropil.metrics import matching as module
from neuropil.metrics.matching import match, overlaps
from neuropil.metrics.overlap import contingency


def row(text):
    """Labels of a line of voxels: one character each, '.' for background."""
    return np.array([0 if c == "." else int(c, 36) for c in text])


def pairs_of(truth, pred):
    return overlaps(contingency(row(truth), row(pred)))


def chosen(pairs, threshold):
    found = match(pairs, threshold)
    return {
        (int(t), int(p)): float(v)
        for t, p, v in zip(pairs.truth_ids[found.row], pairs.pred_ids[found.column], found.iou, strict=True)
    }


def test_iou_by_hand():
    pairs = pairs_of("1111..22..33", "5555666...7.")
    got = {
        (int(pairs.truth_ids[r]), int(pairs.pred_ids[c])): v
        for r, c, v in zip(pairs.row, pairs.column, pairs.iou, strict=True)
    }
    assert got == {(1, 5): 1.0, (2, 6): 1 / 4, (3, 7): 1 / 2}
    assert pairs.truth_voxels.tolist() == [4, 2, 2]
    assert pairs.pred_voxels.tolist() == [4, 3, 1]


def test_background_is_no_object_and_ignored_truth_does_not_count():
    truth = np.array([2**64 - 1, 2**64 - 2, 3, 3, 0], np.uint64)
    pred = np.array([9, 9, 9, 9, 2**64 - 1], np.uint64)
    pairs = overlaps(contingency(truth, pred))
    assert pairs.truth_ids.tolist() == [3]
    assert pairs.pred_voxels.tolist() == [2]  # what was not annotated is not part of it
    assert pairs.iou.tolist() == [1.0]


def test_above_one_half_pairs_are_unique():
    assert chosen(pairs_of("1111122222", "6666677777"), 0.51) == {(1, 6): 1.0, (2, 7): 1.0}
    assert chosen(pairs_of("1111122222", "6677777777"), 0.51) == {(2, 7): 5 / 8}


def test_at_exactly_one_half_only_one_of_two_halves_is_matched():
    assert len(chosen(pairs_of("1111", "6677"), 0.5)) == 1
    assert len(chosen(pairs_of("6677", "1111"), 0.5)) == 1


def test_more_pairs_are_worth_more_than_better_ones():
    # 1-7 is the best pair, but it would leave 2 and 6 alone
    truth, pred = "11111111222", "66677777777"
    pairs = pairs_of(truth, pred)
    assert pairs.iou.max() == 5 / 11
    assert chosen(pairs, 0.2) == {(1, 6): 3 / 8, (2, 7): 3 / 8}
    assert chosen(pairs, 0.4) == {(1, 7): 5 / 11}


def brute(pairs, threshold):
    """The best (number of pairs, total IoU) over all one-to-one matchings."""
    iou = np.zeros((len(pairs.truth_ids), max(len(pairs.truth_ids), len(pairs.pred_ids))))
    iou[pairs.row, pairs.column] = np.where(pairs.iou >= threshold, pairs.iou, 0)
    best = (0, 0.0)
    for columns in itertools.permutations(range(iou.shape[1]), len(iou)):
        picked = iou[range(len(iou)), columns]
        best = max(best, (int((picked > 0).sum()), float(picked.sum())))
    return best


@pytest.mark.parametrize("cells", [0, 1 << 18], ids=["sparse", "dense"])
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.75])
def test_matching_is_the_best_of_all(rng, monkeypatch, threshold, cells):
    monkeypatch.setattr(module, "_DENSE_CELLS", cells)
    for _ in range(25):
        truth, pred = rng.integers(0, 7, (2, 30))
        truth[0] = 1
        pairs = overlaps(contingency(truth, pred))
        found = match(pairs, threshold)
        assert len(np.unique(found.row)) == len(found.row)
        assert len(np.unique(found.column)) == len(found.column)
        assert (found.iou >= threshold).all()
        assert (len(found.iou), found.iou.sum()) == pytest.approx(brute(pairs, threshold))


def test_half_precision_lets_a_near_miss_pass():
    pairs = pairs_of("1" * 3749 + "." * 1251, "2" * 5000)
    assert pairs.iou[0] == 0.7498
    assert len(chosen(pairs, 0.75)) == 0
    assert len(chosen(pairs.in_half_precision(), 0.75)) == 1


def test_nothing_predicted_and_nothing_true():
    assert chosen(pairs_of("11", ".."), 0.5) == {}
    with pytest.raises(InputError, match="without objects"):
        pairs_of("..", "11")


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ConfigError, match="IoU threshold"):
        match(pairs_of("1", "1"), threshold)
