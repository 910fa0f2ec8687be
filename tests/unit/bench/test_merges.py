"""A threshold from right and wrong merges."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from merges import judged, right_or_wrong
from neuropil.metrics.overlap import contingency
from neuropil.post.merging import MergeTree

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def tree(pairs: list[tuple[int, int]], levels: list[float], nodes: int) -> MergeTree:
    return MergeTree(np.array(pairs), np.array(levels), np.array(levels), nodes)


def test_merges_are_judged_by_most_voxels_of_both_sides() -> None:
    # fragments 1, 2 in neuron 7; 3 mostly in 8; 4 in 8; 5 in membrane
    truth = np.array([7, 7, 7, 7, 7, 8, 8, 8, 8, 0])
    fragments = np.array([1, 1, 2, 2, 3, 3, 3, 4, 4, 5])
    merges = tree([(1, 2), (3, 4), (5, 4), (2, 3)], [0.9, 0.8, 0.6, 0.4], 5)
    found = judged(merges, contingency(truth, fragments))
    assert found.levels.tolist() == [0.9, 0.8, 0.4]  # the piece of membrane is neither right nor wrong
    assert found.right.tolist() == [True, True, False]


def test_voxels_that_were_not_annotated_have_no_say() -> None:
    ignored = 2**64 - 1
    truth = np.array([7, 7, ignored, ignored, ignored, 7, ignored - 1, ignored], np.uint64)
    fragments = np.array([1, 1, 2, 2, 2, 2, 3, 3])
    # most of 2 was not annotated, but what was is of 7; of 3 nothing is known, even though it was "ignored" by both
    found = judged(tree([(1, 2), (2, 3)], [0.9, 0.5], 3), contingency(truth, fragments))
    assert found.levels.tolist() == [0.9]
    assert found.right.tolist() == [True]


def test_sides_are_judged_as_they_have_become() -> None:
    truth = np.array([7, 8, 8, 8, 7, 7, 7, 7, 7])
    fragments = np.array([1, 2, 2, 2, 3, 3, 3, 3, 3])
    # 1 and 2 become an object of 8; so joining it with 3 is wrong, although fragment 1 and 3 are of one neuron
    found = judged(tree([(1, 2), (1, 3)], [0.8, 0.5], 3), contingency(truth, fragments))
    assert found.right.tolist() == [False, False]


def test_the_threshold_is_where_right_turns_to_wrong() -> None:
    rng = np.random.default_rng(0)
    levels = np.sort(rng.uniform(0, 1, 20000))[::-1]
    right = rng.uniform(0, 1, 20000) < levels + 0.2  # half of the merges at level .3 are right
    truth_free = [type("J", (), {"levels": levels[i::2], "right": right[i::2]}) for i in range(2)]
    fine = tuple(np.round(np.arange(0.05, 0.951, 0.025), 3))
    assert right_or_wrong(truth_free, fine) == pytest.approx(0.3, abs=0.051)


def test_one_large_contact_has_one_voice() -> None:
    levels, right = np.array([0.95, 0.8, 0.75, 0.6, 0.4, 0.2]), np.array([True, True, True, True, False, True])
    judgement = type("J", (), {"levels": levels, "right": right})
    assert right_or_wrong([judgement], THRESHOLDS) in (0.5, 0.3)
    assert right_or_wrong([judgement], THRESHOLDS) == 0.5
