"""Every metric of the TREE_METRICS table keeps its word: perfect on itself, blind to numbering, moved the declared way.

A metric takes a `TreePair` and returns a mapping of scores; its module declares `HIGHER_IS_BETTER`. A new line in the
table is tested here without a new test.
"""

import importlib

import numpy as np
import pytest

from neuropil.config.trees import TreeScoreConfig
from neuropil.metrics import directions
from neuropil.metrics.tree import CONVENTIONS
from neuropil.metrics.tree_pair import TreePair
from neuropil.registry import TREE_METRICS
from neuropil.skeleton import Skeleton

CASES = [(name, convention) for name in TREE_METRICS for convention in CONVENTIONS]


def neuron():
    """A trunk along x with a side branch of 60 steps at every 50, nodes five apart."""
    nodes, parent = [(0.0, 0.0, 0.0)], [-1]
    for k in range(1, 61):
        nodes.append((0.0, 0.0, 5.0 * k))
        parent.append(k - 1)
    for k in range(10, 60, 10):
        for step in range(1, 13):
            nodes.append((3.0 * step, 4.0 * step, 5.0 * k))
            parent.append(k if step == 1 else len(nodes) - 2)
    return Skeleton(np.array(nodes), np.ones(len(nodes)), np.array(parent), np.zeros(len(nodes), int))


def without(skeleton, gone):
    """The tree without some nodes; what hung on them becomes a tree of its own."""
    keep = np.ones(len(skeleton.parent), bool)
    keep[list(gone)] = False
    place = np.full(len(keep) + 1, -1)
    place[np.flatnonzero(keep)] = np.arange(keep.sum())
    return Skeleton(
        skeleton.nodes_nm[keep], skeleton.radius_nm[keep], place[skeleton.parent[keep]], skeleton.kind[keep]
    )


TRUTH = neuron()
MISSING = without(TRUTH, range(61, 73))  # the first side branch
CUT = without(TRUTH, range(33, 37))  # a gap of 25 steps in the trunk, between two branches
NOISY = Skeleton(
    TRUTH.nodes_nm + np.random.default_rng(0).normal(0, 2.0, TRUTH.nodes_nm.shape),
    TRUTH.radius_nm,
    TRUTH.parent,
    TRUTH.kind,
)


def score(case, truth, test):
    name, convention = case
    pair = TreePair(truth, test, step_nm=1.0, config=TreeScoreConfig(convention=convention))
    return dict(TREE_METRICS.resolve(name)(pair))


def declared(name):
    return importlib.import_module(TREE_METRICS[name].partition(":")[0]).HIGHER_IS_BETTER


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


def test_every_metric_has_keys_with_a_direction(case):
    assert set(score(case, TRUTH, TRUTH)) & set(declared(case[0]))
    assert set(declared(case[0])) <= set(directions())


@pytest.mark.parametrize("tree", [TRUTH, CUT, NOISY], ids=["tree", "forest", "noisy"])
def test_perfect_on_itself(case, tree):
    got = score(case, tree, tree)
    for key in set(got) & set(declared(case[0])):
        assert got[key] == pytest.approx(float(declared(case[0])[key]), abs=1e-12), key


def test_numbering_means_nothing(case):
    order = np.random.default_rng(3).permutation(len(TRUTH.parent))
    place = np.append(np.argsort(order), -1)
    again = Skeleton(TRUTH.nodes_nm[order], TRUTH.radius_nm, place[TRUTH.parent[order]], TRUTH.kind)
    for other in (MISSING, CUT, NOISY):
        assert score(case, again, other) == pytest.approx(score(case, TRUTH, other))
        assert score(case, other, again) == pytest.approx(score(case, other, TRUTH))


@pytest.mark.parametrize(
    ("truth", "test"),
    [(TRUTH, MISSING), (TRUTH, CUT), (TRUTH, NOISY), (MISSING, TRUTH), (CUT, TRUTH)],
    ids=["missing branch", "cut", "noise", "extra branch", "bridge"],
)
def test_errors_never_improve_a_score(case, truth, test):
    got = score(case, truth, test)
    for key in set(got) & set(declared(case[0])):
        worse = (got[key] - float(declared(case[0])[key])) * (1 if declared(case[0])[key] else -1)
        assert worse <= 1e-12, key


#: What a missing branch, and what an extra one, must move.
MISSING_MOVES = {
    "esa", "pds", "recall", "f1", "recall_auc", "mes", "edge_recall", "critical_recall", "critical_f1", "diadem",
    "netmets_geometry_fnr",
}  # fmt: skip
EXTRA_MOVES = {
    "esa", "pds", "precision", "f1", "precision_auc", "mes", "edge_precision", "critical_precision", "critical_f1",
    "netmets_geometry_fpr",
}  # fmt: skip
MISSING_KEEPS = {"precision", "precision_auc", "critical_precision", "edge_precision", "netmets_geometry_fpr"}
EXTRA_KEEPS = {"recall", "recall_auc", "critical_recall", "edge_recall", "netmets_geometry_fnr", "diadem"}


@pytest.mark.parametrize(
    ("truth", "test", "moves", "keeps"),
    [(TRUTH, MISSING, MISSING_MOVES, MISSING_KEEPS), (MISSING, TRUTH, EXTRA_MOVES, EXTRA_KEEPS)],
    ids=["missing", "extra"],
)
def test_missing_is_not_mistaken_for_extra(case, truth, test, moves, keeps):
    got, best = score(case, truth, test), score(case, truth, truth)
    assert (moves | keeps) & set(got)
    for key in moves & set(got):
        assert got[key] != pytest.approx(best[key], abs=1e-4), key
    for key in keeps & set(got):
        assert got[key] == pytest.approx(best[key], abs=1e-12), key


def test_worse_errors_score_worse(case):
    few, many = score(case, TRUTH, MISSING), score(case, TRUTH, without(TRUTH, range(61, 109)))
    moved = [k for k in set(few) & set(declared(case[0])) if few[k] != pytest.approx(many[k])]
    assert moved
    for key in moved:
        assert (many[key] > few[key]) != declared(case[0])[key], key
