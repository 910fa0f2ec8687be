"""Crops without labels: by weight, of one volume a batch, and the same ones for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.config import AugmentConfig, DataConfig
from neuropil.data.batches import Order, make_loader
from neuropil.data.normalise import fit_normaliser
from neuropil.data.unlabelled import RawSampler, RawSource, prepare_raw
from neuropil.errors import ConfigError, InputError
from neuropil.volume import Volume

PLAIN = DataConfig(normalise="uint8", workers=0, augment=AugmentConfig().still())


def _volume(low: int, voxel_size: tuple[float, float, float]) -> Volume:
    values = np.random.default_rng(low).integers(low, low + 50, (20, 24, 28)).astype(np.uint8)
    return Volume(values, voxel_size, kind="image", name=f"v{low}")


def _sources(config: DataConfig, weights: list[float] | None = None) -> tuple[RawSource, ...]:
    images = [_volume(0, (8.0, 8.0, 8.0)), _volume(200, (40.0, 4.0, 4.0))]
    normalisers = [fit_normaliser(i, config) for i in images]
    return prepare_raw(images, config, regions=[i.box for i in images], normalisers=normalisers, weights=weights)


def test_a_crop_is_a_piece_of_its_volume_and_says_how_large_its_voxels_are() -> None:
    sampler = RawSampler(_sources(PLAIN), (8, 8, 8), PLAIN, 0, batch=1)
    sample = sampler(3)
    assert sample["image"].shape == (1, 8, 8, 8)
    bright = sample["image"].mean() > 0.5
    assert tuple(sample["voxel_size"]) == ((40, 4, 4) if bright else (8, 8, 8))
    whole = (_volume(200 if bright else 0, (8.0, 8.0, 8.0)).numpy() / 255).astype(np.float32)
    found = np.lib.stride_tricks.sliding_window_view(whole, (8, 8, 8))
    assert np.isclose(found, sample["image"][0], atol=1e-6).all(axis=(3, 4, 5)).any()


def test_batches_are_of_one_volume_and_volumes_come_by_weight() -> None:
    sampler = RawSampler(_sources(PLAIN, [1.0, 3.0]), (8, 8, 8), PLAIN, 0, batch=4)
    sizes = []
    for batch in make_loader(sampler, Order(4, 0, 200), PLAIN):
        assert (batch["voxel_size"] == batch["voxel_size"][0]).all()
        sizes.append(float(batch["voxel_size"][0, 0]))
    share = np.mean(np.array(sizes) == 40)
    assert 0.65 < share < 0.85


def test_same_seed_same_crops_in_any_order() -> None:
    a, b, c = (RawSampler(_sources(DataConfig()), (8, 8, 8), DataConfig(), s, batch=2) for s in (0, 0, 1))
    first = [a(i)["image"] for i in range(4)]
    again = [b(i)["image"] for i in reversed(range(4))][::-1]
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], c(0)["image"])


def test_bad_weights_and_small_volumes_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 positive numbers"):
        _sources(PLAIN, [1.0])
    with pytest.raises(InputError, match="at least as large as the crop"):
        RawSampler(_sources(PLAIN), (8, 8, 64), PLAIN, 0, batch=1)
    with pytest.raises(InputError, match="at least one --image"):
        prepare_raw([], PLAIN, regions=[], normalisers=[], weights=None)


MOVING = DataConfig(normalise="uint8", workers=0, augment=AugmentConfig(elastic=1.0, noise=1.0, intensity=1.0))
NOTHING = AugmentConfig().still()
VIEWS = {"weak": AugmentConfig(set="weak"), "strong": AugmentConfig(set="strong"), "same": NOTHING}


def test_views_lie_as_the_clean_crop_does_and_only_their_grey_values_differ() -> None:
    """The planted pattern has no symmetry: a view that lay otherwise would not go with the crop voxel by voxel."""
    sampler = RawSampler(_sources(MOVING), (12, 12, 12), MOVING, 0, batch=1, views=VIEWS)
    still = MOVING.model_copy(update={"augment": MOVING.augment.only_places()})
    clean = RawSampler(_sources(still), (12, 12, 12), still, 0, batch=1)
    alike = []
    for index in range(12):
        sample = sampler(index)
        # flips, exchanged axes and deformation happened once: a view without changes is the crop itself
        np.testing.assert_array_equal(sample["same"], sample["image"])
        np.testing.assert_array_equal(clean(index)["image"], sample["image"])
        assert not np.array_equal(sample["strong"], sample["image"])
        alike.append(np.corrcoef(sample["weak"].ravel(), sample["image"].ravel())[0, 1])
    assert min(alike) > 0.75


def test_a_view_follows_from_seed_and_number_alone() -> None:
    def made(seed: int, indices: list[int]) -> list[dict[str, np.ndarray]]:
        sampler = RawSampler(_sources(MOVING), (8, 8, 8), MOVING, seed, batch=1, views=VIEWS)
        return [sampler(i) for i in indices]

    (first, second), (again,) = made(0, [4, 5]), made(0, [5])
    for name in ("image", "weak", "strong"):
        np.testing.assert_array_equal(second[name], again[name])
        assert not np.array_equal(first[name], second[name])
    (other,) = made(1, [5])
    assert not np.array_equal(other["strong"], second["strong"])
