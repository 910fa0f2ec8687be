import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, path, random_tree, tree

from neuropil.errors import InputError
from neuropil.metrics.tree_pair import Tree

EMPTY = tree(np.empty((0, 3)), np.empty(0))


def test_pieces_are_the_cable(rng):
    one = Tree(random_tree(rng, 60), 1.0, "true")
    pieces = one.pieces(0.5)
    assert pieces.length.sum() == pytest.approx(one.length)
    assert pieces.length.max() <= 0.5 + 1e-9
    # middles of equal parts: the mean of an edge's pieces is its middle
    for edge in range(len(one.child)):
        middle = pieces.middle[pieces.edge == edge].mean(axis=0)
        np.testing.assert_allclose(middle, (one.first[edge] + one.second[edge]) / 2, atol=1e-9)
    assert (np.diff(pieces.edge) >= 0).all()


def test_edges_without_length_have_no_pieces():
    one = Tree(path((0, 0, 0), (0, 0, 0), (3, 0, 0)), 1.0, "true")
    assert set(one.pieces(1.0).edge.tolist()) == {1}


def test_a_tree_without_cable_counts_by_nodes():
    pieces = Tree(tree([(1, 2, 3), (4, 5, 6)], [-1, -1]), 1.0, "true").pieces(0.5)
    assert pieces.middle.tolist() == [[3, 2, 1], [6, 5, 4]]
    assert pieces.length.tolist() == [1, 1]


def test_samples_reach_both_ends():
    one = Tree(path((0, 0, 0), (4, 0, 0)), 1.0, "true")
    points, edge = one.samples(np.array([5]), inside=False)
    assert points[:, 2].tolist() == [4, 3, 2, 1, 0]
    assert edge.tolist() == [0] * 5
    assert one.samples(np.array([1]), inside=False)[0].tolist() == [[0, 0, 4]]


def test_a_step_is_a_unit():
    small, large = compared(GOLD, TRACE), compared(GOLD, TRACE, step_nm=10.0, piece=0.05)
    assert small.truth.length == pytest.approx(10 * large.truth.length)
    assert small.truth_apart.max() == pytest.approx(10 * large.truth_apart.max())


def test_degree_does_not_ask_for_the_root():
    assert Tree(GOLD, 1.0, "true").degree.tolist() == [1, 3, 1, 1]
    assert Tree(tree([(0, 0, 0), (1, 0, 0), (5, 5, 5)], [-1, 0, -1]), 1.0, "true").degree.tolist() == [1, 1, 0]


@pytest.mark.parametrize(("truth", "test", "who"), [(EMPTY, GOLD, "true"), (GOLD, EMPTY, "traced")])
def test_empty_trees_are_refused(truth, test, who):
    with pytest.raises(InputError, match=f"a {who} tree without nodes"):
        compared(truth, test)


@pytest.mark.parametrize("step_nm", [0.0, -1.0, float("nan"), float("inf")])
def test_steps_are_positive(step_nm):
    with pytest.raises(InputError, match="a step of"):
        compared(GOLD, TRACE, step_nm=step_nm)


def test_a_step_that_is_far_too_short_is_told():
    with pytest.raises(InputError, match="check the units"):
        _ = compared(path((0, 0, 0), (1e6, 0, 0)), GOLD, step_nm=1e-3).truth_pieces
