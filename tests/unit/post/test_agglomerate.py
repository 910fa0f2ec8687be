import numpy as np
import pytest

from neuropil.config import SegmentConfig
from neuropil.errors import ConfigError
from neuropil.post.agglomerate import hierarchy, segment, sweep

VOXEL = (8.0, 8.0, 8.0)
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, -3))


@pytest.fixture(scope="module")
def aff():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (4, 12, 20, 22)).astype(np.uint8)


@pytest.mark.parametrize("score", ["mean", "quantile"])
def test_sweep_equals_single_segmentations(aff, score):
    config = SegmentConfig(score=score, min_size=20, long_range=True)
    for threshold, labels in sweep(aff, OFFSETS, VOXEL, config, (0.3, 0.5, 0.7)):
        one = segment(aff, OFFSETS, VOXEL, config.model_copy(update={"threshold": threshold}))
        np.testing.assert_array_equal(labels, one)


def test_lower_thresholds_only_join(aff):
    whole = hierarchy(aff, OFFSETS, VOXEL, SegmentConfig())
    coarse, fine = whole.lookup(0.3), whole.lookup(0.6)
    pairs = np.unique(np.stack([fine, coarse]), axis=1)
    assert len(pairs.T) == fine.max() + 1
    assert coarse.max() < fine.max()


def test_bias_works_like_a_shifted_threshold(aff):
    with_bias = SegmentConfig(threshold=0.5, bias=(30.0, 30.0, 30.0, 0.0))
    assert segment(aff, OFFSETS, VOXEL, with_bias).max() == 1


def test_threshold_must_be_set(aff):
    with pytest.raises(ConfigError, match=r"segment\.threshold"):
        segment(aff, OFFSETS, VOXEL, SegmentConfig())
