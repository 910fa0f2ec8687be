"""A traced tree beside a true one, in steps; what several scores need of them is worked out once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuropil.config.trees import TreeScoreConfig
from neuropil.errors import InputError
from neuropil.metrics.tree_search import SegmentTree
from neuropil.skeleton import Skeleton

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: More samples of cable than this are a mistake of units.
MOST_SAMPLES = 2e8


@dataclass(frozen=True)
class Pieces:
    """Cable cut into short pieces, in rows that run along each edge from child to parent.

    `middle` (P, 3), `length` (P,) in steps, `edge` (P,) number of the edge that it is of. A tree without cable has its
    nodes as pieces, each of weight 1; `length` is then their weight, `edge` the node.
    """

    middle: Floats
    length: Floats
    edge: Ints


class Tree:
    """A skeleton in steps.

    Parameters
    ----------
    skeleton
        The tree or forest.
    step_nm
        Length of a step in nm.
    name
        Who it is, for messages.

    Raises
    ------
    InputError
        If it has no nodes.
    """

    def __init__(self, skeleton: Skeleton, step_nm: float, name: str) -> None:
        if not len(skeleton.nodes_nm):
            raise InputError(f"a {name} tree without nodes", "at least one node", "count a failed trace as a failure")
        self.name = name
        self.nodes: Floats = skeleton.nodes_nm / step_nm
        self.parent: Ints = skeleton.parent
        self.child: Ints = np.flatnonzero(skeleton.parent >= 0)
        self.first: Floats = self.nodes[self.child]
        self.second: Floats = self.nodes[self.parent[self.child]]
        self.lengths: Floats = np.linalg.norm(self.second - self.first, axis=1)

    @property
    def length(self) -> float:
        """Cable in steps."""
        return float(self.lengths.sum())

    @cached_property
    def degree(self) -> Ints:
        """(N,) neighbours of each node, whichever way the tree is rooted."""
        children = np.bincount(self.parent[self.child], minlength=len(self.parent))
        return np.asarray(children + (self.parent >= 0), np.int64)

    @cached_property
    def search(self) -> SegmentTree:
        """Finds the nearest edge, or the nearest node of a tree without edges."""
        return SegmentTree(self.first, self.second) if len(self.child) else SegmentTree(self.nodes, self.nodes)

    def samples(self, counts: Ints, *, inside: bool) -> tuple[Floats, Ints]:
        """Evenly spaced points of each edge, from child to parent, and the edge of each.

        Parameters
        ----------
        counts
            (E,) points of each edge.
        inside
            Whether they are the middles of as many equal pieces; otherwise both ends are among them (a lone point is
            the child).
        """
        total = float(counts.sum(dtype=np.float64))
        if total > MOST_SAMPLES:
            raise InputError(
                f"a {self.name} tree of {self.length:.3g} steps", "cable that can be followed step by step",
                "check the units: a step should be about a voxel long",
            )  # fmt: skip
        edge = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        share = (within + 0.5) / counts[edge] if inside else within / np.maximum(counts[edge] - 1, 1)
        return self.first[edge] + share[:, None] * (self.second[edge] - self.first[edge]), edge

    def pieces(self, most: float) -> Pieces:
        """The cable in pieces of at most `most` steps."""
        if not self.lengths.any():
            return Pieces(self.nodes, np.ones(len(self.nodes)), np.arange(len(self.nodes)))
        counts = np.ceil(self.lengths / most - 1e-9).clip(min=self.lengths > 0).astype(np.int64)
        middle, edge = self.samples(counts, inside=True)
        return Pieces(middle, (self.lengths / np.maximum(counts, 1))[edge], edge)


class TreePair:
    """Two trees that are compared.

    Parameters
    ----------
    truth, test
        The true tree, and the one that is scored.
    step_nm
        Length in nm of a step: all scores with a length are in steps. For trees in voxels it is the size of a voxel.
    config
        Tolerances and convention.

    Raises
    ------
    InputError
        If a tree has no nodes, or the step is not positive.
    """

    def __init__(self, truth: Skeleton, test: Skeleton, *, step_nm: float, config: TreeScoreConfig) -> None:
        if not (math.isfinite(step_nm) and step_nm > 0):
            raise InputError(f"a step of {step_nm} nm", "a positive number")
        self.truth, self.test = Tree(truth, step_nm, "true"), Tree(test, step_nm, "traced")
        self.step_nm, self.config = step_nm, config

    @cached_property
    def truth_pieces(self) -> Pieces:
        """The true cable in pieces."""
        return self.truth.pieces(self.config.piece)

    @cached_property
    def test_pieces(self) -> Pieces:
        """The traced cable in pieces."""
        return self.test.pieces(self.config.piece)

    @cached_property
    def truth_apart(self) -> Floats:
        """Distance of each piece of the truth from the nearest traced cable, in steps."""
        return self.test.search.nearest(self.truth_pieces.middle).distance

    @cached_property
    def test_apart(self) -> Floats:
        """Distance of each traced piece from the nearest true cable, in steps."""
        return self.truth.search.nearest(self.test_pieces.middle).distance
