"""Affinities to neurons: fragments, their contacts, one merge tree, and a cut at any threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config import SegmentConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3
from neuropil.post.filters import biased, join_small, looked_up
from neuropil.post.fragments import as_bytes, label_fragments, nearest_edges
from neuropil.post.graph import RegionGraph, region_graph
from neuropil.post.merging import MergeTree, Rule, merge_tree

__all__ = ["Hierarchy", "MergeTree", "Rule", "hierarchy", "merge_tree", "segment", "sweep"]


@dataclass(frozen=True)
class Hierarchy:
    """Everything that all thresholds share.

    Parameters
    ----------
    fragments_ZYX
        int32 ids 1 .. n, 0 = background.
    graph, tree
        Contacts of the fragments, and all merges.
    min_size
        Voxels; smaller objects join their best neighbour or vanish.
    """

    fragments_ZYX: npt.NDArray[np.int32]
    graph: RegionGraph
    tree: MergeTree
    min_size: int

    def lookup(self, threshold: float) -> npt.NDArray[np.int64]:
        """(n + 1,) object of every fragment. Score a threshold by the contingency of fragments, not of voxels."""
        return join_small(self.tree.cut(threshold), self.graph, self.min_size)

    def labels(self, threshold: float) -> npt.NDArray[np.uint64]:
        """(Z, Y, X) objects 1 .. k in order of first voxel."""
        return looked_up(self.lookup(threshold), self.fragments_ZYX)


def segment(
    aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]], voxel_size: Float3, config: SegmentConfig
) -> npt.NDArray[np.uint64]:
    """Segment affinities by hierarchical agglomeration of fragments.

    Parameters
    ----------
    aff_CZYX
        (C, Z, Y, X) affinities, uint8 (0..255) or float (0..1).
    offsets
        Steps z, y, x of the channels, either sign; the nearest neighbours must be among them.
    voxel_size
        nm, z, y, x.
    config
        `threshold` must be set.

    Returns
    -------
    labels
        (Z, Y, X) uint64 objects 1 .. k in order of first voxel, 0 = background.

    Raises
    ------
    ConfigError
        If the threshold is not set, or the biases do not fit the channels.
    InputError
        If the affinities cannot be used.
    """
    if config.threshold is None:
        raise ConfigError(
            "segment.threshold is not set",
            "a number between 0 and 1",
            "segment with a run (its threshold is calibrated), or give --set segment.threshold=0.5",
        )
    return hierarchy(aff_CZYX, offsets, voxel_size, config).labels(config.threshold)


def sweep(
    aff_CZYX: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    voxel_size: Float3,
    config: SegmentConfig,
    thresholds: Iterable[float],
) -> Iterator[tuple[float, npt.NDArray[np.uint64]]]:
    """Yield (threshold, labels) for many thresholds at little more than the cost of one."""
    whole = hierarchy(aff_CZYX, offsets, voxel_size, config)
    for threshold in thresholds:
        yield threshold, whole.labels(threshold)


def hierarchy(
    aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]], voxel_size: Float3, config: SegmentConfig
) -> Hierarchy:
    """Fragments, contacts and merge tree of a volume; see `segment` for the arguments and errors."""
    aff = biased(as_bytes(aff_CZYX, offsets), config.bias)
    fragments, _ = label_fragments(nearest_edges(aff, offsets), voxel_size, config.fragments)
    graph = region_graph(fragments, aff, offsets, histograms=config.score == "quantile", long_range=config.long_range)
    tree = merge_tree(graph, Rule(config.score, config.quantile, config.contact))
    return Hierarchy(fragments, graph, tree, config.min_size)
