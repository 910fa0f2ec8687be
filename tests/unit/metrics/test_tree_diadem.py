import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, path, random_tree, rerooted, tree

from neuropil.metrics.tree_diadem import diadem

#: Root, a bifurcation (three tips below), a second one (two tips below), three tips: weights 3 + 2 + 1 + 1 + 1 = 8.
PLACES = [(0, 0, 0), (20, 0, 0), (40, 0, 0), (20, 20, 0), (60, 10, 0), (60, -10, 0)]
PARENT = [-1, 0, 1, 1, 2, 2]


def score(truth, test, **settings):
    return diadem(compared(truth, test, **settings))["diadem"]


def test_perfect_whatever_the_root_of_the_trace(rng):
    truth = tree(PLACES, PARENT)
    assert score(truth, truth) == 1.0
    for root in range(6):
        assert score(truth, rerooted(truth, root)) == 1.0
    forest = random_tree(rng, 200, roots=3, step=20.0)
    assert score(forest, forest) == 1.0


def test_a_missing_tip_costs_itself_only():
    # the bifurcation before it is excused: cable runs on through its place
    without = tree([*PLACES[:3], *PLACES[4:]], [-1, 0, 1, 2, 2])
    assert score(tree(PLACES, PARENT), without) == pytest.approx(7 / 8)


def test_a_missing_subtree_costs_its_bifurcation_too():
    without = tree(PLACES[:4], [-1, 0, 1, 1])
    # node 2 is now an end of the trace, and still at the end of the right path: both tips are gone
    assert score(tree(PLACES, PARENT), without) == pytest.approx(6 / 8)
    shorter = tree([*PLACES[:2], PLACES[3]], [-1, 0, 1])
    assert score(tree(PLACES, PARENT), shorter) == pytest.approx(4 / 8)


def test_a_wrong_way_is_found_out():
    # every place is there, but the side branch hangs on the far bifurcation: 20 → 60 steps of path
    wrong = tree(PLACES, [-1, 0, 1, 2, 2, 2])
    assert score(tree(PLACES, PARENT), wrong) == pytest.approx(7 / 8)


def test_cut_off_is_missing():
    cut = tree(PLACES, [-1, 0, -1, 1, 2, 2])
    # the far subtree is no longer connected to what came before it; within it nothing is there to measure from
    assert score(tree(PLACES, PARENT), cut) == pytest.approx(4 / 8)


def test_path_errors_are_relative_beyond_the_slack():
    truth, detour = path((0, 0, 0), (100, 0, 0)), path((0, 0, 0), (50, 16, 0), (100, 0, 0))
    assert detour.length_nm() == pytest.approx(105.0, abs=0.02)
    assert score(truth, detour, path_error=0.055) == 1.0
    assert score(truth, detour, path_error=0.045) == 0.0
    assert score(truth, detour, path_error=0.045, path_slack=6.0) == 1.0


def test_places_are_cylinders():
    truth = path((0, 0, 0), (50, 0, 0))
    # 1.5 aside and 1.5 deeper are 2.1 in space, but inside a cylinder of 2
    assert score(truth, path((0, 0, 0), (50, 1.5, 1.5))) == 1.0
    assert score(truth, path((0, 0, 0), (50, 1.5, 2.5))) == 0.0


def test_a_missing_root_leaves_the_places():
    assert score(path((0, 0, 0), (50, 0, 0)), path((20, 0, 0), (50, 0, 0))) == 1.0


def test_of_the_test_vector():
    # the far tip is there (1), the bifurcation is run through (2), the side tip is not (1)
    assert score(GOLD, TRACE) == pytest.approx(3 / 4)
