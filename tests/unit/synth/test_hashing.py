import numpy as np
import pytest

from neuropil.synth.hashing import gauss, hash3, noise3, uniform


def _many(draw, seed, n=4000):
    return np.array([draw(seed, i % 17, i // 17, -i) for i in range(n)])


def test_uniform_fills_the_unit_interval_evenly():
    values = _many(uniform, 5)
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, 10, (0, 1))[0].min() > 320


def test_gauss_has_mean_0_and_variance_1_within_its_bound():
    values = _many(gauss, 6)
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1.0, abs=0.04)
    assert np.abs(values).max() < 3.5


def test_bits_depend_on_every_argument():
    base = (3, 4, 5, 6)
    changed = [tuple(v + (i == k) for i, v in enumerate(base)) for k in range(4)]
    assert len({hash3(*args) for args in [base, *changed]}) == 5


def test_neighbouring_coordinates_are_uncorrelated():
    values = np.array([[uniform(1, 0, y, x) for x in range(80)] for y in range(80)]) - 0.5
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.05


def test_noise_is_smooth_and_passes_through_hashed_values():
    assert noise3(9, 2.0, -3.0, 4.0) == pytest.approx(gauss(9, 2, -3, 4))
    line = np.array([noise3(9, 0.3, -0.7, t) for t in np.linspace(-3, 3, 601)])
    assert np.abs(np.diff(line)).max() < 0.15
    assert line.std() > 0.1
