import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from tests.unit.metrics.trees import GOLD, path, random_tree, rerooted, shuffled, tree

from neuropil.metrics.tree_pair import Tree
from neuropil.metrics.tree_paths import Paths, Places, runs


def graph_distances(one):
    size = len(one.parent)
    graph = coo_matrix((one.lengths, (one.child, one.parent[one.child])), shape=(size, size))
    return dijkstra(graph.tocsr(), directed=False)


@pytest.mark.parametrize("roots", [1, 3])
def test_paths_between_nodes_are_those_of_the_graph(rng, roots):
    one = Tree(shuffled(rng, random_tree(rng, 120, roots)), 1.0, "true")
    paths = Paths(one)
    u, v = (a.reshape(-1) for a in np.meshgrid(np.arange(120), np.arange(120)))
    found = paths.length(paths.at_nodes(u), paths.at_nodes(v)).reshape(120, 120)
    np.testing.assert_allclose(found, graph_distances(one), atol=1e-9)


def test_places_on_edges(rng):
    # cutting every edge at a place makes places nodes, and the graph must agree
    skeleton = random_tree(rng, 40)
    one = Tree(skeleton, 1.0, "true")
    share = rng.random(len(one.child))
    places = Places(one.child, share * one.lengths)
    cut = Tree(
        tree(
            np.concatenate([skeleton.nodes_nm, one.first + share[:, None] * (one.second - one.first)])[:, ::-1],
            np.concatenate([np.where(skeleton.parent < 0, -1, 40 + np.cumsum(skeleton.parent >= 0) - 1), one.parent[one.child]]),
        ),
        1.0,
        "true",
    )  # fmt: skip
    want = graph_distances(cut)[40:, 40:]
    i, j = (a.reshape(-1) for a in np.meshgrid(np.arange(39), np.arange(39)))
    found = Paths(one).length(places.take(i), places.take(j)).reshape(39, 39)
    np.testing.assert_allclose(found, want, atol=1e-9)


def test_nearest_places(rng):
    one = Tree(GOLD, 1.0, "true")
    distance, places = Paths(one).nearest(np.array([[0.0, 2, 4], [1, 7, 10]]))
    assert distance.tolist() == [2.0, 1.0]
    assert places.child.tolist() == [1, 3]
    assert places.above.tolist() == [6.0, 3.0]
    lone = Tree(tree([(0, 0, 0), (9, 9, 9)], [-1, -1]), 1.0, "true")
    distance, places = Paths(lone).nearest(np.array([[9.0, 9, 8]]))
    assert (distance.tolist(), places.child.tolist(), places.above.tolist()) == ([1.0], [1], [0.0])
    # where there is cable, a node on its own is none
    half = Tree(tree([(0, 0, 0), (1, 0, 0), (9, 9, 9)], [-1, 0, -1]), 1.0, "true")
    assert Paths(half).nearest(np.array([[9.0, 9, 9]]))[1].child.tolist() == [1]


def test_very_long_paths():
    one = Paths(Tree(path(*[(k, 0, 0) for k in range(3000)]), 1.0, "true"))
    assert one.length(one.at_nodes(np.array([0, 2999])), one.at_nodes(np.array([2999, 1]))).tolist() == [2999, 2998]
    assert (one.root == 0).all()


def test_runs_join_through_a_root_within(rng):
    # the root of a path lies in its middle: one run, not two
    one = runs(Paths(Tree(tree([(0, 0, 0), (5, 0, 0), (-7, 0, 0)], [-1, 0, 0]), 1.0, "true")))
    assert one.nodes.tolist() == [1, 2]
    assert sorted(one.ends[0].tolist()) == [0, 1]
    assert one.length.tolist() == [12.0]


def test_runs_do_not_ask_for_the_root(rng):
    skeleton = random_tree(rng, 90, roots=2)

    def listed(one):
        found = runs(Paths(Tree(one, 1.0, "true")))
        return sorted(
            (*sorted(found.nodes[e].tolist()), round(n, 9)) for e, n in zip(found.ends, found.length, strict=True)
        )

    want = listed(skeleton)
    assert sum(length for *_, length in want) == pytest.approx(skeleton.length_nm())
    # a forest of N critical nodes and T trees with cable has N - T runs
    assert len(want) == len(runs(Paths(Tree(skeleton, 1.0, "true"))).nodes) - 2
    for root in (5, 50, 89):
        assert listed(rerooted(skeleton, root)) == want
