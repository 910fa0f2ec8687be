"""Pyramids: which axes are halved, and how values are combined."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.io.pyramid import downsampled, level_factors


def test_section_plane_first_until_near_isotropic() -> None:
    factors = list(level_factors((125, 1250, 1250), (40.0, 4.0, 4.0), (16, 128, 128)))
    assert factors == [(1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]


def test_isotropic_halves_all() -> None:
    assert list(level_factors((250, 250, 250), (8.0, 8.0, 8.0), (64, 64, 64))) == [(2, 2, 2)] * 2


def test_small_arrays_have_one_level() -> None:
    assert list(level_factors((20, 64, 64), (8.0, 8.0, 8.0), (20, 64, 64))) == []


def test_single_section_ends() -> None:
    assert list(level_factors((1, 300, 300), (4.0, 40.0, 40.0), (1, 128, 128))) == [(1, 2, 2), (1, 2, 2)]


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 2, 2)])
def test_mean_of_cells(factor) -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 6, 8), dtype=np.uint8)
    z, y, x = factor
    cells = data.reshape(4 // z, z, 6 // y, y, 8 // x, x).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(downsampled(data, factor, "image"), np.rint(cells).astype(np.uint8))


def test_mean_of_channels_and_floats() -> None:
    data = np.random.default_rng(0).random((3, 4, 4, 4)).astype(np.float32)
    out = downsampled(data, (2, 2, 2), "affinities")
    np.testing.assert_allclose(out, data.reshape(3, 2, 2, 2, 2, 2, 2).mean(axis=(2, 4, 6)), rtol=1e-6)


def test_cut_cells_use_what_is_there() -> None:
    data = np.array([[[10, 20, 50]]], np.uint8)
    np.testing.assert_array_equal(downsampled(data, (2, 2, 2), "image"), [[[15, 50]]])
    np.testing.assert_array_equal(downsampled(np.array([[[3, 3, 9]]], np.uint64), (2, 2, 2), "labels"), [[[3, 9]]])


def test_mode_against_counting() -> None:
    data = np.random.default_rng(1).integers(2**64 - 4, 2**64 - 1, (6, 8, 10), dtype=np.uint64)
    out = downsampled(data, (2, 2, 2), "labels")
    for z, y, x in np.ndindex(out.shape):
        cell = data[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        ids, counts = np.unique(cell, return_counts=True)
        assert counts[ids == out[z, y, x]] == counts.max()


def test_mask_stays_boolean() -> None:
    assert downsampled(np.ones((2, 2, 2), bool), (2, 2, 2), "mask").dtype == bool
