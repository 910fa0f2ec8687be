"""The pictured box, and labels made small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box
from neuropil.report import Look, ReportData
from neuropil.report.scene import central, contrasted, crop_limit, read_scene, small_labels
from neuropil.volume import Volume


def test_nothing_to_show_is_no_scene():
    assert read_scene(ReportData("empty"), Look()) is None


def test_central_box_is_in_the_middle():
    box = central(Box((10, 0, 0), (20, 5, 100), (8, 8, 8)), (4, 8, 50))
    assert (box.start, box.stop) == ((13, 0, 25), (17, 5, 75))


@pytest.mark.parametrize(("shape", "limit"), [((256, 900, 900), (256, 256, 256)), ((20, 900, 900), (20, 512, 512))])
def test_thin_volumes_may_be_wider(shape, limit):
    assert crop_limit(shape, Look()) == limit


def test_scene_is_where_the_volumes_meet(truth):
    size = (20.0, 8.0, 8.0)
    image = Volume(np.zeros((20, 40, 40), np.uint8), size, kind="image")
    labels = Volume(truth, size, (40.0, 80.0, 32.0), kind="labels")
    scene = read_scene(ReportData("x", image=image, truth=labels), Look())
    assert (scene.box.start, scene.box.stop) == ((2, 10, 4), (14, 34, 40))
    assert not scene.cropped
    assert scene.image_ZYX.shape == scene.truth.index_ZYX.shape == (12, 24, 36)


def test_large_volumes_are_cropped_and_say_so(full):
    scene = read_scene(full, replace(Look(), side=16))
    assert scene.box.shape == (12, 16, 16)
    assert scene.cropped


def test_volumes_that_do_not_meet(truth):
    far = Volume(truth, (8, 8, 8), (8000, 0, 0), kind="labels")
    near = Volume(truth, (8, 8, 8), kind="labels")
    with pytest.raises(GeometryError, match="do not meet"):
        read_scene(ReportData("x", truth=near, segmentation=far), Look())


def test_arrays_need_a_voxel_size(truth):
    with pytest.raises(GeometryError, match="without voxel size"):
        read_scene(ReportData("x", truth=truth), Look())


def test_wrong_number_of_axes(truth):
    with pytest.raises(GeometryError, match=r"\(C, Z, Y, X\)"):
        read_scene(ReportData("x", affinities=truth, offsets=((-1, 0, 0),), voxel_size=(8, 8, 8)), Look())


def test_small_labels_keep_ids_and_drop_reserved_values():
    labels = np.array([[[0, 7, 2**63], [2**64 - 1, 2**64 - 2, 7]]], np.uint64)
    small = small_labels(labels, "truth")
    assert small.ids.tolist() == [0, 7, 2**63]
    assert small.index_ZYX.tolist() == [[[0, 1, 2], [0, 0, 1]]]
    assert small.count == 2


@pytest.mark.parametrize("labels", [np.ones((2, 2, 2), np.float32), np.full((2, 2, 2), -1)])
def test_labels_must_be_whole_numbers_from_zero(labels):
    with pytest.raises(InputError, match="whole numbers"):
        small_labels(labels, "truth")


def test_contrast_uses_the_whole_range():
    image = np.linspace(1000, 3000, 4 * 50 * 50).reshape(4, 50, 50).astype(np.uint16)
    grey = contrasted(image)
    assert grey.dtype == np.uint8
    assert grey.min() == 0
    assert grey.max() == 255
    assert contrasted(np.full((2, 3, 3), 9.0)).max() == 0


def test_affinities_become_x_y_z_as_red_green_blue(full):
    values = np.stack([np.full(full.truth.shape, v, np.float32) for v in (0.2, 0.4, 0.6, 1.0)])
    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, -9))
    scene = read_scene(replace(full, affinities=values, offsets=offsets), Look())
    assert scene.affinities_ZYXC[0, 0, 0].tolist() == [153, 102, 51]


def test_affinities_need_one_offset_a_channel(full):
    with pytest.raises(InputError, match="3 affinity channels and 1 offsets"):
        read_scene(replace(full, offsets=((-1, 0, 0),)), Look())


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("foreground",), "white is foreground"),
        (("foreground", "centreline"), "red is foreground, green is centreline"),
        (("foreground", "contour", "distance", "more"), "red is foreground, green is contour, blue is distance"),
        ((), "red is channel 0, green is channel 1"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours_of_a_prediction_are_what_the_page_says(names, told, dtype):
    top = 255 if dtype == np.uint8 else 1
    stored = np.zeros((len(names) or 2, 2, 4, 4), dtype)
    stored[-1] = top
    stored[0] = top
    attrs = {"channels": list(names)} if names else {}
    volume = Volume(stored, (8.0, 8.0, 8.0), axes="czyx", kind="prediction", attrs=attrs)
    scene = read_scene(ReportData("x", affinities=volume), Look())
    assert scene.evidence == f"Prediction: {told}."
    seen = scene.affinities_ZYXC[0, 0, 0].tolist()
    assert seen == {1: [255, 255, 255], 2: [255, 255, 0], 4: [255, 0, 0]}[len(stored)]
