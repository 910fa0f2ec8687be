import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, path, random_tree, rerooted, shuffled, tree

from neuropil.metrics.tree import CONVENTIONS, at_tolerance, cable, structure_distances, sweep, tree_scores

ALL_BUT_ROOTED = {"diadem"}


def test_the_test_vector_of_the_specification():
    found = structure_distances(compared(GOLD, TRACE))
    assert found["esa"] == pytest.approx(1.1591, abs=5e-5)
    assert found["dsa"] == pytest.approx(6.0)
    assert found["pds"] == pytest.approx(0.1212, abs=5e-5)


def test_conventions_of_one_pair_by_hand():
    # two points against two points, 3 apart: every convention counts other samples
    truth, test = path((0, 0, 0), (4, 0, 0)), path((0, 3, 0), (4, 3, 0))
    for name in CONVENTIONS:
        found = structure_distances(compared(truth, test, convention=name))
        assert found == pytest.approx({"esa": 3.0, "dsa": 3.0, "pds": 1.0}), name
    # at exactly the tolerance only niend calls it near
    shares = {name: structure_distances(compared(truth, test, convention=name, tolerance=3.0)) for name in CONVENTIONS}
    assert {name: found["pds"] for name, found in shares.items()} == {"vaa3d": 1.0, "niend": 0.0, "pyneval": 1.0}


def test_dsa_of_one_direction():
    truth, test = path((0, 0, 0), (20, 0, 0)), path((0, 0, 0), (10, 0, 0))
    # truth beyond 10: samples at distance 1..10, those from 2 on: mean 6; the trace has nothing apart
    assert structure_distances(compared(truth, test))["dsa"] == pytest.approx(6.0)
    # pyneval's nodes are 2 apart (2, 4, 6, 8, 10), and the empty direction counts as 0
    assert structure_distances(compared(truth, test, convention="pyneval"))["dsa"] == pytest.approx(3.0)
    # niend divides by all 21 + 11 voxels, and 2 itself is not apart
    found = structure_distances(compared(truth, test, convention="niend"))
    assert found["dsa"] == pytest.approx(sum(range(3, 11)) / 32)
    assert found["pds"] == pytest.approx(8 / 32)


def test_shares_are_of_length_not_of_nodes():
    # 30 of 40 steps are found, however densely the rest is sampled
    dense = np.concatenate([[[0, 0, 0], [30, 0, 0]], [[30 + k / 20, 0, 0] for k in range(1, 201)]])
    truth, test = path(*dense), path((0, 0, 0), (30, 0, 0))
    found = at_tolerance(compared(truth, test, piece=0.01), 1e-6)
    assert found["recall"] == pytest.approx(0.75, abs=1e-3)
    assert found["precision"] == 1.0
    assert found["f1"] == pytest.approx(2 * 0.75 / 1.75, abs=1e-3)


def test_cable_scores_in_closed_form():
    truth, test = path((0, 0, 0), (40, 0, 0)), path((10, 0, 0), (30, 0, 0), (30, 30, 0))
    found = cable(compared(truth, test, tolerance=5.0, piece=0.01))
    assert found["recall"] == pytest.approx(30 / 40, abs=1e-3)  # 10..30 and 5 to either side
    assert found["precision"] == pytest.approx(25 / 50, abs=1e-3)
    assert found["mes"] == pytest.approx((40 - 10) / (40 + 25), abs=1e-3)
    assert (found["length_truth"], found["length_test"], found["length_ratio"]) == (40.0, 50.0, 1.25)
    # 95 % of the trace lies at most 27.5 away, of the truth at most 9
    assert found["hd95"] == pytest.approx(27.5, abs=0.02)


def test_sweep_and_its_mean():
    pair = compared(GOLD, TRACE, sweep=(1.0, 3.0, 8.0))
    rows = sweep(pair)
    assert [row["tolerance"] for row in rows] == [1.0, 3.0, 8.0]
    assert [row["recall"] for row in rows] == sorted(row["recall"] for row in rows)
    assert cable(pair)["f1_auc"] == pytest.approx(np.mean([row["f1"] for row in rows]))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_neither_order_nor_root_matters(rng, convention):
    truth = random_tree(rng, 80, roots=2)
    test = random_tree(rng, 60)
    want = tree_scores(compared(truth, test, convention=convention))
    moved = shuffled(rng, rerooted(test, 17))
    got = tree_scores(compared(shuffled(rng, truth), moved, convention=convention))
    # sampled from either end, a vaa3d edge has the same points; scores agree but for rounding
    assert got == pytest.approx(want, abs=1e-9)
    turned = tree_scores(compared(rerooted(truth, 40), test, convention=convention))
    same = set(want) - ALL_BUT_ROOTED
    assert {k: turned[k] for k in same} == pytest.approx({k: want[k] for k in same}, abs=1e-9)


def test_exchanged_trees_exchange_precision_and_recall(rng):
    one, other = random_tree(rng, 50), random_tree(rng, 50)
    there, back = tree_scores(compared(one, other)), tree_scores(compared(other, one))
    for a, b in [("precision", "recall"), ("edge_precision", "edge_recall"), ("critical_precision", "critical_recall")]:
        assert there[a] == pytest.approx(back[b])
    for key in ("esa", "dsa", "pds", "f1", "hd95"):
        assert there[key] == pytest.approx(back[key])
    assert there["netmets_geometry_fpr"] == pytest.approx(back["netmets_geometry_fnr"])


def test_scores_follow_the_step(rng):
    one, other = random_tree(rng, 50), random_tree(rng, 50)
    want = tree_scores(compared(one, other))

    def enlarged(skeleton):
        return type(skeleton)(skeleton.nodes_nm * 380, skeleton.radius_nm, skeleton.parent, skeleton.kind)

    assert tree_scores(compared(enlarged(one), enlarged(other), step_nm=380.0)) == pytest.approx(want)


def test_single_nodes_have_scores():
    here, there = tree([(0, 0, 0)], [-1]), tree([(0, 3, 4)], [-1])
    same, apart = tree_scores(compared(here, here)), tree_scores(compared(here, there))
    assert (same["esa"], same["f1"], same["diadem"], same["critical_f1"], same["mes"]) == (0, 1, 1, 1, 1)
    assert (apart["esa"], apart["dsa"], apart["pds"], apart["f1"]) == (5, 5, 1, 0)
    assert (apart["diadem"], apart["critical_f1"], apart["netmets_connectivity_fnr"]) == (0, 0, 0)
    assert "length_ratio" not in same  # no length to divide by
    mixed = tree_scores(compared(GOLD, here))
    assert mixed["precision"] == 1.0
    assert mixed["recall"] == pytest.approx(2 / 30, abs=0.02)
