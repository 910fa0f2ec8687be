import json

import numpy as np
import pytest

from neuropil.config import DataConfig
from neuropil.data.normalise import Normaliser, fit_normaliser, padded_share, probes
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.volume import Volume


def volume(array):
    return Volume(array, (8, 8, 8), kind="image", name="grey")


def test_percentiles_become_zero_and_one():
    array = np.arange(1000, dtype=np.uint16).reshape(10, 10, 10)
    fitted = fit_normaliser(volume(array), DataConfig(percentiles=(10, 90)))
    low, high = np.percentile(array, (10, 90))
    np.testing.assert_allclose(fitted(np.array([low, high, (low + high) / 2])), [0, 1, 0.5], atol=1e-6)
    assert fitted(array).dtype == np.float32


def test_zscore_puts_the_mean_at_half_and_a_deviation_at_a_fifth():
    array = np.random.default_rng(0).normal(90, 20, (20, 20, 20)).astype(np.float32)
    out = fit_normaliser(volume(array), DataConfig(normalise="zscore"))(array)
    assert out.mean() == pytest.approx(0.5, abs=0.01)
    assert out.std() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_uint8_uses_the_whole_range_of_the_type(dtype):
    limits = np.iinfo(dtype)
    fitted = fit_normaliser(volume(np.array([[[3, 7]]], dtype)), DataConfig(normalise="uint8"))
    np.testing.assert_allclose(fitted(np.array([limits.min, limits.max], dtype)), [0, 1], atol=1e-6)


def test_outliers_are_clipped():
    assert Normaliser("percentile", 0, 1)(np.array([-1e9, 1e9])).tolist() == [-0.5, 1.5]


def test_a_crop_keeps_its_place_on_the_volume_s_scale():
    array = np.zeros((8, 8, 16), np.uint8)
    array[..., 8:] = 200
    fitted = fit_normaliser(volume(array), DataConfig())
    assert fitted(array[..., 8:]).min() > 0.9  # normalised by itself, a flat crop would have lost its brightness


def test_box_limits_what_is_judged():
    array = np.zeros((4, 4, 8), np.uint8)
    array[..., :4], array[..., 4:] = np.arange(4), np.arange(4) * 50
    fitted = fit_normaliser(volume(array), DataConfig(percentiles=(0, 100)), Box((0, 0, 0), (4, 4, 4), (8, 8, 8)))
    assert (fitted.low, fitted.high) == (0, 3)


def test_large_volumes_are_sampled_and_agree(monkeypatch):
    array = np.random.default_rng(1).integers(20, 220, (96, 160, 160), np.uint8)
    whole = fit_normaliser(volume(array), DataConfig())
    monkeypatch.setattr("neuropil.data.normalise._SAMPLE_VOXELS", 1000)
    monkeypatch.setattr("neuropil.data.normalise._SAMPLE_BLOCK", (8, 16, 16))
    sampled = fit_normaliser(volume(array), DataConfig())
    assert abs(sampled.low - whole.low) <= 2
    assert abs(sampled.high - whole.high) <= 2


def test_probes_stay_inside_and_reach_both_ends():
    box = Box((-5, 3, 0), (95, 40, 7), (8, 8, 8))
    found = probes(box, (10, 10, 10), 3)
    assert all(box.contains(probe) and probe.size for probe in found)
    assert min(p.start for p in found) == box.start
    assert max(p.stop for p in found) == box.stop
    assert len(found) == len(set(found)) <= 27


def test_json_round_trip():
    fitted = Normaliser("percentile", 12.5, 99.25)
    assert Normaliser.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_mostly_empty_volume_falls_back_to_its_range():
    array = np.zeros((20, 20, 20), np.uint8)
    array[0, 0, 0] = 100
    assert fit_normaliser(volume(array), DataConfig()).high == 100


@pytest.mark.parametrize(
    ("array", "config", "match"),
    [
        (np.full((4, 4, 4), 7, np.uint8), {}, "one grey value only"),
        (np.full((4, 4, 4), 7, np.uint8), {"normalise": "zscore"}, "one grey value only"),
        (np.array([[[0.0, np.nan]]], np.float32), {}, "NaN or infinite"),
        (np.array([[[0.0, np.inf]]], np.float32), {}, "NaN or infinite"),
        (np.array([[[0.0, 1.0]]], np.float32), {"normalise": "uint8"}, "data.normalise=percentile"),
    ],
)
def test_unusable_values_are_refused(array, config, match):
    with pytest.raises(InputError, match=match):
        fit_normaliser(volume(array), DataConfig(**config))


def test_padding_is_flat_zeros_not_dark_pixels():
    tissue = np.random.default_rng(0).integers(0, 4, (4, 32, 32), np.uint8)  # many zeros, hardly any side by side
    assert padded_share(volume(tissue)) < 0.02
    padded = np.pad(tissue, ((0, 0), (0, 32), (0, 0)))
    assert padded_share(volume(padded)) == pytest.approx(0.5, abs=0.02)
