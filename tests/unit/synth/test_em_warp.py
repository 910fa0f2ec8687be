import numpy as np
import pytest

from neuropil.synth.em_warp import WARP, grid_over, lattice_point, rotation, tissue_points, to_lattice

SPACING = 170.0


def _exact(seed, points_nm):
    out = np.empty_like(points_nm)
    for i, p in enumerate(points_nm):
        lattice_point(seed, WARP, rotation(seed), p / SPACING, out[i])
    return out


def test_rotation_is_a_rotation_and_depends_on_the_seed():
    turn = rotation(3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert not np.allclose(turn, rotation(4))


def test_tissue_points_invert_the_map():
    lattice = np.random.default_rng(0).uniform(-30, 30, (300, 3))
    back = _exact(11, tissue_points(11, SPACING, lattice))
    assert np.abs(back - lattice).max() * SPACING < 0.5


def test_grid_agrees_with_the_exact_map_and_its_slope():
    rng = np.random.default_rng(1)
    points = rng.uniform(-500, 700, (200, 3))
    grid = grid_over(5, SPACING, np.full(3, -500.0), np.full(3, 700.0))
    got, jac = np.empty((200, 3)), np.empty((3, 3))
    determinants = []
    for i, p in enumerate(points):
        to_lattice(grid, p, got[i], jac)
        determinants.append(np.linalg.det(jac * SPACING))
    assert np.abs(got - _exact(5, points)).max() * SPACING < 6.0
    assert min(determinants) > 0, "the warp folds tissue onto itself"


def test_overlapping_grids_give_the_same_bits():
    one = grid_over(5, SPACING, np.full(3, -500.0), np.full(3, 700.0))
    two = grid_over(5, SPACING, np.full(3, -90.0), np.full(3, 1400.0))
    a, b, jac = np.empty(3), np.empty(3), np.empty((3, 3))
    for p in np.random.default_rng(2).uniform(0, 600, (100, 3)):
        to_lattice(one, p, a, jac)
        to_lattice(two, p, b, jac)
        assert a.tobytes() == b.tobytes()
