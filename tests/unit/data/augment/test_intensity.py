import numpy as np
import pytest
from scipy import ndimage

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop
from neuropil.data.augment.intensity import (
    CutBlur,
    Intensity,
    Noise,
    SectionIntensity,
    blur,
    cut_blur,
    gaussian,
    intensity,
    noise,
    section_intensity,
)

ISO, SECTIONS = (8.0, 8.0, 8.0), (40.0, 4.0, 4.0)


def image(shape=(6, 12, 15), seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def changed(op, given):
    out = given.copy()
    op.change(out)
    return out


def drawn(function, crop, **config):
    settings = AugmentConfig(**config)
    return [op for i in range(100) if (op := function(settings, np.random.default_rng(i), crop)) is not None]


def test_intensity_is_contrast_brightness_gamma():
    given = image()
    linear = (given - 0.5) * np.float32(1.2) + 0.5 - 0.2
    expected = np.where(linear > 0, np.abs(linear) ** 0.7, linear)
    np.testing.assert_allclose(changed(Intensity(1.2, -0.2, 0.7), given), expected, atol=1e-5)


def test_sections_are_toned_one_by_one():
    given = image()
    out = changed(SectionIntensity((1, 4), (0.5, 1.0), (0.0, 0.1)), given)
    np.testing.assert_allclose(out[1], given[1] * 0.5 + 0.25, atol=1e-6)
    np.testing.assert_allclose(out[4], given[4] + 0.1, atol=1e-6)
    np.testing.assert_array_equal(out[[0, 2, 3, 5]], given[[0, 2, 3, 5]])


@pytest.mark.parametrize("sigma", [(0.8, 1.3, 2.0), (0.0, 1.0, 1.0), (1.5, 0.0, 0.0)])
def test_blur_is_scipy_s(sigma):
    given = image()
    out = given.copy()
    gaussian(out, sigma)
    radius = [round(2.5 * s) for s in sigma]
    expected = ndimage.gaussian_filter(given.astype(float), sigma, mode="nearest", radius=radius)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_cut_blur_coarsens_the_plane_of_a_cuboid():
    given = image((4, 12, 12))
    out = changed(CutBlur((1, 2, 3), (3, 8, 9), 3), given)
    block = given[1, 2:5, 3:6]
    np.testing.assert_allclose(out[1, 2:5, 3:6], block.mean(), atol=1e-6)
    outside = np.ones(given.shape, bool)
    outside[1:3, 2:8, 3:9] = False
    np.testing.assert_array_equal(out[outside], given[outside])
    assert not np.allclose(out[1:3, 2:8, 3:9], given[1:3, 2:8, 3:9])


def test_noise_is_gaussian_and_replays():
    given = np.zeros((20, 40, 40), np.float32)
    out = changed(Noise(0.05, 3), given)
    assert out.std() == pytest.approx(0.05, rel=0.03)
    np.testing.assert_array_equal(out, changed(Noise(0.05, 3), given))
    assert not np.array_equal(out, changed(Noise(0.05, 4), given))


def test_draws_stay_in_their_ranges():
    crop = Crop((8, 32, 32), ISO)
    ops = drawn(intensity, crop, intensity=1, intensity_scale=0.2, intensity_shift=0.1, gamma=(0.5, 2))
    assert all(0.8 <= op.scale <= 1.2 and abs(op.shift) <= 0.1 and 0.5 <= op.gamma <= 2 for op in ops)
    assert np.median([op.gamma for op in ops]) == pytest.approx(1, abs=0.2)  # as often darker as brighter
    assert all(0.1 <= op.sigma <= 0.2 for op in drawn(noise, crop, noise=1, noise_sigma=(0.1, 0.2)))
    assert all(op.stop[i] <= crop.shape[i] for op in drawn(cut_blur, crop, cut_blur=1) for i in range(3))
    assert len(drawn(noise, crop, noise=0.3)) == pytest.approx(30, abs=15)


def test_blur_is_equal_in_nm_but_never_across_sections():
    for op in drawn(blur, Crop((8, 32, 32), (8.0, 4.0, 6.0)), blur=1):
        assert op.sigma[1] == pytest.approx(op.sigma[2] * 6 / 4)
    assert all(op.sigma[0] == 0 for op in drawn(blur, Crop((8, 32, 32), SECTIONS), blur=1))


def test_section_intensity_is_drawn_for_each_section():
    ops = drawn(section_intensity, Crop((50, 8, 8), SECTIONS), intensity_section=0.3)
    assert np.mean([len(op.sections) for op in ops]) == pytest.approx(15, abs=1.5)
    assert not drawn(section_intensity, Crop((50, 8, 8), ISO), intensity_section=1)
