import itertools

import numpy as np
import pytest

from neuropil.affinities import NEAREST
from neuropil.data.augment.base import NO_HALO
from neuropil.data.targets import affinity_targets, context_for, known_labels, widened

OFFSETS = (*NEAREST, (0, -3, 0), (2, 0, -1), (0, 0, 4))


def brute_force(labels, valid, offsets, context):
    """Edge by edge, voxel by voxel, straight from the definition."""
    core = [range(a, n - b) for n, (a, b) in zip(labels.shape, context, strict=True)]
    shape = (len(offsets), *(len(r) for r in core))
    affinities, known = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    for c, offset in enumerate(offsets):
        for here in itertools.product(*core):
            there = tuple(h + o for h, o in zip(here, offset, strict=True))
            at = (c, *(h - r.start for h, r in zip(here, core, strict=True)))
            if all(0 <= t < n for t, n in zip(there, labels.shape, strict=True)):
                affinities[at] = labels[here] == labels[there] > 0
                known[at] = valid[here] and valid[there]
    return affinities, known


@pytest.mark.parametrize("context", [NO_HALO, context_for(OFFSETS, (0, 0, 0)), ((1, 0), (0, 2), (3, 1))])
@pytest.mark.parametrize("share", [1.0, 0.8])
def test_targets_are_what_the_definition_says(context, share):
    rng = np.random.default_rng(0)
    shape = [5 + a + b for a, b in context]
    labels = rng.integers(0, 3, shape).astype(np.uint32)
    valid = rng.random(shape) < share
    affinities, known = affinity_targets(labels, valid, OFFSETS, context)
    expected, expected_known = brute_force(labels, valid, OFFSETS, context)
    np.testing.assert_array_equal(known, expected_known)
    np.testing.assert_array_equal(affinities[known], expected[known])


def test_context_makes_every_edge_known():
    context = context_for(OFFSETS, (0, 1, 1))
    assert context == ((1, 2), (4, 1), (2, 5))
    labels = np.ones([6 + a + b for a, b in context], np.uint32)
    affinities, known = affinity_targets(labels, np.ones(labels.shape, bool), OFFSETS, context)
    assert affinities.shape == (6, 6, 6, 6)
    assert known.all()
    assert affinities.all()


def test_cremi_ignore_values_and_negatives_are_not_known():
    ids, valid = known_labels(np.array([[[0, 5, 2**64 - 1, 2**64 - 2]]], np.uint64))
    assert ids.tolist() == [[[0, 5, 0, 0]]]
    assert valid.tolist() == [[[True, True, False, False]]]
    ids, valid = known_labels(np.array([[[-1, 0, 3]]], np.int32))
    assert ids.tolist() == [[[0, 0, 3]]]
    assert valid.tolist() == [[[False, True, True]]]


def test_ids_beyond_32_bits_stay_distinct():
    big = np.array([[[2**40, 2**40 + 2**32, 0, 2**40]]], np.uint64)
    ids, valid = known_labels(big)
    assert ids.dtype == np.uint32
    assert valid.all()
    assert ids[0, 0, 0] == ids[0, 0, 3] != ids[0, 0, 1]
    assert ids[0, 0, 2] == 0


def test_widening_grows_background_on_both_sides_of_a_border():
    labels = np.ones((3, 8, 8), np.uint32)
    labels[:, :, 4:] = 2
    valid = np.ones(labels.shape, bool)
    once = widened(labels, valid, (0, 1, 1))
    assert (once[:, :, 3:5] == 0).all()
    assert (once[:, :, :3] == 1).all()
    assert (once[:, :, 5:] == 2).all()
    twice = widened(labels, valid, (0, 2, 2))
    assert (twice[:, :, 2:6] == 0).all()
    assert (twice[:, :, :2] == 1).all()


def test_widening_leaves_sections_apart_when_z_has_no_steps():
    labels = np.ones((4, 6, 6), np.uint32)
    labels[2:] = 2
    valid = np.ones(labels.shape, bool)
    np.testing.assert_array_equal(widened(labels, valid, (0, 1, 1)), labels)
    assert (widened(labels, valid, (1, 1, 1))[1:3] == 0).all()


def test_unannotated_neighbours_are_no_border():
    labels = np.ones((1, 1, 6), np.uint32)
    labels[..., 3:] = 0
    valid = labels > 0
    np.testing.assert_array_equal(widened(labels, valid, (0, 1, 1)), labels)


def test_widening_by_nothing_changes_nothing():
    labels = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint32)
    np.testing.assert_array_equal(widened(labels, np.ones(labels.shape, bool), (0, 0, 0)), labels)
