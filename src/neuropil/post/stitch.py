"""From the parts of blocks to the whole: which pieces are one fragment, and the contacts of all fragments.

Everything here is a union or a sum of integers, so neither the blocks nor their order show in the result: fragments are
numbered in order of their first voxel, contacts in order of their fragments, as if the volume had been one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numba
import numpy as np
import numpy.typing as npt

from neuropil.geometry import Box
from neuropil.post.ascent import root_of
from neuropil.post.graph import RegionGraph
from neuropil.post.tables import key_pairs, pair_keys

#: Rows of contacts that are kept apart before they are summed.
_HELD = 2**22


def shared_pieces(
    margins: Sequence[tuple[Box, npt.NDArray[np.int32]]], rims: Sequence[tuple[Box, npt.NDArray[np.int32]]]
) -> npt.NDArray[np.int64]:
    """Which pieces of a block are which pieces of an earlier one.

    Parameters
    ----------
    margins, rims
        Boxes with the block's pieces in its margins, and with the earlier block's own pieces there.

    Returns
    -------
    pairs
        (P, 2) int64 (own piece, the other's piece), each pair once, ascending.
    """
    found = [np.zeros((0, 2), np.int64)]
    for margin, own in margins:
        for rim, theirs in rims:
            common = margin.intersected(rim)
            if common.size:
                a, b = own[common.slices(margin.start)], theirs[common.slices(rim.start)]
                both = np.stack([a[a > 0], b[a > 0]], 1).astype(np.int64)
                found.append(key_pairs(np.unique(pair_keys(both))))
    return np.asarray(np.unique(np.concatenate(found), axis=0))


def fragment_numbers(first: npt.NDArray[np.int64], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The fragment of every piece.

    Parameters
    ----------
    first
        (M,) place of the first voxel of the pieces 1 .. M of all blocks.
    pairs
        (P, 2) pieces that belong together.

    Returns
    -------
    numbers
        (M + 1,) fragments 1 .. n in order of their first voxel; entry 0 is 0.
    """
    roots = np.empty(len(first) + 1, np.int64)
    _roots(pairs, roots)
    place = np.full(len(first) + 1, np.iinfo(np.int64).max)
    np.minimum.at(place, roots[1:], first)
    own = np.flatnonzero(roots[1:] == np.arange(1, len(roots))) + 1
    numbers = np.zeros(len(roots), np.int64)
    numbers[own[np.argsort(place[own])]] = np.arange(1, len(own) + 1)
    return numbers[roots]


def renumbered(graph: RegionGraph, numbers: npt.NDArray[np.int64]) -> RegionGraph:
    """A block's contacts between fragments, of which pieces are parts; its sizes are left out.

    Parameters
    ----------
    numbers
        (n + 1,) fragment of every piece of the block.
    """
    ends = np.sort(numbers[graph.edges], axis=1)
    return _summed(replace(graph, edges=ends, sizes=np.zeros(0, np.int64)))


def added_up(graphs: Iterable[RegionGraph]) -> RegionGraph:
    """The sum of at least one graph over the same fragments, without their sizes."""
    held: list[RegionGraph] = []
    rows, floor = 0, _HELD
    for graph in graphs:
        held.append(graph)
        rows += len(graph.edges)
        if rows > floor:
            held = [_sum_of(held)]
            rows = len(held[0].edges)
            floor = max(_HELD, 2 * rows)
    return _sum_of(held)


def with_far(near: RegionGraph, far: RegionGraph) -> RegionGraph:
    """Contacts with what long edges add to them; long edges make no contact of their own."""
    mine, theirs = pair_keys(near.edges), pair_keys(far.edges)
    at = np.minimum(np.searchsorted(mine, theirs), max(0, len(mine) - 1))
    known = mine[at] == theirs if len(mine) else np.zeros(len(theirs), np.bool_)
    return replace(_sum_of([near, chosen(far, known)]), sizes=near.sizes)


def chosen(graph: RegionGraph, wanted: npt.NDArray[np.bool_]) -> RegionGraph:
    """Some of the contacts, in their order."""
    starts, bins, tallies = graph.starts, graph.bins, graph.tallies
    if graph.has_histograms:
        rows = np.repeat(wanted, np.diff(starts))
        starts = np.concatenate([[0], np.cumsum(np.diff(starts)[wanted])])
        bins, tallies = bins[rows], tallies[rows]
    return RegionGraph(
        graph.edges[wanted], graph.sums[wanted], graph.counts[wanted], graph.sizes, starts, bins, tallies
    )


def _sum_of(graphs: Sequence[RegionGraph]) -> RegionGraph:
    """Contacts of several graphs, those of one pair added up."""
    if len(graphs) == 1:
        return graphs[0]
    none = np.zeros(0, np.int64)
    histograms = all(g.has_histograms for g in graphs) and len(graphs) > 0
    starts = (
        np.concatenate([[0], np.cumsum(np.concatenate([np.diff(g.starts) for g in graphs]))]) if histograms else none
    )
    joint = RegionGraph(
        np.concatenate([np.zeros((0, 2), np.int64), *(g.edges for g in graphs)]),
        np.concatenate([none, *(g.sums for g in graphs)]),
        np.concatenate([none, *(g.counts for g in graphs)]),
        none,
        starts,
        np.concatenate([np.zeros(0, np.uint8), *(g.bins for g in graphs)]),
        np.concatenate([none, *(g.tallies for g in graphs)]),
    )
    return _summed(joint)


def _summed(graph: RegionGraph) -> RegionGraph:
    """Add up the rows of equal pairs, and drop those of two equal ends: what touches itself is no contact."""
    graph = chosen(graph, graph.edges[:, 0] != graph.edges[:, 1])
    keys = pair_keys(graph.edges)
    order = np.argsort(keys, kind="stable")
    unique, begin = np.unique(keys[order], return_index=True)
    if not len(unique):
        return replace(graph, edges=np.zeros((0, 2), np.int64))
    starts, bins, tallies = graph.starts, graph.bins, graph.tallies
    if graph.has_histograms:
        rank = np.empty(len(keys), np.int64)
        rank[order] = np.repeat(np.arange(len(unique)), np.diff([*begin, len(keys)]))
        rows = np.repeat(rank, np.diff(starts)) << 8 | bins
        values, inverse = np.unique(rows, return_inverse=True)
        tallies = np.zeros(len(values), np.int64)
        np.add.at(tallies, inverse, graph.tallies)
        bins = (values & 255).astype(np.uint8)
        starts = np.searchsorted(values >> 8, np.arange(len(unique) + 1))
    return RegionGraph(
        key_pairs(unique),
        np.add.reduceat(graph.sums[order], begin),
        np.add.reduceat(graph.counts[order], begin),
        graph.sizes,
        starts,
        bins,
        tallies,
    )


@numba.njit(cache=True, nogil=True)
def _roots(pairs, roots):  # type: ignore[no-untyped-def]
    """Representative of every piece after joining all pairs."""
    for v in range(roots.size):
        roots[v] = v
    for i in range(pairs.shape[0]):
        a, b = root_of(roots, pairs[i, 0]), root_of(roots, pairs[i, 1])
        if a < b:
            roots[b] = a
        else:
            roots[a] = b
    for v in range(roots.size):
        roots[v] = root_of(roots, v)
