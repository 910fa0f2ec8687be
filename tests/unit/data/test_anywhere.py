"""Crops that lie anywhere, so that background is learned as well."""

from __future__ import annotations

import numpy as np

from neuropil.affinities import NEAREST
from neuropil.config import AugmentConfig, DataConfig
from neuropil.data.sampling import Sampler, prepare
from neuropil.data.targets import AffinityTargets
from neuropil.volume import Volume


def shares(anywhere: float) -> np.ndarray:
    """Labelled share of a hundred crops of a volume with one small object."""
    labels = np.zeros((16, 16, 160), np.uint64)
    labels[4:12, 4:12, 20:36] = 1
    config = DataConfig(augment=AugmentConfig().still(), normalise="uint8", min_labelled=0.01, anywhere=anywhere)
    pair = (
        Volume((labels * 200).astype(np.uint8), (8, 8, 8), kind="image"),
        Volume(labels, (8, 8, 8), kind="labels"),
    )
    targets = AffinityTargets.of(NEAREST, config, (8, 8, 8))
    sampler = Sampler(prepare([pair], config), (16, 16, 16), targets, config, 0)
    return np.array([(sampler(i)["image"] > 0.5).mean() for i in range(100)])


def test_without_it_every_crop_shows_an_object_and_with_it_some_do_not() -> None:
    assert (shares(0.0) > 0).all()
    some = (shares(0.5) == 0).mean()
    assert 0.2 < some < 0.6  # half of the crops lie anywhere, and eight in ten places there are empty
    assert (shares(1.0) == 0).mean() > 0.6


def test_what_a_crop_is_centred_on_lies_anywhere_in_its_middle_half() -> None:
    labels = np.zeros((40, 40, 160), np.uint64)
    labels[20, 20, 80] = 1
    config = DataConfig(augment=AugmentConfig().still(), normalise="uint8", centred=1.0)
    pair = (
        Volume((labels * 200).astype(np.uint8), (8, 8, 8), kind="image"),
        Volume(labels, (8, 8, 8), kind="labels"),
    )
    targets = AffinityTargets.of(NEAREST, config, (8, 8, 8))
    sampler = Sampler(prepare([pair], config), (16, 16, 32), targets, config, 0)
    spots = np.array([np.argwhere(sampler(i)["image"][0] > 0.5)[0] for i in range(300)])
    assert spots.min(0).tolist() == [4, 4, 8]
    assert spots.max(0).tolist() == [12, 12, 24]
