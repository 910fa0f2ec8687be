"""What every entry of the table of augmentations promises."""

import numpy as np
import pytest

from neuropil.config import AugmentConfig
from neuropil.data.augment import AugmentPlan, apply
from neuropil.data.augment.base import Crop, ImageChange
from neuropil.data.targets import affinity_targets, context_for
from neuropil.registry import AUGMENTATIONS

SHAPE = (12, 24, 24)
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 3, 0))
CONTEXT = context_for(OFFSETS, (0, 0, 0))
ALWAYS = AugmentConfig(
    **{
        name: 1.0
        for name, field in AugmentConfig.model_fields.items()
        if field.annotation is float and name not in ("elastic_spacing_nm", "elastic_sigma_nm", "low_contrast_scale")
        if name not in ("intensity_scale", "intensity_shift", "missing_partial")
    }
)


def plan_of(name, seed, voxel_size=(40.0, 4.0, 4.0)):
    """A plan with this one augmentation; seeds are tried until it fires."""
    function = AUGMENTATIONS.resolve(name)
    crop = Crop(SHAPE, voxel_size, CONTEXT)
    for attempt in range(50):
        op = function(ALWAYS, np.random.default_rng((seed, attempt)), crop)
        if op is not None:
            return AugmentPlan(crop, (op,))
    raise AssertionError(f"{name} never fires")


def inputs(plan):
    """Grey values tell the place along x and y; each label is the number of its voxel, around the same crop."""
    halo, wide = plan.image_halo, plan.label_halo
    z, y, x = np.meshgrid(*(np.arange(-a, n + b) for n, (a, b) in zip(SHAPE, halo, strict=True)), indexing="ij")
    image = (0.3 + 0.004 * y + 0.002 * x + 0.001 * z).astype(np.float32)
    shape = [n + a + b for n, (a, b) in zip(SHAPE, wide, strict=True)]
    return image, np.arange(1, np.prod(shape) + 1, dtype=np.uint32).reshape(shape), np.ones(shape, bool)


def core(array):
    return array[tuple(slice(a, n - b) for n, (a, b) in zip(array.shape, CONTEXT, strict=True))]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_image_and_labels_stay_aligned(name, seed):
    plan = plan_of(name, seed)
    given = inputs(plan)
    image, labels, valid = apply(plan, *given)
    assert image.shape == SHAPE
    assert labels.shape == valid.shape == tuple(n + a + b for n, (a, b) in zip(SHAPE, CONTEXT, strict=True))
    if plan.of_kind(ImageChange):
        np.testing.assert_array_equal(labels, given[1])
        return
    found = np.unravel_index(core(labels) - 1, given[1].shape)
    z, y, x = (f - a for f, (a, _) in zip(found, plan.label_halo, strict=True))
    expected = 0.3 + 0.004 * y + 0.002 * x + 0.001 * z
    assert np.abs(image - expected).max() <= 0.5 * 0.007 + 1e-4  # half a voxel along each axis


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_draw_replays_identically(name):
    plan = plan_of(name, 1)
    again = plan_of(name, 1)
    assert plan == again
    for a, b in zip(apply(plan, *inputs(plan)), apply(again, *inputs(plan)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_something_changes(name):
    plan = plan_of(name, 2)
    given = inputs(plan)
    image, *_ = apply(plan, *given)
    inner = given[0][tuple(slice(a, n - b) for n, (a, b) in zip(given[0].shape, plan.image_halo, strict=True))]
    assert not np.array_equal(image, inner)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_affinities_are_those_of_the_changed_labels(name):
    plan = plan_of(name, 3)
    image, labels, valid = inputs(plan)
    blocks = np.indices(labels.shape) // np.array([3, 5, 7])[:, None, None, None]
    labels = (1 + blocks[0] + 10 * blocks[1] + 100 * blocks[2]).astype(np.uint32)
    _, labels, valid = apply(plan, image, labels, valid)
    affinities, known = affinity_targets(labels, valid, OFFSETS, CONTEXT)
    assert known.all()
    for c, offset in enumerate(OFFSETS):
        ends = [
            labels[
                tuple(slice(a + o * far, a + o * far + n) for n, (a, _), o in zip(SHAPE, CONTEXT, offset, strict=True))
            ]
            for far in (0, 1)
        ]
        np.testing.assert_array_equal(affinities[c], ends[0] == ends[1])
    if not plan.of_kind(ImageChange):
        assert affinities.mean() < 1
