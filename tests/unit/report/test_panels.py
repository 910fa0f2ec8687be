"""Cuts, film strips and places show what they say."""

from __future__ import annotations

import base64
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from neuropil.report.colours import ERROR_COLOURS
from neuropil.report.mistakes import SPLIT, worst
from neuropil.report.panels import painter, percent, places, plane_rows, stack
from neuropil.report.scene import read_scene


@pytest.fixture
def paint(full, small_look):
    return painter(read_scene(full, small_look))


def pixels(uri: str) -> np.ndarray:
    return np.asarray(imagecodecs.webp_decode(base64.b64decode(uri.partition(",")[2])))


def test_layers_are_those_that_there_are(full, small_look, paint):
    assert paint.layers == ("image", "truth", "segmentation", "errors", "affinities")
    bare = painter(read_scene(replace(full, image=None, truth=None, affinities=None), small_look))
    assert bare.layers == ("segmentation",)
    assert np.unique(bare.grey((0,), (1, 1))).size == 1


def test_three_planes_with_true_proportions(paint):
    rows = plane_rows(paint, 96)
    assert [(r.name, r.where) for r in rows] == [("xy", "z = 6"), ("xz", "y = 12"), ("yz", "x = 18")]
    xy, xz, yz = (dict(r.figures)["truth"] for r in rows)
    assert xy.aspect == pytest.approx(36 / 24)
    assert xz.aspect == pytest.approx(36 * 8 / (12 * 20), abs=1e-3)
    assert yz.aspect == pytest.approx(24 * 8 / (12 * 20), abs=1e-3)
    assert xz.width / xz.height == pytest.approx(xz.aspect, rel=0.25)  # whole factors only
    assert xy.bar_text == "50 nm"


def test_planes_cut_where_they_say(full, small_look):
    scene = read_scene(full, small_look)
    paint = painter(scene)
    cut = (slice(None), 12, slice(None))
    grey = paint.grey(cut, (1, 1))
    assert np.array_equal(grey, scene.image_ZYX[:, 12])


def test_split_voxels_are_blue_in_the_errors(paint):
    overlay = paint.overlay("errors", (10,), (1, 1))
    assert tuple(overlay[5, 5, :3]) == ERROR_COLOURS[SPLIT]
    assert overlay[15, 5, 3] == 0


def test_stack_strips_hold_the_sections_in_order(paint):
    made = stack(paint, 4)
    assert made.z == (1, 4, 7, 10)
    assert pixels(made.raw).shape[:2] == (4 * 24, 36)
    assert [layer for layer, _, _ in made.overlays] == ["truth", "segmentation", "errors", "affinities"]
    strip = pixels({layer: uri for layer, _, uri in made.overlays}["segmentation"])
    assert strip[5, 5].tolist() != strip[3 * 24 + 5, 5].tolist()  # segment 1 above z = 8, segment 2 below


def test_sections_never_outnumber_the_volume(paint):
    assert len(stack(paint, 100).z) == 12


def test_places_name_the_voxel_and_show_the_cut(full, small_look):
    scene = read_scene(full, small_look)
    paint = painter(scene)
    found = worst(scene.truth, scene.segmentation, paint.found, 4)
    merge, split = places(paint, found, 64)
    assert (merge.kind, merge.object_id, merge.rank) == ("merge", 3, 1)
    assert (split.kind, split.object_id, split.part_count) == ("split", 10, 2)
    assert split.part_text == "1 (67 %), 2 (33 %)"
    assert split.z in (7, 8)
    assert "xy" not in split.truth.caption  # a cut across z cannot be seen in a section
    assert merge.share + split.share == pytest.approx(1)
    # the neuron has one colour in the truth and two in the segmentation
    shown = pixels(split.segmentation.source)[..., :3].reshape(-1, 3).astype(int)
    assert np.ptp(shown - shown.mean(axis=1, keepdims=True), axis=0).max() > 20


@pytest.mark.parametrize(("share", "text"), [(0.0, "0 %"), (0.0001, "< 1 %"), (0.666, "67 %"), (1.0, "100 %")])
def test_small_shares_are_not_called_nothing(share, text):
    assert percent(share) == text
