"""Agglomeration in a hierarchy of boxes: the merges that are certain before the whole is known, and what is left.

A fragment is *open* in a box if it goes on beyond it. The contacts of all others are known there, and two regions of
such fragments may merge at once if their contact is the best of both: for a mean, no later merge makes any of their
contacts better than the best of those it adds up. So every box takes what is left of its parts, merges what is
certain, and hands up the rest. The merges of all boxes are those of the whole's merge tree, to the bit
(docs/methods/blockwise.md says why).

Reciprocal best pairs: Murtagh, "A survey of recent advances in hierarchical clustering algorithms", The Computer
Journal 1983; Bruynooghe 1978 (reducibility).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config import SegmentConfig
from neuropil.post.filters import join_small
from neuropil.post.graph import RegionGraph
from neuropil.post.merging import MergeTree, agglomerated, joined
from neuropil.post.stitch import added_up, chosen, renumbered, with_far
from neuropil.post.tables import key_pairs, pair_keys

#: Voxel edges of a region up to which the means of two contacts, if they differ, differ as 64-bit floats too, also
#: after one merge: 255 * 2**22 * 2**23 is below 2**53.
EXACT_EDGES = 2**22
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Left:
    """What is undecided in a box.

    Parameters
    ----------
    near, far
        Contacts of two open fragments as far as they are counted in the box, by nearest edges and by longer ones.
    ends
        (E, 2) int64: lowest fragments of two regions that touch, of which one at least is not open.
    sums, counts
        (E,) int64 of all their voxel edges; see `RegionGraph`.
    ages
        (E,) int64, ascending: the first of the fragment pairs of the contact, as ``u << 32 | v``.
    fragments, levels
        (F,) int64, ascending: the open fragments, and the level at which each one no longer is (uint8).
    """

    near: RegionGraph
    far: RegionGraph
    ends: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    ages: npt.NDArray[np.int64]
    fragments: npt.NDArray[np.int64]
    levels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Contracted:
    """What a box knows more than its parts did.

    Parameters
    ----------
    left
        What is still undecided.
    settled
        Contacts of fragments that are complete here and were not in a part; no sizes.
    ages, scores
        (M,) int64 and float64 of the merges.
    """

    left: Left
    settled: RegionGraph
    ages: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def contractible(config: SegmentConfig) -> bool:
    """Whether the merges of the whole can be found in boxes.

    A mean with voxel edges added (`contact`) rises when contacts are added up. A quantile does not, but of two equal
    ones a contact may become the older, and so be taken before another that was better.
    """
    return config.score == "mean" and config.contact == 0


def box_levels(numbers: npt.NDArray[np.int64], places: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The level of every fragment: boxes of ``2**level`` blocks a side, from the first block on, hold all its pieces.

    Parameters
    ----------
    numbers
        (M + 1,) fragment of every piece, entry 0 is 0.
    places
        (M, 3) integers: place in the grid of the block of every piece.
    """
    count = int(numbers.max(initial=0))
    found = np.zeros(count + 1, np.uint8)
    for along in places.T:
        low, high = np.full(count + 1, np.iinfo(along.dtype).max), np.zeros(count + 1, along.dtype)
        np.minimum.at(low, numbers[1:], along)
        np.maximum.at(high, numbers[1:], along)
        low[0] = 0
        # the exponent of a number that is not 0 is its length in bits
        found = np.maximum(found, np.frexp((low ^ high).astype(np.float64))[1].astype(np.uint8))
    return found


def of_block(
    tables: Mapping[str, npt.NDArray[Any]], numbers: npt.NDArray[np.int64], levels: npt.NDArray[np.uint8]
) -> Left:
    """All that a block knows of contacts, as if every fragment were open.

    Parameters
    ----------
    tables
        Its contacts between pieces, `near_..` and `far_..`.
    numbers, levels
        (n + 1,) fragment of every piece, and its level.
    """
    near, far = (renumbered(unpacked(tables, side), numbers) for side in ("near_", "far_"))
    fragments, at = np.unique(numbers[1:], return_index=True)
    return Left(near, far, np.zeros((0, 2), np.int64), _NONE, _NONE, _NONE, fragments, levels[1:][at])


def contracted(parts: Sequence[Left], level: int | None) -> Contracted:
    """Merge what is certain in a box.

    Parameters
    ----------
    parts
        What is left of the boxes in it, at least one.
    level
        Of the box; None: it is the whole, and all is certain.
    """
    near, far = added_up(part.near for part in parts), added_up(part.far for part in parts)
    fragments, at = np.unique(np.concatenate([part.fragments for part in parts]), return_index=True)
    levels = np.concatenate([part.levels for part in parts])[at]
    still = levels > level if level is not None else np.zeros(len(levels), np.bool_)
    fragments, levels = fragments[still], levels[still]
    near_open, far_open = (np.all(_among(fragments, graph.edges), axis=1) for graph in (near, far))
    settled = with_far(chosen(near, ~near_open), chosen(far, ~far_open))
    ends = np.concatenate([*(part.ends for part in parts), settled.edges])
    sums, counts, ages = (
        np.concatenate([*(getattr(part, name) for part in parts), last])
        for name, last in (("sums", settled.sums), ("counts", settled.counts), ("ages", pair_keys(settled.edges)))
    )
    order = np.argsort(ages)
    rows = (ends[order], sums[order], counts[order], ages[order])
    left = Left(chosen(near, near_open), chosen(far, far_open), *rows, fragments, levels)
    return _merged(left, settled, np.inf if level is None else float(EXACT_EDGES))


def complete_tree(found: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]], nodes: int) -> MergeTree:
    """The merge tree of the whole from the ages and scores of the merges of all boxes."""
    parts = list(found)
    ages = np.concatenate([_NONE, *(a for a, _ in parts)])
    scores = np.concatenate([np.zeros(0), *(s for _, s in parts)])
    order = np.lexsort((ages, -scores))
    ages, scores = ages[order], scores[order]
    return MergeTree(key_pairs(ages), scores, np.minimum.accumulate(scores), nodes)


def join_small_streamed(
    lookup: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], contacts: Iterable[RegionGraph], min_size: int
) -> npt.NDArray[np.int64]:
    """What `join_small` gives, from contacts that come in parts; only those of small objects are held.

    Parameters
    ----------
    lookup
        (n + 1,) object of every fragment, in order of the lowest fragment; entry 0 is 0.
    sizes
        (n + 1,) voxels of every fragment.
    contacts
        All contacts of fragments, each in one part.
    min_size
        Voxels.
    """
    total = np.zeros(int(lookup.max(initial=0)) + 1, np.int64)
    np.add.at(total, lookup, sizes)
    small = total < min_size

    def of_small() -> Iterable[RegionGraph]:
        yield _contacts(np.zeros((0, 2), np.int64), _NONE, _NONE)
        for part in contacts:
            between = renumbered(part, lookup)
            yield chosen(between, np.any(small[between.edges], axis=1))

    graph = replace(added_up(of_small()), sizes=total)
    return join_small(np.arange(len(total)), graph, min_size)[lookup]


def packed(found: Contracted) -> dict[str, npt.NDArray[Any]]:
    """As arrays by name."""
    left = found.left
    graphs = (("near_", left.near), ("far_", left.far), ("settled_", found.settled))
    tables = {f"{name}{k}": getattr(graph, k) for name, graph in graphs for k in ("edges", "sums", "counts")}
    tables |= {k: getattr(left, k) for k in ("ends", "sums", "counts", "ages", "fragments", "levels")}
    return tables | {"merged_ages": found.ages, "merged_scores": found.scores}


def unpacked(tables: Mapping[str, npt.NDArray[Any]], prefix: str) -> RegionGraph:
    """Contacts from arrays by name, without histograms and sizes."""
    return _contacts(*(tables[f"{prefix}{k}"] for k in ("edges", "sums", "counts")))


def unpacked_left(tables: Mapping[str, npt.NDArray[Any]]) -> Left:
    """What was undecided, from arrays by name."""
    rest = (tables[k] for k in ("ends", "sums", "counts", "ages", "fragments", "levels"))
    return Left(unpacked(tables, "near_"), unpacked(tables, "far_"), *rest)


def _contacts(edges: npt.NDArray[np.int64], sums: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> RegionGraph:
    return RegionGraph(edges, sums, counts, _NONE, _NONE, np.zeros(0, np.uint8), _NONE)


def _among(known: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which values are in an ascending array."""
    if not len(known):
        return np.zeros(values.shape, np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values)


def _merged(left: Left, settled: RegionGraph, limit: float) -> Contracted:
    """Merge among the contacts that are complete."""
    regions, local = np.unique(left.ends, return_inverse=True)
    local = local.reshape(-1, 2) + 1
    barred = np.concatenate([[False], _among(left.fragments, regions)])
    ends, sums, counts = local.astype(np.int32), left.sums.astype(np.float64), left.counts.astype(np.float64)
    unused = np.zeros(1, np.int64)
    merged, scores, alive = agglomerated(
        ends,
        (sums, counts),
        (unused, unused, np.zeros(1, np.uint8), unused),
        (len(regions), -1.0, 0.0),
        (barred, limit),
    )
    # regions go by their lowest fragment: numbers must not tell in which order they merged
    lookup = joined(len(regions), local[merged])
    lowest = regions[np.unique(lookup[1:], return_index=True)[1]]
    undecided = replace(
        left,
        ends=np.sort(lowest[lookup[ends[alive]] - 1], axis=1).reshape(-1, 2),
        sums=sums[alive].astype(np.int64),
        counts=counts[alive].astype(np.int64),
        ages=left.ages[alive],
    )
    return Contracted(undecided, settled, left.ages[merged], scores)
