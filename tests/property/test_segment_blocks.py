"""Fragments, contacts and labels of a volume worked in blocks are those of the whole, bit for bit."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from tests.unit.post.blockwise import in_blocks

from neuropil.affinities import NEAREST
from neuropil.config import SegmentConfig
from neuropil.post.agglomerate import hierarchy

SHAPE = (18, 26, 28)
POSITIVE = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
MIXED = ((0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, -1, 3), (2, 0, 0), (-4, 3, 0), (0, 0, -1))
FRAGMENTS = {"radius_nm": 24, "sigma_nm": 6, "link": 0.2, "background": 0.1}
CASES = {
    "mean": ((8.0, 8.0, 8.0), NEAREST, SegmentConfig(fragments=FRAGMENTS)),
    "positive offsets, dust": ((8.0, 8.0, 8.0), POSITIVE, SegmentConfig(min_size=30, contact=3, fragments=FRAGMENTS)),
    "quantile, long edges, bias": (
        (20.0, 8.0, 8.0),
        MIXED,
        SegmentConfig(
            score="quantile",
            long_range=True,
            min_size=12,
            bias=(0.2, 0.0, 0.1, 0.0, -0.4, 0.3, 0.0),
            fragments={**FRAGMENTS, "worst_edge": 0.3, "radius_nm": 40},
        ),
    ),
    "sections": ((40.0, 4.0, 4.0), NEAREST, SegmentConfig(fragments={**FRAGMENTS, "radius_nm": 5})),
}


def _affinities(channels):
    rng = np.random.default_rng(3)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.3) for _ in range(channels)])
    return np.clip(140 + 900 * smooth, 0, 255).astype(np.uint8)


AFF = {name: _affinities(len(offsets)) for name, (_, offsets, _) in CASES.items()}


def _threshold(name):
    return CASES[name][2].model_copy(update={"threshold": 0.6})


WHOLE = {name: hierarchy(AFF[name], offsets, voxel, _threshold(name)) for name, (voxel, offsets, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=8, deadline=None)
@example(shape=(6, 2, 30), start=(0, 0, 0), seed=0)  # blocks thinner than what edges span
@example(shape=(18, 26, 28), start=(0, 0, 0), seed=0)
@example(shape=(9, 13, 14), start=(-7, 5, 100), seed=1)
@given(
    shape=st.tuples(st.integers(4, 19), st.integers(6, 27), st.integers(7, 29)),
    start=st.tuples(*(st.integers(-40, 40),) * 3),
    seed=st.integers(0, 99),
)
def test_blocks_give_the_whole(name, shape, start, seed):
    voxel, offsets, _ = CASES[name]
    count = 1
    for n, s, a in zip(SHAPE, shape, start, strict=True):
        count *= -(-(a + n) // s) - a // s
    order = np.random.default_rng(seed).permutation(count)
    fragments, graph, labels = in_blocks(AFF[name], offsets, voxel, _threshold(name), shape, order, start)
    whole = WHOLE[name]
    np.testing.assert_array_equal(fragments, whole.fragments_ZYX)
    for part in ("edges", "sums", "counts", "sizes", "starts", "bins", "tallies"):
        np.testing.assert_array_equal(getattr(graph, part), getattr(whole.graph, part), err_msg=part)
    np.testing.assert_array_equal(labels, whole.labels(0.6))


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_not_trivial(name):
    whole = WHOLE[name]
    assert whole.graph.nodes > 30
    assert (whole.fragments_ZYX == 0).any()
    assert 3 < whole.labels(0.6).max() < whole.graph.nodes
