from itertools import permutations

import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, path, random_tree, tree

from neuropil.metrics import matching
from neuropil.metrics.tree_topology import critical_nodes, matched_edges, matched_points, netmets


def best_by_trying(true, traced, tolerance):
    """The best one-to-one matching of a few points, by trying all: (pairs, -total distance)."""
    short, long = (true, traced) if len(true) <= len(traced) else (traced, true)
    best = (0, 0.0)
    for order in permutations(range(len(long)), len(short)):
        distance = np.linalg.norm(short - long[list(order)], axis=1)
        near = distance < tolerance
        best = max(best, (int(near.sum()), -float(distance[near].sum())))
    return best


@pytest.mark.parametrize("cells", [0, 1 << 18], ids=["sparse", "dense"])
@pytest.mark.parametrize("seed", range(12))
def test_matching_is_the_best_there_is(seed, cells, monkeypatch):
    monkeypatch.setattr(matching, "_DENSE_CELLS", cells)
    rng = np.random.default_rng(seed)
    true, traced = rng.random((rng.integers(1, 7), 3)) * 4, rng.random((rng.integers(1, 7), 3)) * 4
    pairs = matched_points(true, traced, 2.0)
    distance = np.linalg.norm(true[pairs[:, 0]] - traced[pairs[:, 1]], axis=1)
    assert (distance < 2.0).all()
    assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == len(pairs)
    count, total = best_by_trying(true, traced, 2.0)
    assert len(pairs) == count
    assert distance.sum() == pytest.approx(-total)


def test_more_pairs_beat_nearer_ones():
    # the middle trace point is nearest to both: taking the nearest first would match one only
    pairs = matched_points(np.array([[0.0, 0, 0], [1.0, 0, 0]]), np.array([[0.9, 0, 0], [2.5, 0, 0]]), 2.0)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 0), (1, 1)]


def test_nothing_near_nothing_matched():
    assert matched_points(np.zeros((2, 3)), np.full((2, 3), 9.0), 2.0).shape == (0, 2)


def test_critical_nodes_of_the_test_vector():
    found = critical_nodes(compared(GOLD, TRACE))
    assert (found["critical_truth"], found["critical_test"]) == (4, 2)
    assert (found["critical_precision"], found["critical_recall"]) == (1.0, 0.5)
    assert found["critical_f1"] == pytest.approx(2 / 3)


def test_edges_count_where_the_path_is_as_long():
    truth = path((0, 0, 0), (10, 0, 0), (20, 0, 0))
    # the second half goes a long way round: its ends are near, its path is not
    around = path((0, 1, 0), (10, 1, 0), (10, 30, 0), (20, 30, 0), (20, 1, 0))
    assert matched_edges(compared(truth, around))["edge_recall"] == pytest.approx(0.5)
    assert matched_edges(compared(truth, truth)) == {"edge_recall": 1.0, "edge_precision": 1.0}
    # a gap between the halves: two trees, no path
    broken = tree([(0, 0, 0), (9, 0, 0), (11, 0, 0), (20, 0, 0)], [-1, 0, -1, 2])
    found = matched_edges(compared(path((0, 0, 0), (20, 0, 0)), broken))
    assert found == {"edge_recall": 0.0, "edge_precision": 1.0}


def test_netmets_geometry_in_closed_form():
    away = netmets(compared(path((0, 0, 0), (40, 0, 0)), path((0, 3, 0), (40, 3, 0)), tolerance=3.0))
    assert away["netmets_geometry_fnr"] == pytest.approx(1 - np.exp(-0.5))
    assert away["netmets_geometry_fpr"] == pytest.approx(1 - np.exp(-0.5))


def stars(joined):
    """Two branch points with three arms each, and cable between them, or two ends of it in the middle."""
    arms = [(sign * x, y, 0) for sign in (1, -1) for x, y in ((50, 0), (40, 20), (40, -20))]
    places = [(20, 0, 0), (-20, 0, 0), *arms, (5, 0, 0), (-5, 0, 0)]
    return tree(places, [-1, 9, 0, 0, 0, 1, 1, 1, 0, 8 if joined else -1])


def test_netmets_connectivity_sees_a_cut_and_a_bridge():
    whole, cut = netmets(compared(stars(True), stars(True))), netmets(compared(stars(True), stars(False)))
    assert (whole["netmets_connectivity_fnr"], whole["netmets_connectivity_fpr"]) == (0, 0)
    # one of seven links between matched places is gone; the loose ends join their branch points
    assert cut["netmets_connectivity_fnr"] == pytest.approx(1 / 7)
    assert cut["netmets_connectivity_fpr"] == 0
    bridged = netmets(compared(stars(False), stars(True)))
    assert bridged["netmets_connectivity_fpr"] == pytest.approx(1 / 7)
    assert bridged["netmets_connectivity_fnr"] == 0


def test_netmets_pieces_that_nobody_knows():
    far = tree([(0, 0, 0), (20, 0, 0), (500, 0, 0), (520, 0, 0)], [-1, 0, -1, 2])
    found = netmets(compared(path((0, 0, 0), (20, 0, 0)), far))
    assert (found["netmets_connectivity_fnr"], found["netmets_connectivity_fpr"]) == (0, 0.5)
    nothing = netmets(compared(path((0, 0, 0), (20, 0, 0)), path((500, 0, 0), (520, 0, 0))))
    assert (nothing["netmets_connectivity_fnr"], nothing["netmets_connectivity_fpr"]) == (1, 1)


def test_many_critical_nodes_in_a_crowd(rng):
    one = random_tree(rng, 2000, step=0.3)
    assert critical_nodes(compared(one, one))["critical_f1"] == 1.0
