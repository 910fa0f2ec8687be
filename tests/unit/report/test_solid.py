"""Neurons in three dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.report.colours import id_colours
from neuropil.report.solid import build, picture, selected, turntable

COLOURS = np.array([[0, 0, 0], [220, 60, 60], [60, 60, 220]], np.uint8)


@pytest.fixture
def balls() -> np.ndarray:
    """A red ball in the middle, a blue one far below it in z."""
    z, y, x = np.mgrid[:40, :40, :40]
    labels = np.zeros((40, 40, 40), np.int32)
    labels[(z - 12) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 64] = 1
    labels[(z - 32) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 36] = 2
    return labels


def test_surface_is_where_the_object_is(balls):
    body = build(balls, np.array([1]), (8, 8, 8), 64)
    assert body.height_ZYX.shape == (40, 40, 40)
    assert body.height_ZYX[12, 20, 20] > 0.95
    assert body.height_ZYX[32, 20, 20] < 0.01
    volume = np.count_nonzero(body.height_ZYX >= 0.5)
    assert volume == pytest.approx(np.count_nonzero(balls == 1), rel=0.1)


def test_flat_voxels_are_made_cubic(balls):
    body = build(balls[::4], np.array([1, 2]), (32, 8, 8), 40)
    assert body.height_ZYX.shape == (40, 40, 40)


def test_picture_shows_the_right_colours_in_the_right_halves(balls):
    body = build(balls, np.array([1, 2]), (8, 8, 8), 64)
    view = picture(body, COLOURS, 80, 0.6, smooth=1).astype(int)
    solid = (view[..., 3] == 255) & (np.ptp(view[..., :3], axis=-1) > 40)
    red, blue = solid & (view[..., 0] > view[..., 2]), solid & (view[..., 2] > view[..., 0])
    assert red.sum() > blue.sum() > 20
    assert np.nonzero(red)[0].mean() < np.nonzero(blue)[0].mean()  # z points down


def test_background_is_clear_and_light_comes_from_above(balls):
    body = build(balls, np.array([1]), (8, 8, 8), 64)
    view = picture(body, COLOURS, 80, 0.6, smooth=2)
    assert np.mean(view[..., 3] == 0) > 0.5
    rows, columns = np.nonzero((view[..., 3] == 255) & (view[..., 0] > view[..., 2].astype(int) + 40))
    red = view[rows, columns, 0].astype(float)
    assert red[rows < np.quantile(rows, 0.2)].mean() > red[rows > np.quantile(rows, 0.8)].mean() + 10


def test_turntable_has_its_frames_and_they_differ(balls):
    body = build(balls, np.array([1, 2]), (8, 8, 8), 32)
    off_axis = np.roll(body.height_ZYX, 9, axis=2)
    views = turntable(type(body)(off_axis, np.roll(body.owner_ZYX, 9, axis=2), np.ones_like(body.busy)), COLOURS, 40, 3)
    assert len(views) == 3
    assert not np.array_equal(views[0], views[1])


def test_empty_scene_shows_the_frame_only():
    body = build(np.zeros((8, 8, 8), np.int32), np.array([], int), (8, 8, 8), 32)
    view = picture(body, COLOURS, 32, 0.6, smooth=1)
    assert 0 < np.count_nonzero(view[..., 3]) < 0.5 * 32 * view.shape[0]


def test_far_reaching_objects_of_different_colours_are_selected():
    labels = np.zeros((40, 40, 40), np.int32)
    for k in range(8):
        labels[:, 5 * k, 2] = k + 1  # long and thin
    labels[10:14, 20:24, 30:34] = 9  # short
    colours = id_colours(np.arange(10, dtype=np.uint64))
    chosen = selected(labels, (8, 8, 8), colours, 4)
    assert len(chosen) == len(set(chosen.tolist())) == 4
    assert 9 not in chosen
    assert len(selected(labels, (8, 8, 8), colours, 20)) == 9
    assert len(selected(np.zeros((4, 4, 4), np.int32), (8, 8, 8), colours, 3)) == 0
