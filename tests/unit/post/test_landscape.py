"""Heights against slow definitions: scipy's exact distance, plain loops."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from neuropil.errors import ConfigError
from neuropil.post import landscape as land


def _shape(voxel=(8.0, 8.0, 8.0), radius=64.0, sigma=0.0, levels=(0.4, 0.0, 0.0), sectionwise=False):
    return land.landscape(voxel, radius_nm=radius, sigma_nm=sigma, levels=levels, sectionwise=sectionwise)


@pytest.mark.parametrize("voxel", [(8.0, 8.0, 8.0), (40.0, 4.0, 4.0), (12.0, 6.0, 6.0)])
def test_height_is_the_truncated_anisotropic_distance(voxel):
    rng = np.random.default_rng(1)
    edges = np.full((3, 12, 17, 21), 255, np.uint8)
    for z, y, x in rng.integers((1, 1, 1), (11, 16, 20), (6, 3)):
        edges[0, z : z + 2, y, x] = edges[1, z, y : y + 2, x] = edges[2, z, y, x : x + 2] = 0
    shape = _shape(voxel, radius=40.0)
    height, core = land.heights(edges, shape)
    cut = np.empty(edges.shape[1:], np.float32)
    land._cut_evidence(edges, 0, np.float32(0), cut)
    expected = np.minimum(distance_transform_edt(cut < 0.4 * land.CUT, sampling=voxel), 40.0)
    assert expected.min() == 0
    np.testing.assert_allclose(height[1:-1, 1:-1, 1:-1] / land.UNIT * min(voxel), expected, atol=min(voxel) / 100)
    np.testing.assert_array_equal(core, expected >= 40.0)


def test_cut_evidence_is_the_mean_of_the_edges_there_are():
    edges = np.zeros((3, 2, 2, 2), np.uint8)
    edges[2, 0, 0, 1] = 255
    cut = np.empty((2, 2, 2), np.float32)
    land._cut_evidence(edges, 0, np.float32(0), cut)
    assert cut[0, 0, 0] == cut[0, 0, 1] == land.CUT * 2 // 3
    assert cut[1, 1, 1] == land.CUT
    land._cut_evidence(edges, 0, np.float32(16), cut)
    assert cut[0, 0, 0] == land.CUT, "the worst edge counts alone"


def test_gaussian_weights_are_integers_that_keep_a_plateau():
    taps = land.gaussian_taps(1.3)
    assert taps.sum() == land.TAPS
    assert (taps == np.rint(taps)).all()
    assert (taps == taps[::-1]).all()
    assert len(land.gaussian_taps(0.0)) == 1


def test_all_numbers_stay_exact_at_the_largest_radius():
    shape = _shape(radius=8.0 * land.FAR, sigma=8.0)
    assert land.UNIT * land.FAR * land.TAPS < 2**24
    height, core = land.heights(np.full((3, 4, 4, 4), 255, np.uint8), shape)
    assert core.all()
    assert (height[1:-1, 1:-1, 1:-1] == land.UNIT * land.FAR).all()


def test_sections_apart_need_only_their_neighbours_edges_in_z():
    assert _shape(sectionwise=True, sigma=8.0).halo[0] == 1
    assert _shape(sigma=8.0).halo == (8 + 3 + 3,) * 3


@pytest.mark.parametrize("radius", [4.0, 8.0 * 256])
def test_radius_must_be_one_to_255_voxels(radius):
    with pytest.raises(ConfigError, match=r"radius_nm.*\n.*2040 nm"):
        _shape(radius=radius)
