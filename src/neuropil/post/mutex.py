"""Mutex watershed: nearest affinities attract, long-range ones repel, the surest evidence is heard first.

Order of edges: weight (the affinity of an attractive edge, 255 minus it of a repulsive one) from high to low; equal
weights by channel, attractive ones first, then by voxel. The order is total, so the answer is unique. It is also
global: a chain of decisions may cross the whole volume, so no bounded halo makes blocks agree exactly with the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neuropil.affinities import as_offsets
from neuropil.config import SegmentConfig
from neuropil.errors import InputError
from neuropil.geometry import Float3
from neuropil.post.ascent import root_of
from neuropil.post.filters import biased, join_small, looked_up
from neuropil.post.fragments import as_bytes, label_fragments_of, nearest_edges, tissue
from neuropil.post.graph import region_graph
from neuropil.post.tables import GONE, append, find, put

CHUNK = 1 << 15  #: edges between two looks at whether the tables are large enough


def segment(
    aff_CZYX: npt.NDArray[Any], offsets: Sequence[Sequence[int]], voxel_size: Float3, config: SegmentConfig
) -> npt.NDArray[np.uint64]:
    """Segment affinities by mutex watershed.

    Parameters
    ----------
    aff_CZYX
        (C, Z, Y, X) affinities, uint8 (0..255) or float (0..1).
    offsets
        Steps z, y, x, either sign. Steps of length one attract, longer ones repel; both kinds are needed.
    voxel_size
        nm, z, y, x; not used, every segmenter takes it.
    config
        `strides`, `bias`, `min_size` and `fragments.background` are used; there is no threshold.

    Returns
    -------
    labels
        (Z, Y, X) uint64 objects 1 .. k in order of first voxel, 0 = background.

    Raises
    ------
    InputError
        If either kind of channel is missing, or there are 2**32 edges or more.

    References
    ----------
    Wolf et al., "The mutex watershed and its objective: efficient, parameter-free graph partitioning", TPAMI 2020.
    """
    del voxel_size
    aff = biased(as_bytes(aff_CZYX, offsets), config.bias)
    steps = np.array(as_offsets(offsets), np.int64)
    near = np.abs(steps).sum(1) == 1
    if near.all() or not near.any():
        raise InputError(
            f"affinities with offsets {steps.tolist()}",
            "nearest and long-range steps",
            "predict with long-range offsets, or use --set segment.method=agglomerate",
        )
    _check_size(aff)
    inside = tissue(nearest_edges(aff, offsets), config.fragments)
    labels, n = _mutex_labels(aff, steps, near, inside, np.array(config.strides, np.int64))
    if config.min_size > 1:
        graph = region_graph(labels, aff, offsets)
        return looked_up(join_small(np.arange(n + 1), graph, config.min_size), labels)
    return labels.astype(np.uint64)


def _check_size(aff: npt.NDArray[np.uint8]) -> None:
    # edges are numbered by uint32, voxels by int32
    if aff.size >= 2**32 or aff[0].size >= 2**31:
        raise InputError(f"{aff.size} voxel edges", "fewer than 2**32 at a time", "segment a smaller volume")


def _mutex_labels(
    aff: npt.NDArray[np.uint8],
    steps: npt.NDArray[np.int64],
    near: npt.NDArray[np.bool_],
    inside: npt.NDArray[np.bool_],
    strides: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], int]:
    channels = np.concatenate([np.flatnonzero(near), np.flatnonzero(~near)])
    tally = np.zeros(256, np.int64)
    for c in channels:
        _tally_weights(aff[c], steps[c], inside, (bool(near[c]), strides), tally)
    # start of every weight in the sorted list, highest weight first; weight 0 says nothing and is left out
    tally[0] = 0
    first = np.concatenate([np.cumsum(tally[::-1])[::-1][1:], [0]])
    edges = np.empty(int(tally.sum()), np.uint32)
    for rank, c in enumerate(channels):
        _sort_weights(aff[c], steps[c], inside, (bool(near[c]), strides), (first, edges, rank))
    _, _, Y, X = aff.shape
    jumps = (steps[channels] * np.array([Y * X, X, 1])).sum(1)
    parent = _partition(edges, jumps, int(near.sum()), inside.size)
    return label_fragments_of(parent, inside)


@numba.njit(cache=True, nogil=True)
def _edge_ranges(shape, step):  # type: ignore[no-untyped-def]
    Z, Y, X = shape
    return (
        (max(0, -step[0]), min(Z, Z - step[0])),
        (max(0, -step[1]), min(Y, Y - step[1])),
        (max(0, -step[2]), min(X, X - step[2])),
    )


@numba.njit(cache=True, nogil=True)
def _tally_weights(aff, step, inside, kind, tally):  # type: ignore[no-untyped-def]
    """Count the edges of every weight."""
    attractive, strides = kind
    zs, ys, xs = _edge_ranges(aff.shape, step)
    for z in range(zs[0], zs[1]):
        for y in range(ys[0], ys[1]):
            if not attractive and (z % strides[0] or y % strides[1]):
                continue
            for x in range(xs[0], xs[1]):
                if not attractive and x % strides[2]:
                    continue
                if inside[z, y, x] and inside[z + step[0], y + step[1], x + step[2]]:
                    tally[aff[z, y, x] if attractive else 255 - aff[z, y, x]] += 1


@numba.njit(cache=True, nogil=True)
def _sort_weights(aff, step, inside, kind, out):  # type: ignore[no-untyped-def]
    """Put the edges of one channel behind those of their weight already there; edge = rank * voxels + voxel."""
    attractive, strides = kind
    first, edges, rank = out
    Z, Y, X = aff.shape
    zs, ys, xs = _edge_ranges(aff.shape, step)
    for z in range(zs[0], zs[1]):
        for y in range(ys[0], ys[1]):
            if not attractive and (z % strides[0] or y % strides[1]):
                continue
            at = ((rank * Z + z) * Y + y) * X
            for x in range(xs[0], xs[1]):
                if not attractive and x % strides[2]:
                    continue
                weight = np.int64(aff[z, y, x]) if attractive else 255 - np.int64(aff[z, y, x])
                if weight and inside[z, y, x] and inside[z + step[0], y + step[1], x + step[2]]:
                    edges[first[weight]] = np.uint32(at + x)
                    first[weight] += 1


@numba.njit(cache=True, nogil=True)
def _partition(edges, jumps, attractive, voxels):  # type: ignore[no-untyped-def]
    """Run through all edges; returns the forest of the voxels."""
    parent = np.arange(voxels).astype(np.int32)
    head, tail = np.full(voxels, -1, np.int32), np.full(voxels, -1, np.int32)
    degree = np.zeros(voxels, np.int32)
    room = 4 * CHUNK
    ends, alive, after = np.empty((room, 2), np.int32), np.zeros(room, np.bool_), np.empty(2 * room, np.int32)
    keys, values = np.full(4 * room, -1, np.int64), np.empty(4 * room, np.int32)
    at, made, used, need = 0, 0, 0, 0
    while at < edges.size:
        if made + CHUNK > alive.size or 2 * (used + need + CHUNK) > keys.size:
            ends, alive, after, keys, values, made, used = _renewed(
                (ends, alive, after), (head, tail, degree), made, need
            )
        at, made, used, need = _run(
            (edges, jumps, attractive),
            parent,
            (head, tail, after, degree),
            (ends, alive, keys, values),
            (at, made, used),
        )
    return parent


@numba.njit(cache=True, nogil=True)
def _renewed(records, lists, made, need):  # type: ignore[no-untyped-def]
    """Drop the dead exclusions, and make room for as many again."""
    ends, alive, _ = records
    head, tail, degree = lists
    live = 0
    for m in range(made):
        live += alive[m]
    room = 2 * live + 4 * CHUNK
    new_ends, new_alive, new_after = (
        np.empty((room, 2), np.int32),
        np.zeros(room, np.bool_),
        np.empty(2 * room, np.int32),
    )
    slots = 1 << int(np.ceil(np.log2(4.0 * (room + need))))
    keys, values = np.full(slots, -1, np.int64), np.empty(slots, np.int32)
    for m in range(made):
        for s in range(2):
            if alive[m]:
                head[ends[m, s]] = -1
                degree[ends[m, s]] = 0
    now, used = 0, 0
    for m in range(made):
        if alive[m]:
            new_ends[now, 0], new_ends[now, 1], new_alive[now] = ends[m, 0], ends[m, 1], True
            used += put(keys, values, (ends[m, 0], ends[m, 1]), now)
            for s in range(2):
                append((head, tail, new_after, degree), ends[m, s], 2 * now + s)
            now += 1
    return new_ends, new_alive, new_after, keys, values, now, used


@numba.njit(cache=True, nogil=True)
def _run(work, parent, lists, exclusions, state):  # type: ignore[no-untyped-def]
    """Hear a chunk of edges; stops early where the hash table might fill up."""
    edges, jumps, attractive = work
    ends, alive, keys, values = exclusions
    at, made, used = state
    head, _, _, degree = lists
    voxels, limit = parent.size, min(edges.size, at + CHUNK)
    while at < limit:
        edge = np.int64(edges[at])
        channel = edge // voxels
        v = edge - channel * voxels
        a, b = root_of(parent, v), root_of(parent, v + jumps[channel])
        if a != b:
            apart = np.int64(-1)
            if head[a] >= 0 and head[b] >= 0:
                apart, _ = find(keys, a, b)
            if channel < attractive:
                if apart < 0:
                    small, big = (a, b) if degree[a] < degree[b] else (b, a)
                    if 4 * (used + degree[small]) > 3 * keys.size:
                        return at, made, used, np.int64(degree[small])
                    used += _inherit(small, big, lists, exclusions)
                    parent[small] = big
            elif apart < 0:
                ends[made, 0], ends[made, 1], alive[made] = a, b, True
                used += put(keys, values, (a, b), made)
                append(lists, a, 2 * made)
                append(lists, b, 2 * made + 1)
                made += 1
        at += 1
    return at, made, used, np.int64(0)


@numba.njit(cache=True, nogil=True)
def _inherit(small, big, lists, exclusions):  # type: ignore[no-untyped-def]
    """The larger region takes over the exclusions of the smaller; returns the unused hash slots taken."""
    ends, alive, keys, values = exclusions
    head, _, after, degree = lists
    used = 0
    half = head[small]
    while half >= 0:
        following, m, side = after[half], half >> 1, half & 1
        if alive[m]:
            other = ends[m, 1 - side]
            old, _ = find(keys, small, other)
            keys[old] = GONE
            twin, _ = find(keys, big, other)
            if twin >= 0:
                alive[m] = False
                degree[other] -= 1
            else:
                ends[m, side] = big
                used += put(keys, values, (big, other), m)
                append(lists, big, half)
        half = following
    head[small] = -1
    return used
