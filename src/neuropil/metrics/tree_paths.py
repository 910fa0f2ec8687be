"""Paths along a tree's cable, its branch points and ends, and the unbranched runs between them."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from neuropil.metrics.tree_pair import Floats, Ints, Tree

Int32s = NDArray[np.int32]


@dataclass(frozen=True)
class Places:
    """Places on the cable: `child` is the lower node of the edge, `above` how far up towards its parent, in steps."""

    child: Ints
    above: Floats

    def take(self, index: Ints) -> Places:
        """Some of them."""
        return Places(self.child[index], self.above[index])


class Paths:
    """Answers how long the cable is between any two places of a tree; O(N log N) to build, O(log N) to ask."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        count = len(tree.parent)
        ancestor = np.where(tree.parent >= 0, tree.parent, np.arange(count)).astype(np.int32)
        to_root = np.zeros(count)
        to_root[tree.child] = tree.lengths
        depth = (tree.parent >= 0).astype(np.int32)
        table = [ancestor]
        while depth[table[-1]].any():
            up = table[-1]
            to_root, depth = to_root + to_root[up], depth + depth[up]
            table.append(up[up])
        self.to_root: Floats = to_root
        self._depth, self._table = depth, np.ascontiguousarray(np.stack(table))

    @property
    def root(self) -> Int32s:
        """(N,) root above each node."""
        return np.asarray(self._table[-1], np.int32)

    def at_nodes(self, nodes: Ints) -> Places:
        """Nodes as places."""
        return Places(nodes, np.zeros(len(nodes)))

    def nearest(self, points: Floats) -> tuple[Floats, Places]:
        """Distance of points from the cable, and the nearest places of it."""
        tree, found = self.tree, self.tree.search.nearest(points)
        if not len(tree.child):
            return found.distance, self.at_nodes(found.edge)
        return found.distance, Places(tree.child[found.edge], found.along * tree.lengths[found.edge])

    def length(self, one: Places, other: Places) -> Floats:
        """Cable between places, pair by pair; infinite between separate trees."""
        return np.asarray(
            _lengths(one.child, one.above, other.child, other.above, self.to_root, self._depth, self._table)
        )


@numba.njit(cache=True, nogil=True)
def _lengths(
    a: Ints, above_a: Floats, b: Ints, above_b: Floats, to_root: Floats, depth: Int32s, table: Int32s
) -> Floats:
    found = np.empty(len(a))
    levels = len(table)
    for i in range(len(a)):
        u, v = a[i], b[i]
        if table[levels - 1, u] != table[levels - 1, v]:
            found[i] = np.inf
            continue
        from_a, from_b = to_root[u] - above_a[i], to_root[v] - above_b[i]
        if u != v:
            for k in range(levels - 1, -1, -1):
                if depth[u] - (1 << k) >= depth[v]:
                    u = table[k, u]
                elif depth[v] - (1 << k) >= depth[u]:
                    v = table[k, v]
            if u != v:
                for k in range(levels - 1, -1, -1):
                    if table[k, u] != table[k, v]:
                        u, v = table[k, u], table[k, v]
                u = table[0, u]
        if u == a[i] or u == b[i]:
            # one place lies above the other
            found[i] = abs(from_a - from_b)
        else:
            found[i] = from_a + from_b - 2 * to_root[u]
    return found


@dataclass(frozen=True)
class Runs:
    """The tree without what only lengthens it.

    `nodes` (K,) are branch points (three neighbours or more) and ends (one or none); `ends` (R, 2) the two of each
    unbranched run, as rows of `nodes`; `length` (R,) its cable.
    """

    nodes: Ints
    ends: Ints
    length: Floats


def critical(tree: Tree) -> Ints:
    """Branch points and ends: nodes that do not have two neighbours."""
    return np.flatnonzero(tree.degree != 2)


def runs(paths: Paths) -> Runs:
    """The unbranched runs between branch points and ends."""
    tree = paths.tree
    stop = (tree.degree != 2) | (tree.parent < 0)
    up = np.where(tree.parent >= 0, tree.parent, np.arange(len(tree.parent)))
    below = np.flatnonzero(stop & (tree.parent >= 0))
    above = up.copy()
    # doubling: each time, what has not reached a stop looks as far again
    while not stop[above].all():
        above = np.where(stop[above], above, above[above])
    top, length = above[below], paths.to_root[below] - paths.to_root[above[below]]
    # a root with two neighbours lies inside a run: its two halves become one
    through = tree.degree[top] == 2
    order = np.flatnonzero(through)[np.argsort(top[through], kind="stable")]
    halves = order.reshape(-1, 2)
    ends = np.concatenate([np.stack([below, top], axis=1)[~through], below[halves]])
    lengths = np.concatenate([length[~through], length[halves].sum(axis=1)])
    nodes = critical(tree)
    return Runs(nodes, np.searchsorted(nodes, ends), lengths)
