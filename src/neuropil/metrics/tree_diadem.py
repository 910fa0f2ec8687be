"""The DIADEM score: are the branch points and tips of the truth there, at the end of the right paths?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from neuropil.metrics.tree_pair import Floats, Ints, Tree, TreePair
from neuropil.metrics.tree_paths import Paths, Places, critical
from neuropil.skeleton import depths

Bools = NDArray[np.bool_]

HIGHER_IS_BETTER = {"diadem": True}


def diadem(pair: TreePair) -> dict[str, float]:
    """Weighted share of the truth's bifurcations and tips that the traced tree has (after Gillette et al. 2011).

    Each counts by the number of tips at or below it, so that early mistakes cost more; roots do not count. One is there
    if the traced tree has a branch point or end in the cylinder around it (tolerance in the section and along z) and
    the path from there to the partner of the nearest ancestor that has one is as long as in the truth, but for
    `path_error`, or `path_slack` where that is more. A bifurcation is there also if traced cable runs on through the
    cylinder with the right path: the branch that is missing there costs its own tips. A root is there if traced cable
    passes through its cylinder; where no ancestor is there, the place alone decides. Paths of the traced tree are
    those along its cable, whatever its root.

    A tree that is a single node scores 1 if it is there, else 0.
    """
    tree, test = pair.truth, Paths(pair.test)
    order = np.argsort(depths(tree.parent), kind="stable")
    weight = _tips_below(tree, order)
    children = np.bincount(tree.parent[tree.child], minlength=len(tree.parent))
    root = tree.parent < 0
    wanted = np.flatnonzero(root | (children != 1))
    scored = wanted[~root[wanted]]
    there = _partners(pair, test, order, wanted, children)
    counted = scored if len(scored) else wanted
    return {"diadem": float(weight[counted][there[counted]].sum() / weight[counted].sum())}


def _partners(pair: TreePair, test: Paths, order: Ints, wanted: Ints, children: Ints) -> Bools:
    """(N,) whether each wanted node has a partner in the traced tree."""
    tree, config = pair.truth, pair.config
    candidates = critical(pair.test)
    near = cKDTree(pair.test.nodes[candidates]).query_ball_point(tree.nodes[wanted], config.tolerance * 2**0.5)
    _, through = test.nearest(tree.nodes[wanted])
    passing = _cylinder(tree.nodes[wanted], _positions(pair.test, through), config.tolerance)
    row = np.full(len(tree.parent), -1)
    row[wanted] = np.arange(len(wanted))
    to_root = Paths(tree).to_root
    there = np.zeros(len(tree.parent), np.bool_)
    above = np.full(len(tree.parent), -1)
    partner: dict[int, tuple[int, float]] = {}
    for node in order.tolist():
        parent = int(tree.parent[node])
        # the nearest ancestor that is there, handed down
        above[node] = -1 if parent < 0 else parent if parent in partner else above[parent]
        if (k := int(row[node])) < 0:
            continue
        options = _options(pair, candidates, near[k], tree.nodes[node])
        exact = len(options)
        if passing[k] and (parent < 0 or children[node] > 1):
            options.append((int(through.child[k]), float(through.above[k])))
        ancestor = int(above[node])
        if options and ancestor >= 0:
            goal = float(to_root[node] - to_root[ancestor])
            slack = max(config.path_error * goal, config.path_slack)
            start = _places([partner[ancestor]] * len(options))
            fits = np.abs(test.length(start, _places(options)) - goal) <= slack
            exact = int(fits[:exact].sum())
            options = [one for one, fit in zip(options, fits.tolist(), strict=True) if fit]
        there[node] = bool(options)
        # cable that only runs on is no fixed point to measure from, but a root has no other
        if exact or (options and parent < 0):
            partner[node] = options[0]
    return there


def _options(pair: TreePair, candidates: Ints, near: Sequence[int], place: Floats) -> list[tuple[int, float]]:
    """Branch points and ends of the traced tree in the cylinder around a place, nearest first."""
    if not near:
        return []
    nodes = candidates[np.asarray(near, np.int64)]
    nodes = nodes[_cylinder(place, pair.test.nodes[nodes], pair.config.tolerance)]
    nearest = np.argsort(np.linalg.norm(pair.test.nodes[nodes] - place, axis=1), kind="stable")
    return [(int(node), 0.0) for node in nodes[nearest]]


def _cylinder(centre: Floats, points: Floats, tolerance: float) -> Bools:
    gap = points - centre
    inside: Bools = (np.abs(gap[..., 0]) < tolerance) & (np.hypot(gap[..., 1], gap[..., 2]) < tolerance)
    return inside


def _positions(tree: Tree, places: Places) -> Floats:
    child, parent = places.child, np.where(tree.parent[places.child] >= 0, tree.parent[places.child], places.child)
    step = tree.nodes[parent] - tree.nodes[child]
    length = np.linalg.norm(step, axis=1)
    share = np.divide(places.above, length, out=np.zeros(len(length)), where=length > 0)
    return np.asarray(tree.nodes[child] + share[:, None] * step)


def _places(pairs: Sequence[tuple[int, float]]) -> Places:
    child, above = zip(*pairs, strict=True)
    return Places(np.array(child, np.int64), np.array(above, np.float64))


def _tips_below(tree: Tree, order: Ints) -> Ints:
    """(N,) tips at or below each node."""
    children = np.bincount(tree.parent[tree.child], minlength=len(tree.parent))
    tips: Ints = (children == 0).astype(np.int64)
    for node in order[::-1].tolist():
        if tree.parent[node] >= 0:
            tips[tree.parent[node]] += tips[node]
    return tips
