"""A threshold from few labels: where merges stop being right more often than wrong.

A slab with a hundred fragments holds a few large neurons, and whether one of them is joined moves its VOI by more than
all else does: the best threshold on it is that of one contact. Merges are many, and each is right or wrong. The
threshold that maximises (right merges) - (wrong merges) uses all of them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.metrics.overlap import BACKGROUND_IDS, Contingency
from neuropil.post.merging import MergeTree

__all__ = ["Judged", "judged", "right_or_wrong"]


@dataclass(frozen=True)
class Judged:
    """Merges of one or several trees and whether they were right.

    Parameters
    ----------
    levels
        (M,) score at which each merge happens.
    right
        (M,) whether both sides belong, by most of their voxels, to one true object.
    """

    levels: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]


def judged(tree: MergeTree, table: Contingency) -> Judged:
    """Judge the merges of a tree by the truth; those of objects without a true one are left out.

    Parameters
    ----------
    table
        Voxels of each fragment in each true object, `contingency(truth, fragments)`.
    """
    known = table.without(truth=BACKGROUND_IDS, pred=(0,))
    held: list[dict[int, int]] = [{} for _ in range(tree.nodes + 1)]
    for truth, fragment, voxels in zip(known.truth, known.pred, known.voxels, strict=True):
        held[int(fragment)][int(truth)] = int(voxels)
    parent = list(range(tree.nodes + 1))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    levels, right = [], []
    for (first, second), level in zip(tree.pairs, tree.levels, strict=True):
        a, b = root(int(first)), root(int(second))
        if held[a] and held[b]:
            levels.append(float(level))
            right.append(_foremost(held[a]) == _foremost(held[b]))
        # the smaller list of overlaps is moved, so that all merges together cost n log n
        a, b = (a, b) if len(held[a]) >= len(held[b]) else (b, a)
        for truth, voxels in held[b].items():
            held[a][truth] = held[a].get(truth, 0) + voxels
        held[b], parent[b] = {}, a
    return Judged(np.array(levels), np.array(right, bool))


def _foremost(overlaps: dict[int, int]) -> int:
    """The true object with most voxels, of several the lowest."""
    return min(overlaps, key=lambda truth: (-overlaps[truth], truth))


def right_or_wrong(trees: Sequence[Judged], thresholds: Sequence[float]) -> float:
    """The threshold with the greatest (right merges) - (wrong merges); the middle where several have it.

    Parameters
    ----------
    thresholds
        Those to choose from, ascending.
    """
    levels = np.concatenate([tree.levels for tree in trees])
    worth = np.where(np.concatenate([tree.right for tree in trees]), 1, -1)
    gain = np.array([worth[levels >= threshold].sum() for threshold in thresholds])
    best = np.flatnonzero(gain == gain.max())
    return float(thresholds[best[len(best) // 2]])
