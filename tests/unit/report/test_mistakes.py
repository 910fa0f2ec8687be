"""Voxel classes and worst objects of a volume whose mistakes are known."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.report.mistakes import (
    BORDER,
    IGNORED,
    MATCHED,
    MERGE,
    MISSED,
    SPLIT,
    error_classes,
    match,
    meeting_place,
    shares,
    total_bits,
    worst,
)
from neuropil.report.scene import small_labels


@pytest.fixture
def both(truth, pred):
    return small_labels(truth, "truth"), small_labels(pred, "segmentation")


def test_best_partners(both):
    found = match(*both)
    # neurons 10..60 are 1..6; segments 1..5 are 1..5
    assert found.main_pred.tolist() == [-1, 1, 3, 3, 4, 5, -1]
    assert found.main_truth.tolist()[1:3] == [1, 1]
    assert found.main_truth[3] in (2, 3)
    assert found.main_truth.tolist()[4:] == [4, 5]


def test_every_voxel_has_its_class(both, truth):
    found = match(*both)
    classes = error_classes(both[0].index_ZYX, both[1].index_ZYX, found)
    assert (classes[truth == 0] == IGNORED).all()
    assert (classes[:8][truth[:8] == 10] == MATCHED).all()
    assert (classes[8:][truth[8:] == 10] == SPLIT).all()
    fused = {int(np.unique(classes[truth == t])[0]) for t in (20, 30)}
    assert fused == {MATCHED, MERGE}
    assert (classes[truth == 60] == MISSED).all()
    assert sum(shares(classes).values()) == pytest.approx(1)


def test_a_shifted_border_is_neither_split_nor_merge():
    truth, pred = np.ones((1, 4, 20), int), np.ones((1, 4, 20), int)
    truth[..., 10:], pred[..., 11:] = 2, 2
    pair = small_labels(truth, "truth"), small_labels(pred, "segmentation")
    classes = error_classes(pair[0].index_ZYX, pair[1].index_ZYX, match(*pair))
    assert np.unique(classes[..., 10]).tolist() == [BORDER]
    assert np.unique(np.delete(classes, 10, axis=2)).tolist() == [MATCHED]


def test_perfect_segmentation_has_no_mistakes(truth):
    pair = small_labels(truth, "truth"), small_labels(truth * 7, "segmentation")
    found = match(*pair)
    assert worst(*pair, found, 10) == []
    assert total_bits(found) == pytest.approx(0)


def test_worst_objects_in_order_with_bits(both):
    found = match(*both)
    mistakes = worst(*both, found, 10)
    assert [(m.kind, m.index) for m in mistakes] == [("merge", 3), ("split", 1)]
    n = float(found.n.sum())
    assert mistakes[0].bits == pytest.approx(2 * 12 * 144 / n)  # two equal halves: one bit a voxel
    assert sum(m.bits for m in mistakes) == pytest.approx(total_bits(found))
    assert mistakes[1].parts.tolist() == [1, 2]
    assert len(worst(*both, found, 1)) == 1


def test_the_place_lies_where_the_parts_meet(both):
    merge, split = worst(*both, match(*both), 2)
    assert split.place[0] in (7, 8)
    assert merge.place[2] in (23, 24)
    assert both[0].index_ZYX[split.place] == 1


def test_parts_that_do_not_touch_meet_where_they_come_closest():
    whole = np.ones((1, 3, 40), np.int32)
    parts = np.zeros((1, 3, 40), np.int32)
    parts[..., :5], parts[..., 30:] = 1, 2
    assert meeting_place(whole, 1, parts, (1, 2))[2] == 30


def test_large_gaps_are_measured_on_every_other_voxel():
    whole = np.ones((104, 104, 104), np.int32)
    parts = np.zeros_like(whole)
    parts[:10], parts[60:] = 1, 2
    assert meeting_place(whole, 1, parts, (1, 2))[0] == 60


def test_nothing_segmented_has_no_mistakes(truth):
    pair = small_labels(truth, "truth"), small_labels(np.zeros_like(truth), "segmentation")
    found = match(*pair)
    assert worst(*pair, found, 5) == []
    assert total_bits(found) == 0
