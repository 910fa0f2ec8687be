import itertools

import numpy as np
import pytest
from scipy.interpolate import BSpline

from neuropil.config import AugmentConfig
from neuropil.data.augment import AugmentPlan, apply
from neuropil.data.augment.base import NO_HALO, Crop, Orientation
from neuropil.data.augment.geometry import (
    Elastic,
    Rescale,
    Rotate,
    Shift,
    Slip,
    elastic,
    orient,
    rescale,
    rotate,
    shift,
)
from neuropil.data.augment.resample import coordinate_map, reach

ISO, SECTIONS = (8.0, 8.0, 8.0), (40.0, 4.0, 4.0)


def places(plan):
    """Where each voxel of the result looks in the source: what comes out when coordinates go in as the image."""
    shape = plan.crop.shape
    grids = []
    for axis in range(3):
        grid = [np.arange(-a, n + b, dtype=np.float32) for n, (a, b) in zip(shape, plan.image_halo, strict=True)]
        image = np.ascontiguousarray(np.broadcast_to(np.meshgrid(*grid, indexing="ij")[axis], [len(g) for g in grid]))
        labels = np.zeros([n + a + b for n, (a, b) in zip(shape, plan.label_halo, strict=True)], np.uint32)
        grids.append(apply(plan, image, labels, labels > 0)[0])
    return np.stack(grids, axis=-1)


def voxels(shape):
    return np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(float)


def drawn(function, crop, number=200, **config):
    settings = AugmentConfig(**config)
    return [op for i in range(number) if (op := function(settings, np.random.default_rng(i), crop)) is not None]


@pytest.mark.parametrize(
    ("shape", "voxel_size", "flip", "rotate90", "number"),
    [
        ((8, 8, 8), ISO, True, True, 48),
        ((8, 8, 8), ISO, False, True, 24),
        ((8, 8, 8), ISO, True, False, 8),
        ((8, 8, 8), ISO, False, False, 1),
        ((8, 8, 8), SECTIONS, True, True, 16),
        ((8, 8, 6), ISO, True, True, 16),
        ((8, 10, 6), ISO, True, True, 8),
        ((8, 8, 8), (40.0, 4.0, 4.6), True, True, 8),
    ],
)
def test_orientations_exchange_only_axes_that_are_alike(shape, voxel_size, flip, rotate90, number):
    found = drawn(orient, Crop(shape, voxel_size), 1000, flip=flip, rotate90=rotate90)
    assert len(set(found)) == number - 1
    alike = [(n, v) for n, v in zip(shape, voxel_size, strict=True)]
    assert all(alike[a] == alike[i] for op in found for i, a in enumerate(op.axes))


def test_without_flips_handedness_is_kept():
    for op in drawn(orient, Crop((4, 4, 4), ISO), flip=False):
        matrix = np.zeros((3, 3))
        for i, (axis, flip) in enumerate(zip(op.axes, op.flips, strict=True)):
            matrix[i, axis] = -1 if flip else 1
        assert np.linalg.det(matrix) == pytest.approx(1)


def test_source_halo_is_where_the_context_comes_from():
    context = ((1, 2), (3, 0), (0, 5))
    for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)):
        op = Orientation(axes, flips)
        halo = op.source_halo(context)
        source = np.pad(np.ones((4, 4, 4), np.uint8), halo)
        np.testing.assert_array_equal(op.view(source), np.pad(np.ones((4, 4, 4), np.uint8), context))


def test_rotation_is_a_rotation_in_nm():
    voxel_size = (40.0, 4.0, 6.0)
    plan = AugmentPlan(Crop((3, 20, 24), voxel_size), (Rotate(0.5, voxel_size),))
    centre = np.array([1, 9.5, 11.5])
    before, after = (voxels((3, 20, 24)) - centre) * voxel_size, (places(plan) - centre) * voxel_size
    np.testing.assert_allclose(np.linalg.norm(after, axis=-1), np.linalg.norm(before, axis=-1), atol=1e-3)
    c, s = np.cos(0.5), np.sin(0.5)
    expected = before @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    np.testing.assert_allclose(after, expected, atol=1e-3)


def test_rescale_enlarges_about_the_centre():
    plan = AugmentPlan(Crop((8, 9, 10), ISO), (Rescale((1.25, 0.8, 1.0)),))
    assert plan.image_halo == ((1, 1), (1, 1), (0, 0))
    centre = np.array([3.5, 4, 4.5])
    expected = (voxels((8, 9, 10)) - centre) / [1.25, 0.8, 1] + centre
    np.testing.assert_allclose(places(plan), expected, atol=1e-4)


@pytest.mark.parametrize("spacing", [(4.0, 7.5, 20.0), (3.2, 40.0, 34.78), (1.0, 10.0, 10.0)])
@pytest.mark.parametrize("context", [NO_HALO, ((2, 0), (0, 3), (1, 4))])
def test_elastic_is_a_cubic_spline_through_the_lattice(spacing, context):
    shape = (9, 14, 33)
    op = Elastic(spacing, (0.5, 1.0, 1.5), 11)
    plan = AugmentPlan(Crop(shape, ISO, context), (op,))
    low = tuple(-a for a, _ in context)
    lattice = op.lattice(low, tuple(n + b for n, (_, b) in zip(shape, context, strict=True)))
    basis = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)
    weights = []
    for n, first, step, points in zip(shape, low, spacing, lattice.points_GGG3.shape, strict=False):
        distance = ((np.arange(n) - first) / step)[:, None] - (np.arange(points) - 1)[None]
        weights.append(np.nan_to_num(basis(distance)))
    field = np.einsum("za,yb,xc,abck->zyxk", *weights, lattice.points_GGG3)
    np.testing.assert_allclose(places(plan), voxels(shape) + field, atol=1e-4)


def test_elastic_has_the_strength_that_was_asked_for():
    op = Elastic((6.0, 6.0, 6.0), (0.5, 1.0, 2.0), 5)
    shape = (60, 60, 60)
    moved = places(AugmentPlan(Crop(shape, ISO), (op,))) - voxels(shape)
    np.testing.assert_allclose(moved.std(axis=(0, 1, 2)), [0.5, 1, 2], rtol=0.1)


def test_sections_are_deformed_in_their_plane_only():
    crop = Crop((16, 32, 32), SECTIONS)
    for op in (
        drawn(elastic, crop, 3, elastic=1) + drawn(rescale, crop, 3, rescale=1) + drawn(rotate, crop, 3, rotate=1)
    ):
        plan = AugmentPlan(crop, (op,))
        moved = places(plan) - voxels(crop.shape)
        assert plan.image_halo[0] == (0, 0)
        assert not moved[..., 0].any()
        assert moved[..., 1:].any()


def test_slip_moves_one_section_and_shift_all_that_follow():
    crop = Crop((6, 10, 10), SECTIONS)
    for op, moved_sections in ((Slip(2, (3, -4)), [2]), (Shift(4, (3, -4)), [4, 5])):
        plan = AugmentPlan(crop, (op,))
        assert plan.image_halo == ((0, 0), (3, 3), (4, 4))
        moved = places(plan) - voxels(crop.shape)
        for z in range(6):
            expected = [0, 3, -4] if z in moved_sections else [0, 0, 0]
            np.testing.assert_allclose(moved[z], np.broadcast_to(expected, (10, 10, 3)), atol=1e-4)


def test_a_shift_never_moves_the_whole_crop():
    found = drawn(shift, Crop((5, 8, 8), SECTIONS), shift=1, shift_max=3)
    assert {op.section for op in found} == {1, 2, 3, 4}
    assert {op.step[0] for op in found} == set(range(-3, 4))


def test_warps_follow_one_another_in_one_map():
    crop = Crop((6, 20, 20), SECTIONS)
    ops = (Rotate(0.3, SECTIONS), Slip(3, (2, 1)))
    together, alone = places(AugmentPlan(crop, ops)), places(AugmentPlan(crop, ops[:1]))
    step = np.where((np.arange(6) == 3)[:, None, None, None], [0.0, 2, 1], 0.0)
    np.testing.assert_allclose(together, alone + step, atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_reach_bounds_the_map_closely(seed):
    op = Elastic((7.0, 9.0, 11.0), (1.0, 2.0, 3.0), seed)
    crop = Crop((20, 30, 40), ISO)
    bound = np.array(reach(coordinate_map([op], crop.shape, NO_HALO), crop.shape, NO_HALO))
    moved = np.abs(places(AugmentPlan(crop, (op,))) - voxels(crop.shape)).max(axis=(0, 1, 2))
    assert (moved <= bound).all()
    assert (bound <= 2 * moved + 3).all()
