import numpy as np
import pytest

from neuropil.config import SegmentConfig
from neuropil.errors import InputError
from neuropil.post import mutex

VOXEL = (8.0, 8.0, 8.0)
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, -2))


def _line(near, far, n=3):
    aff = np.full((4, 1, 1, n), 0, np.uint8)
    aff[2], aff[3] = near, far
    return aff


def test_the_surer_evidence_wins():
    apart = mutex.segment(_line(200, 10), OFFSETS, VOXEL, SegmentConfig())
    together = mutex.segment(_line(200, 100), OFFSETS, VOXEL, SegmentConfig())
    assert apart.tolist() == [[[1, 1, 2]]]
    assert together.tolist() == [[[1, 1, 1]]]


def test_strides_leave_long_range_edges_out():
    config = SegmentConfig(strides=(1, 1, 5))
    assert mutex.segment(_line(200, 10), OFFSETS, VOXEL, config).tolist() == [[[1, 1, 1]]]


def test_min_size_joins_the_rest():
    config = SegmentConfig(min_size=2)
    assert mutex.segment(_line(200, 10), OFFSETS, VOXEL, config).tolist() == [[[1, 1, 1]]]


def test_background_stays_zero():
    aff = _line(200, 200, n=6)
    aff[2, ..., 3:5] = 0
    config = SegmentConfig(fragments={"background": 0.002})
    assert mutex.segment(aff, OFFSETS, VOXEL, config).tolist() == [[[1, 1, 1, 0, 2, 2]]]


@pytest.mark.parametrize("kept", [slice(0, 3), slice(3, 4)])
def test_both_kinds_of_channels_are_needed(kept):
    with pytest.raises(InputError, match="offsets"):
        mutex.segment(_line(1, 1)[kept], OFFSETS[kept], VOXEL, SegmentConfig())


def test_too_many_edges_at_once():
    huge = np.broadcast_to(np.uint8(0), (4, 2**10, 2**10, 2**10))
    with pytest.raises(InputError, match="smaller volume"):
        mutex._check_size(huge)
