"""Mistakes worked out piece by piece are those of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.errors import GeometryError
from neuropil.report.mistakes import IGNORED, MATCHED, MERGE, MISSED, SPLIT, error_classes, match
from neuropil.report.scene import small_labels
from neuropil.view.mistakes import mistakes, numbered
from neuropil.volume import Volume


def test_pieces_are_what_the_report_finds_in_the_whole(truth, labels):
    classes = mistakes(truth, labels)
    one, other = small_labels(truth.numpy(), "truth"), small_labels(labels.numpy(), "labels")
    expected = error_classes(one.index_ZYX, other.index_ZYX, match(one, other))
    np.testing.assert_array_equal(classes.numpy(), expected)
    box = classes.box.grown((-3, -5, -7))
    np.testing.assert_array_equal(classes.read(box), expected[3:-3, 5:-5, 7:-7])


def test_each_kind_is_where_it_was_made(truth, labels):
    classes = mistakes(truth, labels).numpy()
    assert classes[15, 30, 25] in (SPLIT, MATCHED)
    assert {int(classes[5, 30, 25]), int(classes[15, 30, 25])} == {SPLIT, MATCHED}  # slab 3, halves
    assert {int(classes[5, 30, 45]), int(classes[5, 30, 55])} == {MERGE, MATCHED}  # slabs 5 and 6
    assert classes[0, 69, 129] == MISSED
    assert classes[0, 0, 0] == IGNORED
    assert (classes[:, :, 70:129] == MATCHED).all()


def test_only_where_both_are(truth, labels):
    part = labels.crop(labels.box.grown((-2, -2, -2)))
    assert mistakes(truth, part).box == part.box


def test_volumes_that_do_not_meet(truth, labels):
    far = Volume(labels.numpy(), labels.voxel_size, (1e6, 0, 0), kind="labels", name="far")
    with pytest.raises(GeometryError, match="do not meet"):
        mistakes(truth, far)


def test_numbers_of_ids():
    ids = np.array([0, 4, 9], np.uint64)
    np.testing.assert_array_equal(numbered(np.array([9, 0, 4, 5, 2**64 - 1], np.uint64), ids), [2, 0, 1, 0, 0])
