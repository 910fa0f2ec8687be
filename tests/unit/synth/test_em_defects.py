from dataclasses import replace

import numpy as np
import pytest

from neuropil.geometry import Box
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_defects import BLURRED, DARK, MISSING, SHIFT_BOUND, section_fates, section_shifts

QUIET = EMPhantomConfig.sstem(seed=5, shape=(12, 64, 64), missing=0.0, dark=0.0, blurred=0.0)


def _image(config):
    phantom = EMPhantom(config)
    return phantom.image(phantom.box).astype(float)


def test_fates_come_at_the_stated_rates():
    config = replace(QUIET, missing=0.1, dark=0.2, blurred=0.05)
    fates = section_fates(config, -3000, 20000)
    for fate, rate in ((MISSING, 0.1), (DARK, 0.2), (BLURRED, 0.05), (0, 0.65)):
        assert (fates == fate).mean() == pytest.approx(rate, abs=0.012)
    np.testing.assert_array_equal(section_fates(config, 100, 50), fates[3100:3150])


def test_no_fates_without_chances():
    assert not section_fates(QUIET, 0, 500).any()


def test_shifts_are_bounded_local_and_absent_in_fib_sem():
    shifts = section_shifts(QUIET, -50, 4000)
    assert np.abs(shifts).max() <= SHIFT_BOUND * QUIET.jitter_nm
    assert 0.5 * QUIET.jitter_nm < shifts.std() < 2 * QUIET.jitter_nm
    np.testing.assert_array_equal(section_shifts(QUIET, 10, 5), shifts[60:65])
    assert not section_shifts(EMPhantomConfig.fib_sem(), 0, 9).any()


def test_a_missing_section_is_black_and_keeps_its_labels():
    config = replace(QUIET, missing=1.0)
    phantom = EMPhantom(config)
    assert not phantom.image(phantom.box).any()
    assert (phantom.neurons(phantom.box) > 0).mean() > 0.7


def test_a_dark_section_is_darker():
    assert _image(replace(QUIET, dark=1.0)).mean() < 0.6 * _image(QUIET).mean()


def test_a_blurred_section_loses_its_detail():
    sharp, soft = _image(replace(QUIET, late_noise=0.0)), _image(replace(QUIET, late_noise=0.0, blurred=1.0))
    assert np.abs(np.diff(soft, axis=2)).mean() < 0.4 * np.abs(np.diff(sharp, axis=2)).mean()


def test_sections_vary_in_contrast():
    flat, varied = _image(replace(QUIET, section_contrast=0.0)), _image(replace(QUIET, section_contrast=0.2))
    assert varied.mean(axis=(1, 2)).std() > 2 * flat.mean(axis=(1, 2)).std()


def test_jitter_moves_image_and_labels_together():
    still, moved = (
        EMPhantom(replace(QUIET, jitter_nm=j, noise=0.0, late_noise=0.0, section_contrast=0.0)) for j in (0.0, 8.0)
    )
    shift = np.round(section_shifts(moved._world, 0, 12) / 4.0).astype(int)
    z = int(np.abs(shift).sum(axis=1).argmax())
    assert np.abs(shift[z]).max() >= 2
    box = Box((z, 0, 0), (z + 1, 64, 64), QUIET.voxel_size)
    there = box.shifted((0, int(shift[z, 0]), int(shift[z, 1])))
    same = moved.neurons(box) == still.neurons(there)
    assert same.mean() > 0.93
    assert same.mean() > (moved.neurons(box) == still.neurons(box)).mean()
    a, b = moved.image(box).astype(float), still.image(there).astype(float)
    assert np.abs(a - b).mean() < 12
