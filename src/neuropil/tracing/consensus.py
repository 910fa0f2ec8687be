"""What several trees of one image agree on: nodes that at least half of the tracers have, joined along the best tree.

The best tree is the one that explains the image best (`neuropil.tracing.pick`). Of it, branches that end where others
have nothing are cut back to where at least half of all trees still agree. What the others agree on and it lacks is
added, best tree first, with the way there. What lies between agreed nodes stays, so the result hangs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from neuropil.skeleton import Floats, Ints, Skeleton
from neuropil.tracing.grow import Finished

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Grown:
    """Nodes of the consensus so far, parents before children; `share` is that of the trees that have the node."""

    nodes_nm: Floats
    radius_nm: Floats
    parent: Ints
    kind: Ints
    confidence: Floats
    share: Floats


def consensus(trees: Sequence[Finished], *, tolerance_nm: float) -> tuple[Finished, Floats]:
    """The agreed tree, and (N,) which share of the trees has each of its nodes within the tolerance.

    Parameters
    ----------
    trees
        Of one image, the best first; its root, soma and bridges are taken over. Parents come before children.
    tolerance_nm
        How far from the cable of another tree a node may lie to be in it. Runs shorter than twice this are not added.
    """
    finders = [cKDTree(tree.skeleton.resampled(tolerance_nm / 2).nodes_nm) for tree in trees]
    shares = []
    for i, tree in enumerate(trees):
        nodes = tree.skeleton.nodes_nm
        others = [_near(finder, nodes, tolerance_nm) for j, finder in enumerate(finders) if j != i]
        shares.append((1 + np.sum(others, axis=0)) / len(trees) if others else np.ones(len(nodes)))
    best, share = trees[0], shares[0]
    agreed = share >= 0.5
    agreed[0] = True
    kept = _with_ancestors(agreed, best.skeleton.parent, np.zeros_like(agreed))
    whole = _part(best, share, _without_stubs(kept, best.skeleton, tolerance_nm))
    for tree, share in zip(trees[1:], shares[1:], strict=True):
        whole = _added(whole, tree, share, tolerance_nm)
    skeleton = Skeleton(whole.nodes_nm, whole.radius_nm, whole.parent, whole.kind)
    return replace(best, skeleton=skeleton, confidence=whole.confidence), whole.share


def _near(finder: cKDTree, nodes_nm: Floats, tolerance_nm: float) -> Bools:
    away, _ = finder.query(nodes_nm, distance_upper_bound=tolerance_nm)
    return np.asarray(np.isfinite(away))


def _with_ancestors(wanted: Bools, parent: Ints, stop: Bools) -> Bools:
    """The wanted nodes and those above them, up to the roots or below the nodes of `stop`."""
    found = wanted.copy()
    for node in range(len(parent) - 1, -1, -1):
        above = parent[node]
        if found[node] and above >= 0 and not stop[above]:
            found[above] = True
    return found


def _without_stubs(kept: Bools, skeleton: Skeleton, shortest_nm: float) -> Bools:
    """The kept nodes less what a cut leaves of a branch because it is near the trunk, of which it is no part."""
    parent, found = skeleton.parent, kept.copy()
    step = np.zeros(len(parent))
    child, _ = skeleton.edges.T
    step[child] = skeleton.edge_lengths_nm()
    left = np.bincount(parent[kept & (parent >= 0)], minlength=len(parent))
    had = np.bincount(parent[parent >= 0], minlength=len(parent))
    for tip in np.flatnonzero(kept & (left == 0) & (had > 0)):
        run, length, node = [], 0.0, int(tip)
        while parent[node] >= 0 and left[node] < 2 and length <= shortest_nm:
            run.append(node)
            length += step[node]
            node = int(parent[node])
        if length <= shortest_nm and left[node] > 1:
            found[run] = False
            left[node] -= 1
    return found


def _part(tree: Finished, share: Floats, keep: Bools) -> _Grown:
    """The kept nodes of a tree, of which each but a root has its parent kept."""
    number, old = np.cumsum(keep) - 1, tree.skeleton
    above = old.parent[keep]
    parent = np.where(above >= 0, number[above], -1)
    return _Grown(old.nodes_nm[keep], old.radius_nm[keep], parent, old.kind[keep], tree.confidence[keep], share[keep])


def _added(whole: _Grown, tree: Finished, share: Floats, tolerance_nm: float) -> _Grown:
    """The consensus with the runs of a tree that are agreed on and lie beside it, hung where they leave it."""
    nodes, parent = tree.skeleton.nodes_nm, tree.skeleton.parent
    finder = cKDTree(whole.nodes_nm)
    beside = ~_near(cKDTree(_cable(whole, tolerance_nm / 2)), nodes, tolerance_nm)
    run = _with_ancestors(beside & (share >= 0.5), parent, ~beside)
    top = np.full(len(parent), -1, np.int64)
    length = np.zeros(len(parent))
    for node in np.flatnonzero(run):
        above = parent[node]
        if above < 0:
            continue
        # a run that never reaches the tree hangs on nothing and has no top
        top[node] = top[above] if run[above] else node
        if top[node] >= 0:
            length[top[node]] += np.linalg.norm(nodes[node] - nodes[above])
    keep = (top >= 0) & (length[top] >= 2 * tolerance_nm)
    if not keep.any():
        return whole
    number = len(whole.parent) + np.cumsum(keep) - 1
    leaves = keep & (top == np.arange(len(top)))
    new = np.where(keep, number[np.maximum(parent, 0)], -1)
    new[leaves] = finder.query(nodes[parent[leaves]])[1]
    old = tree.skeleton
    return _Grown(
        np.concatenate([whole.nodes_nm, nodes[keep]]),
        np.concatenate([whole.radius_nm, old.radius_nm[keep]]),
        np.concatenate([whole.parent, new[keep]]),
        np.concatenate([whole.kind, old.kind[keep]]),
        np.concatenate([whole.confidence, tree.confidence[keep]]),
        np.concatenate([whole.share, share[keep]]),
    )


def _cable(whole: _Grown, step_nm: float) -> Floats:
    return Skeleton(whole.nodes_nm, whole.radius_nm, whole.parent, whole.kind).resampled(step_nm).nodes_nm
