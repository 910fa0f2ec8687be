"""Bridges over gaps in the staining: from the tips of one piece to the nearest nodes of another.

A bridge is the surer the shorter it is and the straighter it goes on: its confidence is exp(-c / gap) with
``c = length (1 + turn (1 - cos angle))``. Pieces are joined by the surest bridges first (a minimum spanning tree of
pieces), so the result is a forest whatever the order of tips.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet
from scipy.spatial import cKDTree

from neuropil.tracing.tree import Floats, Ints, Tree

#: Neighbours of a tip that are looked at for one of another piece.
_NEAREST = (16, 128, 1024)


def bridges(tree: Tree, *, gap_nm: float, turn: float, min_confidence: float) -> tuple[Ints, Floats]:
    """(B, 2) pairs tip, node and their (B,) confidences; with the tree's edges they close no circle."""
    if tree.piece.max(initial=0) < 1 or gap_nm <= 0:
        return np.empty((0, 2), np.int64), np.empty(0)
    ends = np.flatnonzero((tree.children() == 0) | ((tree.parent < 0) & (tree.children() == 1)))
    pairs = _nearest_others(tree, ends, gap_nm)
    away = tree.nodes_nm[pairs[:, 1]] - tree.nodes_nm[pairs[:, 0]]
    length = np.linalg.norm(away, axis=1)
    cosine = (outward(tree, pairs[:, 0]) * away).sum(axis=1) / np.maximum(length, 1e-9)
    sure = np.exp(-length * (1 + turn * (1 - cosine)) / gap_nm)
    chosen = _spanning(tree.piece[pairs], sure, min_confidence)
    return pairs[chosen], sure[chosen]


def outward(tree: Tree, ends: Ints) -> Floats:
    """(n, 3) unit directions in which branches end, taken over the last ten nodes."""
    below, back = tree.last_child(), ends.copy()
    for _ in range(10):
        above = np.where(tree.parent[ends] >= 0, tree.parent[back], below[back])
        back = np.where(above >= 0, above, back)
    way = tree.nodes_nm[ends] - tree.nodes_nm[back]
    return np.asarray(way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9))


def _nearest_others(tree: Tree, ends: Ints, gap_nm: float) -> Ints:
    """(P, 2) pairs of a tip and the nearest node of each other piece among its nearest nodes."""
    finder, left, found = cKDTree(tree.nodes_nm), ends, []
    for count in _NEAREST:
        if not left.size:
            break
        k = min(count, len(tree))
        away, near = finder.query(tree.nodes_nm[left], k=np.arange(1, k + 1), distance_upper_bound=gap_nm)
        inside = np.isfinite(away)
        other = inside & (tree.piece[np.where(inside, near, 0)] != tree.piece[left][:, None])
        tip, rank = np.nonzero(other)
        found.append(np.stack([left[tip], near[tip, rank]], axis=1))
        # all of them inside the gap and of the same piece: look farther
        left = left[inside.all(axis=1) & ~other.any(axis=1)] if k < len(tree) else left[:0]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found]).astype(np.int64)
    # of each tip, the first (nearest) node of each other piece
    _, first = np.unique(np.stack([pairs[:, 0], tree.piece[pairs[:, 1]]], 1), axis=0, return_index=True)
    return pairs[np.sort(first)]


def _spanning(ends: Ints, sure: Floats, least: float) -> npt.NDArray[np.int64]:
    """Bridges of a maximum spanning forest of pieces; `ends` are the (P, 2) pieces that each one joins."""
    joined = DisjointSet(np.unique(ends).tolist())
    best_first = np.argsort(-sure, kind="stable")
    good = best_first[sure[best_first] >= least]
    return np.array([i for i, (a, b) in zip(good, ends[good].tolist(), strict=True) if joined.merge(a, b)], np.int64)
