"""What a way to decode must be able to do to work in blocks; and the same of a volume that is one block.

A decoder looks at a block and tells its pieces and some tables (`part`); adds the tables of all blocks up to a graph
of fragments (`graph`); and says which fragments are which object (`objects`). Which pieces of blocks are one fragment
is not its concern (`neuropil.post.stitch`). What it adds up must not depend on an order: sums of integers, maxima,
unions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config import SegmentConfig
from neuropil.errors import InputError
from neuropil.geometry import Box, Float3
from neuropil.post.blocks import Cutting, Pieces, block_part, cutting
from neuropil.post.contraction import contractible
from neuropil.post.filters import join_small, looked_up
from neuropil.post.graph import RegionGraph
from neuropil.post.merging import MergeTree, Rule, merge_tree
from neuropil.post.stitch import added_up, renumbered, with_far

#: Arrays by name.
Tables: TypeAlias = Mapping[str, npt.NDArray[Any]]
#: The tables of every block, each with the (n + 1,) fragment of its every piece; may be gone through several times.
Parts: TypeAlias = Callable[[], Iterator[tuple[Tables, npt.NDArray[np.int64]]]]

_GRAPH = ("edges", "sums", "counts", "sizes", "starts", "bins", "tallies")
_TREE = ("pairs", "scores", "levels")


class Decoder(Protocol):
    """A way from a stored prediction to objects that gives the same in any blocks."""

    @property
    def cut(self) -> Cutting:
        """Which channels it reads, and how far a block must see."""

    def part(self, stored_CZYX: npt.NDArray[Any], *, write: Box, volume: Box) -> tuple[Pieces, Tables]:
        """Pieces of a block, and what is known of them.

        Parameters
        ----------
        stored_CZYX
            The channels `cut.channels` of the voxels of `read_box(cut, write, volume)`.
        write, volume
            The voxels of the block, and all there are.

        Raises
        ------
        InputError
            If it cannot be decoded.
        """

    def graph(self, parts: Parts, count: int) -> dict[str, npt.NDArray[Any]]:
        """All that objects are decided from, of `count` fragments: at least their `sizes` and the `edges` between them.

        Entry 0 of what is kept by fragment is background.
        """

    def objects(self, graph: Tables) -> npt.NDArray[np.int64]:
        """(n + 1,) object of every fragment, 1 .. k in order of the lowest fragment; 0 = background."""


def whole(decoder: Decoder, stored_CZYX: npt.NDArray[Any], voxel_size: Float3) -> npt.NDArray[np.uint64]:
    """Decode a volume (all channels; nm, z, y, x) as one block: (Z, Y, X) objects 1 .. n in order of first voxel.

    Raises
    ------
    InputError
        If it cannot be decoded.
    """
    require_decodable(decoder, stored_CZYX.shape, stored_CZYX.dtype, "a prediction")
    z, y, x = stored_CZYX.shape[1:]
    box = Box((0, 0, 0), (z, y, x), voxel_size)
    pieces, tables = decoder.part(stored_CZYX[list(decoder.cut.channels)], write=box, volume=box)
    count = len(pieces.first)
    graph = decoder.graph(lambda: iter([(tables, np.arange(count + 1))]), count)
    return looked_up(decoder.objects(graph), pieces.labels_ZYX)


def require_decodable(decoder: Decoder, shape: Sequence[int], dtype: npt.DTypeLike, name: str) -> None:
    """Refuse what is not stored as predictions are.

    Raises
    ------
    InputError
        If it is not (C, Z, Y, X) uint8 with all channels that are asked for.
    """
    need = max(decoder.cut.channels) + 1
    if len(shape) != 4 or shape[0] < need or np.dtype(dtype) != np.uint8:
        raise InputError(
            f"{name}: {np.dtype(dtype)} of shape {tuple(shape)}",
            f"uint8 of shape (channels, z, y, x) with at least {need} channels",
            "give what `neuropil predict` wrote; values 0 to 1 are stored as 0 to 255",
        )


@dataclass(frozen=True)
class Neurons:
    """Affinities to neurons: fragments, and their contacts agglomerated (`neuropil.post.agglomerate`).

    Parameters
    ----------
    offsets
        Of the affinities.
    voxel_size
        nm, z, y, x.
    config
        How to segment; the threshold is set before objects are asked for.
    """

    offsets: Offsets
    voxel_size: Float3
    config: SegmentConfig

    @property
    def cut(self) -> Cutting:
        """See `Decoder`."""
        return cutting(self.offsets, self.voxel_size, self.config)

    def part(self, stored_CZYX: npt.NDArray[Any], *, write: Box, volume: Box) -> tuple[Pieces, Tables]:
        """See `Decoder`."""
        found = block_part(stored_CZYX, self.cut, self.config, write=write, volume=volume)
        return found.pieces, _stored(found.near, "near_") | _stored(found.far, "far_")

    def graph(self, parts: Parts, count: int) -> dict[str, npt.NDArray[Any]]:
        """See `Decoder`; with the merge tree."""
        near, far = (
            added_up(renumbered(_region_graph(tables, side), numbers) for tables, numbers in parts())
            for side in ("near_", "far_")
        )
        graph = replace(with_far(near, far), sizes=summed(parts, "near_sizes", count))
        config = self.config
        tree = merge_tree(graph, Rule(config.score, config.quantile, config.contact))
        return _stored(graph, "") | {f"tree_{k}": getattr(tree, k) for k in _TREE}

    def objects(self, graph: Tables) -> npt.NDArray[np.int64]:
        """See `Decoder`."""
        assert self.config.threshold is not None
        found = _region_graph(graph, "")
        pairs, scores, levels = (graph[f"tree_{k}"] for k in _TREE)
        tree = MergeTree(pairs, scores, levels, found.nodes)
        return join_small(tree.cut(self.config.threshold), found, self.config.min_size)


def contracts(decoder: Decoder) -> bool:
    """Whether what is decided from contacts can be decided in boxes first (`neuropil.post.contraction`)."""
    return isinstance(decoder, Neurons) and contractible(decoder.config)


def summed(parts: Parts, name: str, count: int) -> npt.NDArray[np.int64]:
    """(count + 1,) the sum over the pieces of every fragment of one of their tables."""
    total = np.zeros(count + 1, np.int64)
    for tables, numbers in parts():
        np.add.at(total, numbers, tables[name])
    return total


def _stored(graph: RegionGraph, prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}{k}": getattr(graph, k) for k in _GRAPH}


def _region_graph(tables: Tables, prefix: str) -> RegionGraph:
    return RegionGraph(*(tables[f"{prefix}{k}"] for k in _GRAPH))
