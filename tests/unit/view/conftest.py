"""Small volumes whose places and ids are known."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.skeleton import Skeleton
from neuropil.volume import Volume

VOXEL = (40.0, 8.0, 4.0)


@pytest.fixture
def image() -> Volume:
    """Grey values of a volume that does not begin at zero."""
    values = np.random.default_rng(1).integers(20, 200, (20, 70, 130), dtype=np.uint8)
    return Volume(values, VOXEL, (120.0, 80.0, 40.0), kind="image", name="grey")


@pytest.fixture
def truth(image: Volume) -> Volume:
    """Slabs of 10 voxels along x, ids 1..13; CREMI's background in one corner."""
    labels = np.broadcast_to(np.arange(130) // 10 + 1, image.shape).astype(np.uint64)
    labels[:2, :5, :5] = 2**64 - 1
    return Volume(labels, VOXEL, image.offset, kind="labels", name="truth")


@pytest.fixture
def labels(truth: Volume) -> Volume:
    """The truth with slab 3 cut in two, slabs 5 and 6 fused, and one voxel left out."""
    found = truth.numpy()
    found[10:][found[10:] == 3] = 103
    found[found == 6] = 5
    found[0, 69, 129] = 0
    return Volume(found, VOXEL, truth.offset, kind="labels", name="found")


@pytest.fixture
def tree() -> Skeleton:
    """Three nodes in a row."""
    return Skeleton(
        np.array([[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]), np.array([1.0, 2, 3]), np.array([-1, 0, 1]), np.zeros(3, int)
    )
