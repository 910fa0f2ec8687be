"""Small labelled volumes for the tests of `neuropil.data`."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.volume import Volume


def blocks(shape, side, seed=0, ids=200):
    """Random ids > 0 in cubes of `side` voxels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(1, ids, [-(-n // side) for n in shape])
    big = small.repeat(side, 0).repeat(side, 1).repeat(side, 2)
    return big[: shape[0], : shape[1], : shape[2]]


@pytest.fixture
def make_pair():
    """(image, labels): the grey value of the image is the label's id."""

    def make(shape=(40, 44, 48), voxel_size=(8, 8, 8), side=5, seed=0, offset=(0, 0, 0)):
        labels = blocks(shape, side, seed)
        image = Volume(labels.astype(np.uint8), voxel_size, offset, kind="image", name="image")
        return image, Volume(labels.astype(np.uint64), voxel_size, offset, kind="labels", name="labels")

    return make
