"""What every segmenter promises: perfect affinities give perfect labels, the same ones every time."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from skimage.measure import label

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.config import SegmentConfig
from neuropil.registry import SEGMENTERS

LONG = ((-2, 0, 0), (0, -5, 0), (0, 0, -5))
# links that no cut face carries; and background where there is no evidence for any object
CONFIG = SegmentConfig(threshold=0.5, fragments={"link": 0.1, "background": 0.002, "radius_nm": 64})


def _cells(*, background):
    """Touching Voronoi cells, each connected by faces; some of them removed.

    None is a single voxel: all its edges are cut, which is just what background looks like.
    """
    rng = np.random.default_rng(4)
    shape = (16, 40, 44)
    _, nearest = cKDTree(rng.uniform((0, 0, 0), shape, (30, 3))).query(np.indices(shape).reshape(3, -1).T)
    labels = label(nearest.reshape(shape), connectivity=1, background=-1)
    single = np.bincount(labels.ravel())[labels] == 1
    labels[single] = np.roll(labels, 1, axis=2)[single]
    assert np.bincount(labels.ravel())[np.unique(labels)].min() > 1
    assert label(labels, connectivity=1, background=-1).max() == len(np.unique(labels)) >= 25
    if background:
        labels[np.isin(labels, (3, 4, 5, 6))] = 0
    return labels


def _same_partition(a, b):
    pairs = len(np.unique(np.stack([a.ravel().astype(np.int64), b.ravel().astype(np.int64)]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b)) and np.array_equal(a == 0, b == 0)


@pytest.fixture(params=sorted(SEGMENTERS))
def segmenter(request):
    return SEGMENTERS.resolve(request.param)


@pytest.mark.parametrize("voxel", [(8.0, 8.0, 8.0), (20.0, 8.0, 8.0), (40.0, 4.0, 4.0)])
@pytest.mark.parametrize("background", [False, True])
def test_perfect_affinities_give_perfect_labels(segmenter, voxel, background):
    labels = _cells(background=background)
    offsets = (*NEAREST, *LONG)
    found = segmenter(affinities_from_labels(labels, offsets)[0] * np.uint8(255), offsets, voxel, CONFIG)
    assert found.dtype == np.uint64
    assert _same_partition(labels, found)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_either_sign_any_order_and_type(segmenter, sign, dtype):
    labels = _cells(background=True)
    offsets = tuple((-sign * z, -sign * y, -sign * x) for z, y, x in (LONG[0], *NEAREST[::-1], *LONG[1:]))
    aff = affinities_from_labels(labels, offsets)[0].astype(dtype)
    found = segmenter(aff * np.uint8(255) if dtype == np.uint8 else aff, offsets, (8.0, 8.0, 8.0), CONFIG)
    assert _same_partition(labels, found)


def test_the_same_every_time_and_the_input_is_left_alone(segmenter):
    offsets = (*NEAREST, *LONG)
    aff = np.random.default_rng(0).integers(0, 256, (6, 10, 20, 22)).astype(np.uint8)
    before = aff.copy()
    first = segmenter(aff, offsets, (8.0, 8.0, 8.0), CONFIG)
    np.testing.assert_array_equal(first, segmenter(aff, offsets, (8.0, 8.0, 8.0), CONFIG))
    np.testing.assert_array_equal(aff, before)
    _, at = np.unique(first[first > 0], return_index=True)
    assert (np.diff(at) > 0).all(), "ids in order of first voxel"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (4, 1, 6)])
def test_thin_volumes(segmenter, shape):
    aff = np.full((6, *shape), 255, np.uint8)
    assert (segmenter(aff, (*NEAREST, *LONG), (8.0, 8.0, 8.0), CONFIG) == 1).all()
