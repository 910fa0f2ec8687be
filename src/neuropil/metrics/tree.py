"""How far two trees lie apart, and how much of each the other has: ESA, DSA, PDS, precision, recall, MES.

All lengths are in steps (voxels, for trees in voxels); see `neuropil.metrics.tree_pair.TreePair`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from neuropil.metrics.tree_pair import Floats, Tree, TreePair
from neuropil.registry import TREE_METRICS

HIGHER_IS_BETTER = {
    "esa": False,
    "dsa": False,
    "pds": False,
    "precision": True,
    "recall": True,
    "f1": True,
    "precision_auc": True,
    "recall_auc": True,
    "f1_auc": True,
    "mes": True,
    "hd95": False,
}


@dataclass(frozen=True)
class Apart:
    """Entire, different and percentage-of-different structure distance, with the share apart of each tree's samples."""

    esa: float
    dsa: float
    pds: float
    truth_share: float
    test_share: float


def tree_scores(pair: TreePair) -> dict[str, float]:
    """Every score of the TREE_METRICS table.

    Forests are allowed, and where the roots are does not matter (but DIADEM starts at those of the truth).

    Examples
    --------
    >>> import numpy as np
    >>> from neuropil.config.trees import TreeScoreConfig
    >>> from neuropil.skeleton import Skeleton
    >>> nodes = np.array([[0, 0, 0], [0, 0, 10], [0, 0, 20], [0, 10, 10.0]])
    >>> gold = Skeleton(nodes, np.ones(4), np.array([-1, 0, 1, 1]), np.zeros(4, int))
    >>> path = Skeleton(nodes[:3] + [0, 0.5, 0], np.ones(3), np.array([-1, 0, 1]), np.zeros(3, int))
    >>> scores = tree_scores(TreePair(gold, path, step_nm=1.0, config=TreeScoreConfig()))
    >>> round(scores["esa"], 4), scores["dsa"], round(scores["pds"], 4)
    (1.1591, 6.0, 0.1212)
    """
    found: dict[str, float] = {}
    for name in TREE_METRICS:
        found |= TREE_METRICS.resolve(name)(pair)
    return found


def structure_distances(pair: TreePair) -> dict[str, float]:
    """ESA, DSA and PDS in the convention of the pair's settings (Peng et al. 2010 named them).

    "vaa3d": every edge of length l is sampled at int(l + 1.5) points, ends included; distance to the nearest *edge* of
    the other tree; apart from the tolerance on; ESA and PDS are means of the two directions, DSA of those that have
    anything apart (0 if none).

    "niend": distances between *voxels* that the trees pass through; apart above the tolerance; both trees' voxels in
    one pot, and DSA divides by all of them.

    "pyneval": distances between *nodes*, after filling edges up to about two steps; apart from the tolerance on; DSA is
    the mean of both directions, of which one without anything apart counts as 0.
    """
    found = CONVENTIONS[pair.config.convention](pair)
    return {"esa": found.esa, "dsa": found.dsa, "pds": found.pds}


def cable(pair: TreePair) -> dict[str, float]:
    """Precision, recall and F1 of cable, their means over tolerances, length ratio, MES and HD95.

    Recall is the share of the true cable that has traced cable nearer than the tolerance, precision the converse; a
    share is by length. `*_auc` are means over `sweep`. `length_ratio` = traced / true length. MES (miss-extra score) =
    (true - missed) / (true + extra). `hd95` is the larger of the two directions' distances that 95 % of the cable stays
    below. Trees without cable count by nodes.
    """
    (true, traced) = (pair.truth_pieces.length, pair.test_pieces.length)
    rows = sweep(pair)
    here = at_tolerance(pair, pair.config.tolerance)
    found = {key: here[key] for key in ("precision", "recall", "f1")}
    found |= {f"{key}_auc": float(np.mean([row[key] for row in rows])) for key in ("precision", "recall", "f1")}
    missed, extra = (1 - here["recall"]) * true.sum(), (1 - here["precision"]) * traced.sum()
    found["mes"] = float((true.sum() - missed) / (true.sum() + extra))
    found["hd95"] = max(_percentile(pair.truth_apart, true, 95), _percentile(pair.test_apart, traced, 95))
    found |= {"length_truth": pair.truth.length, "length_test": pair.test.length}
    return found | ({"length_ratio": pair.test.length / pair.truth.length} if pair.truth.length else {})


def sweep(pair: TreePair) -> list[dict[str, float]]:
    """Precision, recall and F1 at each tolerance of the settings' `sweep`."""
    return [at_tolerance(pair, tolerance) for tolerance in pair.config.sweep]


def at_tolerance(pair: TreePair, tolerance: float) -> dict[str, float]:
    """`tolerance` (steps), `precision`, `recall`, `f1` by length of cable."""
    recall = float(np.average(pair.truth_apart < tolerance, weights=pair.truth_pieces.length))
    precision = float(np.average(pair.test_apart < tolerance, weights=pair.test_pieces.length))
    return {"tolerance": tolerance, "precision": precision, "recall": recall, "f1": harmonic(precision, recall)}


def harmonic(first: float, second: float) -> float:
    """Harmonic mean; 0 of two zeros."""
    return 2 * first * second / (first + second) if first + second else 0.0


def _vaa3d(pair: TreePair) -> Apart:
    return _two_ways(
        pair.test.search.nearest(_vaa3d_samples(pair.truth)).distance,
        pair.truth.search.nearest(_vaa3d_samples(pair.test)).distance,
        pair.config.tolerance,
    )


def _vaa3d_samples(tree: Tree) -> Floats:
    if not len(tree.child):
        return tree.nodes
    return tree.samples((tree.lengths + 1.5).astype(np.int64), inside=False)[0]


def _pyneval(pair: TreePair) -> Apart:
    true, traced = _filled(pair.truth), _filled(pair.test)
    ways = cKDTree(traced).query(true)[0], cKDTree(true).query(traced)[0]
    found = _two_ways(*ways, pair.config.tolerance)
    far = [d[d >= pair.config.tolerance] for d in ways]
    return replace(found, dsa=sum(float(d.mean()) for d in far if len(d)) / 2)


def _filled(tree: Tree) -> Floats:
    """Nodes, and points between them such that an edge of length l falls into int(l / 2) parts."""
    between = np.maximum((tree.lengths / 2).astype(np.int64) - 1, 0)
    points, _ = tree.samples(between + 2, inside=False)
    first = np.cumsum(between + 2) - (between + 2)
    keep = np.ones(len(points), np.bool_)
    keep[first] = keep[first + between + 1] = False
    return np.concatenate([tree.nodes, points[keep]])


def _two_ways(truth_to_test: Floats, test_to_truth: Floats, tolerance: float) -> Apart:
    ways = (truth_to_test, test_to_truth)
    big = [d >= tolerance for d in ways]
    far = [float(d[b].mean()) for d, b in zip(ways, big, strict=True) if b.any()]
    shares = [float(b.mean()) for b in big]
    return Apart(
        float(np.mean([d.mean() for d in ways])), float(np.mean(far)) if far else 0.0, float(np.mean(shares)), *shares
    )


def _niend(pair: TreePair) -> Apart:
    true, traced = _voxels(pair.truth), _voxels(pair.test)
    ways = cKDTree(traced).query(true)[0], cKDTree(true).query(traced)[0]
    pooled = np.concatenate(ways)
    big = pooled > pair.config.tolerance
    shares = [float((d > pair.config.tolerance).mean()) for d in ways]
    return Apart(float(pooled.mean()), float(pooled[big].sum() / len(pooled)), float(big.mean()), *shares)


def _voxels(tree: Tree) -> Floats:
    """Voxels that edges pass through, one for each voxel along the longest axis."""
    counts = np.ceil(np.abs(tree.second - tree.first).max(axis=1, initial=0.0)).astype(np.int64) + 1
    points, _ = tree.samples(counts, inside=False)
    return np.unique(np.rint(np.concatenate([points, tree.nodes])), axis=0)


def _percentile(distances: Floats, weights: Floats, percent: float) -> float:
    """The least distance that at least `percent` of the weight does not exceed."""
    order = np.argsort(distances, kind="stable")
    reached: NDArray[np.float64] = np.cumsum(weights[order])
    index = np.searchsorted(reached, reached[-1] * percent / 100 * (1 - 1e-12))
    return float(distances[order[min(int(index), len(order) - 1)]])


#: Convention → its structure distances.
CONVENTIONS: dict[str, Callable[[TreePair], Apart]] = {"vaa3d": _vaa3d, "niend": _niend, "pyneval": _pyneval}
