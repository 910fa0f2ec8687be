"""Gaps take light from bright places only, and photons are counted as Poisson says."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.config import AugmentConfig
from neuropil.data.augment import AugmentPlan, apply, draw
from neuropil.data.augment.base import Crop
from neuropil.data.augment.staining import ShotNoise, StainGaps, shot_noise, stain_gaps

NM = (600.0, 300.0, 300.0)


def neurite(shape: tuple[int, int, int] = (8, 40, 60)) -> np.ndarray:
    """A bright line of radius one voxel on a dim, uneven ground."""
    image = np.random.default_rng(0).uniform(0.05, 0.15, shape).astype(np.float32)
    image[shape[0] // 2, 19:22] = 1.0
    return image


def test_a_gap_darkens_a_stretch_of_the_neurite_and_nothing_grows_brighter() -> None:
    image, before = neurite(), neurite()
    StainGaps((3.0,), NM, seed=4).change(image)
    line = image[4, 20]
    assert line.min() < 0.2  # gone in the middle of the gap
    assert (line == 1).sum() > 30  # and whole away from it
    assert (image <= before).all()
    assert (before - image)[before < 0.5].max() < 0.1


def test_gaps_are_round_in_nm() -> None:
    image = np.ones((31, 61, 61), np.float32)
    image[:, :, 0] = image[:, 0] = image[0] = 0  # background, so that there is something to fade to
    image[::2, ::2] *= 0.0
    image[15, 30, 30] = 5.0
    change = StainGaps((4.0,), NM, seed=0)
    before = image.copy()
    change.change(image)
    gone = before - image > 0
    spans = [np.ptp(np.flatnonzero(gone.any(axis=tuple(a for a in range(3) if a != axis)))) for axis in range(3)]
    assert spans[0] <= spans[1] / 2 + 2


@pytest.mark.parametrize("shape", [(8, 40, 60), (1, 40, 60)])
def test_only_the_image_changes_and_a_draw_replays(shape: tuple[int, int, int]) -> None:
    config = AugmentConfig().still().model_copy(update={"stain_gaps": 1.0, "shot_noise": 1.0})
    plan = draw(config, np.random.default_rng(2), shape, NM)
    assert {type(op) for op in plan.ops} == {StainGaps, ShotNoise}
    labels, valid = np.random.default_rng(3).integers(0, 5, shape).astype(np.uint32), np.ones(shape, bool)
    one, other = (apply(plan, neurite(shape), labels, valid) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert not np.array_equal(one[0], neurite(shape))
    assert np.array_equal(one[1], labels)
    assert np.array_equal(one[2], valid)


def test_photons_have_the_mean_and_variance_of_poisson() -> None:
    image = np.full((20, 100, 100), 0.5, np.float32)
    ShotNoise(50.0, seed=1).change(image)
    assert image.mean() == pytest.approx(0.5, abs=0.002)
    assert image.var() == pytest.approx(0.5 / 50, rel=0.03)
    dark = np.full((4, 10, 10), -0.1, np.float32)
    ShotNoise(50.0, seed=1).change(dark)
    assert np.allclose(dark, -0.1)


def test_settings_without_them_draw_nothing() -> None:
    """Samples of older settings stay what they were."""
    rng = np.random.default_rng(5)
    crop = Crop((8, 40, 60), NM)
    assert stain_gaps(AugmentConfig(), rng, crop) is None
    assert shot_noise(AugmentConfig(), rng, crop) is None
    assert rng.random() == np.random.default_rng(5).random()


def test_a_constant_image_stays() -> None:
    image = np.full((3, 9, 9), 0.4, np.float32)
    plan = AugmentPlan(Crop((3, 9, 9), NM), (StainGaps((2.0, 3.0), NM, seed=0),))
    changed, *_ = apply(plan, image, np.zeros(image.shape, np.uint32), np.ones(image.shape, bool))
    assert np.allclose(changed, 0.4)
