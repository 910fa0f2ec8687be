import sys

import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, path, random_tree, tree

from neuropil.config.trees import MorphologyConfig
from neuropil.errors import ConfigError, InputError
from neuropil.metrics.morphology import morphometrics, summary


def table(skeleton, unit_nm=1.0, **settings):
    return morphometrics(skeleton, unit_nm=unit_nm, config=MorphologyConfig(**settings))


def test_summary_of_the_test_vector():
    found = summary(GOLD, unit_nm=1.0)
    assert found == {
        "nodes": 4,
        "roots": 1,
        "isolated_nodes": 0,
        "branch_points": 1,
        "tips": 3,
        "length": 30.0,
        "extent": [0.0, 10.0, 20.0],
        "start": [0.0, 0.0, 0.0],
        "stop": [0.0, 10.0, 20.0],
        "radius_range": [1.0, 1.0],
        "kinds": {"0": 4},
    }
    assert summary(GOLD, unit_nm=10.0)["length"] == 3.0


def test_summary_of_a_forest_and_of_nothing():
    forest = summary(tree([(0, 0, 0), (3, 0, 0), (9, 9, 9)], [-1, 0, -1]), unit_nm=1.0)
    assert (forest["roots"], forest["isolated_nodes"], forest["tips"]) == (2, 1, 2)
    nothing = summary(tree(np.empty((0, 3)), np.empty(0)), unit_nm=1.0)
    assert (nothing["nodes"], nothing["length"], nothing["extent"]) == (0, 0.0, [0.0, 0.0, 0.0])


def test_known_shape():
    # a trunk of 20 that forks into 10 and 10·√2, one of which forks again into 5 and 5
    skeleton = tree([(0, 0, 0), (20, 0, 0), (30, 0, 0), (30, 10, 0), (35, 0, 0), (30, 0, 5)], [-1, 0, 1, 1, 2, 2])
    found = table(skeleton, sholl_step=7.0)
    assert found["total_length"] == pytest.approx(40 + np.hypot(10, 10))
    assert (found["neurites"], found["sections"], found["bifurcations"], found["tips"]) == (1, 5, 2, 3)
    assert (found["strahler_order"], found["branch_order"]) == (2, 2)
    assert found["path_length_max"] == pytest.approx(35)
    assert found["radial_distance_max"] == pytest.approx(35)
    assert (found["width"], found["height"], found["depth"]) == (35, 10, 5)
    # spheres of 7 and 14 cross the trunk, those of 21 and 28 both of its forks
    assert found["sholl"][:4] == [1, 1, 2, 2]
    assert (found["sholl_step"], found["sholl_max"], found["sholl_max_radius"]) == (7.0, 2, 21.0)


def test_nothing_is_added_or_lost_for_neurom(rng):
    for roots in (1, 4):
        skeleton = random_tree(rng, 150, roots=roots, step=8.0)
        found, ours = table(skeleton), summary(skeleton, unit_nm=1.0)
        assert found["total_length"] == pytest.approx(ours["length"], rel=1e-4)
        root_children = np.bincount(skeleton.parent[skeleton.parent >= 0], minlength=150)[skeleton.parent < 0]
        assert found["neurites"] == root_children.sum()
        leaves = np.setdiff1d(np.arange(150), skeleton.parent)
        assert found["tips"] == len(set(leaves.tolist()) - set(np.flatnonzero(skeleton.parent < 0).tolist()))


def test_units():
    small, large = table(GOLD, sholl_step=10.0), table(GOLD, unit_nm=2.0, sholl_step=5.0)
    assert large["total_length"] == pytest.approx(small["total_length"] / 2)
    assert large["area"] == pytest.approx(small["area"] / 4)
    assert large["sholl"] == small["sholl"]


def test_three_point_somata_are_no_neurites():
    skeleton = tree([(0, 0, 0), (0, -5, 0), (0, 5, 0), (10, 0, 0), (20, 0, 0)], [-1, 0, 0, 0, 3])
    somatic = type(skeleton)(skeleton.nodes_nm, skeleton.radius_nm, skeleton.parent, np.array([1, 1, 1, 3, 3]))
    assert table(somatic)["total_length"] == pytest.approx(20)
    assert table(somatic)["neurites"] == 1


def test_the_soma_is_the_root_of_its_kind():
    two = tree([(0, 0, 0), (50, 0, 0), (100, 0, 0), (110, 0, 0)], [-1, 0, -1, 2])
    marked = type(two)(two.nodes_nm, two.radius_nm, two.parent, np.array([3, 3, 1, 3]))
    # tips lie at 50 and 110, the soma at 0 or at 100
    assert table(two)["radial_distance_max"] == pytest.approx(110)
    assert table(marked)["radial_distance_max"] == pytest.approx(50)


def test_no_cable_no_table():
    with pytest.raises(InputError, match="without cable"):
        table(tree([(0, 0, 0)], [-1]))


def test_without_neurom_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurom", None)
    with pytest.raises(ConfigError, match=r"pip install 'neuropil\[morphometrics\]'"):
        table(path((0, 0, 0), (1, 0, 0)))


def test_sholls_spheres_follow_the_size_of_the_tree() -> None:
    for unit_nm in (1e-3, 1.0, 1e3):
        found = table(GOLD, unit_nm=unit_nm)
        assert 10 <= len(found["sholl"]) <= 40
        assert found["sholl_step"] * len(found["sholl"]) <= found["radial_distance_max"]
        assert f"{found['sholl_step']:.0e}"[0] in "125"
