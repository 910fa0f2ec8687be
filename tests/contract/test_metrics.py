"""Every metric of the METRICS table keeps its word: perfect on itself, blind to ids, moved the declared way by errors.

A metric says by its first parameter what it scores: `table` (label overlap) or `skeletons`; it returns a mapping of
scores, or an object whose `scores()` is one. A new line in the table is tested here without a new test.
"""

import importlib
import inspect

import numpy as np
import pytest

from neuropil.metrics import directions
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import CONVENTIONS
from neuropil.metrics.skeletal import sample_array
from neuropil.registry import METRICS
from neuropil.skeleton import Skeleton

VOXEL = (10.0, 10.0, 10.0)
CASES = [
    (name, convention)
    for name in METRICS
    for convention in (CONVENTIONS if "convention" in inspect.signature(METRICS.resolve(name)).parameters else [None])
]


def bars():
    """Nine parallel neurites of 6x6 voxels, 40 long in x, and their centre lines."""
    z, y, x = np.indices((18, 18, 40))
    truth = (1 + (z // 6) * 3 + y // 6).astype(np.uint64)
    skeletons = []
    for label in range(9):
        nodes = np.zeros((39, 3))
        nodes[:] = [(label // 3) * 60 + 30, (label % 3) * 60 + 30, 0]
        nodes[:, 2] = np.arange(39) * 10 + 10
        skeletons.append(Skeleton(nodes, np.full(39, 30.0), np.arange(39) - 1, np.zeros(39, int)))
    return truth, skeletons, x


TRUTH, SKELETONS, X = bars()
SPLIT = np.where((TRUTH == 5) & (X >= 18), np.uint64(100), TRUTH)
MERGED = np.where(TRUTH == 5, np.uint64(4), TRUTH)
BOTH = np.where((MERGED == 9) & (X > 22), np.uint64(101), MERGED)


def score(case, pred):
    name, convention = case
    metric = METRICS.resolve(name)
    keywords = {"convention": convention} if convention else {}
    if next(iter(inspect.signature(metric).parameters)) == "skeletons":
        segments = sample_array(pred, VOXEL, SKELETONS, offset=(0.0, 0.0, 0.0))
        result = metric(SKELETONS, segments, merge_tolerance_nm=0.0)
    else:
        result = metric(contingency(TRUTH, pred), **keywords)
    return dict(result if isinstance(result, dict) else result.scores())


def declared(name):
    return importlib.import_module(METRICS[name].partition(":")[0]).HIGHER_IS_BETTER


@pytest.fixture(params=CASES, ids=lambda case: "-".join(filter(None, case)))
def case(request):
    return request.param


def test_every_metric_has_a_key_with_a_direction(case):
    assert set(score(case, TRUTH)) & set(declared(case[0]))
    assert set(declared(case[0])) <= set(directions())


def test_perfect_on_itself(case):
    for key, higher in declared(case[0]).items():
        if key in (got := score(case, TRUTH)):
            best = 0.0 if not higher else got["erl_max_nm"] if key == "erl_nm" else 1.0
            assert got[key] == pytest.approx(best, abs=1e-12), key


def test_ids_mean_nothing(case):
    rng = np.random.default_rng(3)
    new = rng.permutation(5000)[:200].astype(np.uint64) + np.uint64(2**40)
    for pred in (TRUTH, SPLIT, BOTH):
        assert score(case, new[pred]) == pytest.approx(score(case, pred))


@pytest.mark.parametrize("pred", [SPLIT, MERGED, BOTH], ids=["split", "merge", "both"])
def test_errors_never_improve_a_score_and_worsen_some(case, pred):
    perfect, got = score(case, TRUTH), score(case, pred)
    keys = set(got) & set(declared(case[0]))
    change = {k: (got[k] - perfect[k]) * (1 if declared(case[0])[k] else -1) for k in keys}
    assert max(change.values()) <= 1e-12
    assert min(change.values()) < -1e-6


#: metrics of found and missed objects, which a split moves as much as a merge.
BLIND = {"detection"}
#: what only splits, and what only merges, may move.
SPLIT_ONLY, MERGE_ONLY = {"voi_split", "rand_recall", "erl_splits"}, {"voi_merge", "rand_precision", "erl_merges"}


@pytest.mark.parametrize(
    ("pred", "moves", "stays"),
    [(SPLIT, SPLIT_ONLY, MERGE_ONLY), (MERGED, MERGE_ONLY, SPLIT_ONLY)],
    ids=["split", "merge"],
)
def test_splits_are_not_mistaken_for_merges(case, pred, moves, stays):
    if case[0] in BLIND:
        pytest.skip("does not tell splits from merges")
    perfect, got = score(case, TRUTH), score(case, pred)
    assert moves & set(got)
    for key in moves & set(got):
        assert got[key] != pytest.approx(perfect[key], abs=1e-6), key
    for key in stays & set(got):
        assert got[key] == pytest.approx(perfect[key], abs=1e-12), key


def test_worse_errors_score_worse(case):
    few, many = score(case, MERGED), score(case, np.where(TRUTH <= 6, np.uint64(1), TRUTH))
    moved = [k for k in set(few) & set(declared(case[0])) if few[k] != pytest.approx(many[k])]
    assert moved
    for key in moved:
        assert (many[key] > few[key]) != declared(case[0])[key], key
