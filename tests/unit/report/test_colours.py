"""Colours are stable, told apart, and shared by partners."""

from __future__ import annotations

import numpy as np

from neuropil.report.colours import (
    ERROR_COLOURS,
    borders,
    composed,
    error_overlay,
    id_colours,
    label_overlay,
    mixed,
    oklch_to_srgb,
    segment_colours,
)
from neuropil.report.mistakes import MATCHED, MERGE, SPLIT, match
from neuropil.report.scene import small_labels


def test_hash_is_splitmix64():
    # first output of SplitMix64 seeded with 0, as in the reference implementation
    assert int(mixed(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF


def test_oklch_known_colours():
    one = np.ones(1)
    assert oklch_to_srgb(one, 0 * one, 0 * one).tolist() == [[255, 255, 255]]
    red = oklch_to_srgb(0.627955 * one, 0.257683 * one, np.radians(29.2339) * one)[0]
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 1


def test_colour_depends_on_the_id_alone():
    first = id_colours(np.array([0, 5, 9, 2**60], np.uint64))
    again = id_colours(np.array([2**60, 9], np.uint64))
    assert first[[3, 2]].tolist() == again.tolist()
    assert first[0].tolist() == [0, 0, 0]


def test_colours_are_many_and_never_dark():
    colours = id_colours(np.arange(1, 500, dtype=np.uint64))
    assert len(np.unique(colours // 8, axis=0)) > 300
    luma = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert luma.min() > 80


def test_main_segment_has_the_colour_of_its_neuron_and_others_do_not(truth, pred):
    t, p = small_labels(truth, "truth"), small_labels(pred, "segmentation")
    neuron, segment = id_colours(t.ids), segment_colours(p, t, match(t, p))
    assert segment[1].tolist() == neuron[1].tolist()
    assert segment[2].tolist() != neuron[1].tolist()
    assert segment[4:].tolist() == neuron[4:6].tolist()
    assert segment_colours(p, None, None).tolist() == id_colours(p.ids).tolist()


def test_borders_are_one_pixel_wide():
    labels = np.ones((4, 6), int)
    labels[:, 3:] = 2
    assert borders(labels).sum(axis=1).tolist() == [1, 1, 1, 1]
    assert not borders(np.ones((3, 3), int)).any()


def test_background_of_an_overlay_is_clear():
    overlay = label_overlay(np.zeros((3, 3), int), np.zeros((1, 3), np.uint8), 0.5)
    assert not overlay[..., 3].any()


def test_matched_voxels_stay_clear_and_mistakes_have_their_colour():
    classes = np.full((3, 9), MATCHED, np.uint8)
    classes[:, 3:6], classes[:, 6:] = SPLIT, MERGE
    flat = np.ones((3, 9), int)
    overlay = error_overlay(classes, flat, flat)
    assert overlay[1, 1, 3] == 0
    assert tuple(overlay[1, 4, :3]) == ERROR_COLOURS[SPLIT]
    assert tuple(overlay[1, 7, :3]) == ERROR_COLOURS[MERGE]


def test_composition_mixes_by_alpha():
    overlay = np.zeros((1, 3, 4), np.uint8)
    overlay[0, 1:] = [[200, 100, 0, 255], [200, 100, 0, 51]]
    assert composed(np.full((1, 3), 100, np.uint8), overlay).tolist() == [[[100] * 3, [200, 100, 0], [120, 100, 80]]]
