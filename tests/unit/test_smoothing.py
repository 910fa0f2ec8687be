"""Weighted means along an axis, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from neuropil.smoothing import smoothed


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reach", [0, 1, 3, 9])
def test_sums_are_those_of_scipy(axis: int, reach: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((4, 6, 7)).astype(np.float32)
    half = rng.random(reach + 1).astype(np.float32)
    taps = np.concatenate([half[:0:-1], half])
    assert np.allclose(smoothed(image, taps, axis), correlate1d(image, taps, axis, mode="nearest"), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_numbers_stay_whole_with_halves_up(axis: int) -> None:
    image = np.random.default_rng(0).integers(0, 5000, (5, 6, 7)).astype(np.float32)
    taps = np.array([1, 2, 1], np.float32)
    sums = correlate1d(image.astype(int), taps.astype(int), axis, mode="nearest")
    assert ((sums % 4) == 2).any()
    assert np.array_equal(smoothed(image, taps, axis, rounded_by=4), (sums + 2) // 4)
