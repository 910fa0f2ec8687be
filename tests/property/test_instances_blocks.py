"""Organelles and masks of a volume worked in blocks are those of the whole, bit for bit."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.post.blockwise import decoded_in_blocks
from tests.unit.post.organelles import CONFIG, noisy_prediction

from neuropil.post.decoders import whole
from neuropil.post.instances import Masks, Organelles

SHAPE = (18, 26, 28)
STORED = noisy_prediction(SHAPE)
ISOTROPIC, FLAT = (8.0, 8.0, 8.0), (40.0, 4.0, 8.0)
CASES = {
    "objects": (ISOTROPIC, Organelles(ISOTROPIC, CONFIG)),
    "objects, flat voxels": (FLAT, Organelles(FLAT, CONFIG)),
    "pieces of a mask": (
        ISOTROPIC,
        Masks(ISOTROPIC, CONFIG.model_copy(update={"foreground": 0.8, "components": True})),
    ),
    "a mask": (FLAT, Masks(FLAT, CONFIG.model_copy(update={"foreground": 0.8}))),
}
WHOLE = {name: whole(decoder, STORED, voxel) for name, (voxel, decoder) in CASES.items()}
GRAPH = {name: decoded_in_blocks(decoder, STORED, voxel, SHAPE, [0])[:2] for name, (voxel, decoder) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=10, deadline=None)
@example(shape=(1, 13, 28), start=(0, 0, 0), seed=2)  # as thin as margins are
@example(shape=(18, 26, 28), start=(0, 0, 0), seed=0)
@example(shape=(9, 13, 14), start=(-7, 5, 100), seed=1)
@given(
    shape=st.tuples(st.integers(3, 19), st.integers(5, 27), st.integers(6, 29)),
    start=st.tuples(*(st.integers(-40, 40),) * 3),
    seed=st.integers(0, 99),
)
def test_blocks_give_the_whole(name, shape, start, seed):
    voxel, decoder = CASES[name]
    count = 1
    for n, s, a in zip(SHAPE, shape, start, strict=True):
        count *= -(-(a + n) // s) - a // s
    order = np.random.default_rng(seed).permutation(count)
    fragments, graph, labels = decoded_in_blocks(decoder, STORED, voxel, shape, order, start)
    np.testing.assert_array_equal(fragments, GRAPH[name][0])
    assert graph.keys() == GRAPH[name][1].keys()
    for part, array in graph.items():
        np.testing.assert_array_equal(array, GRAPH[name][1][part], err_msg=part)
    np.testing.assert_array_equal(labels, WHOLE[name])


def test_the_cases_are_not_trivial():
    for name in ("objects", "objects, flat voxels"):
        fragments, graph = GRAPH[name]
        assert (len(graph["sizes"]), len(graph["edges"])) > (60, 60)
        assert 10 < graph["seeded"].sum() < len(graph["seeded"])
        kept = WHOLE[name] > 0
        assert 10 < WHOLE[name].max() < graph["seeded"].sum()  # some are too small
        assert (fragments[~kept] > 0).any()  # and some have no seed
        assert len(np.unique(graph["saddles"])) < len(graph["saddles"])  # and some saddles are equal
    assert WHOLE["pieces of a mask"].max() > 5
    assert np.unique(WHOLE["a mask"]).tolist() == [0, 1]
    assert (GRAPH["a mask"][0][WHOLE["a mask"] == 0] > 0).any()
