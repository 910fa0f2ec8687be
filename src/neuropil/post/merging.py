"""The merge tree: hierarchical agglomeration of a region graph, best contact first, all the way down.

A heap holds every contact by (score, age); merging two regions adds up the sums, counts and histograms of the contacts
that become one. A contact's age is the rank of the first of its fragment pairs, which no order of bookkeeping changes:
ties are broken the same way however the graph was put together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError
from neuropil.post.graph import RegionGraph
from neuropil.post.tables import GONE, append, find, put


@dataclass(frozen=True)
class Rule:
    """How contacts are scored.

    Parameters
    ----------
    score
        "mean", or "quantile".
    quantile
        Which quantile, 0 .. 1.
    contact
        Voxel edges of affinity 0 that count in addition in a mean: small contacts must be surer than large ones.
    """

    score: str
    quantile: float
    contact: float


@dataclass(frozen=True)
class MergeTree:
    """All merges of a graph, best first.

    Parameters
    ----------
    pairs
        (M, 2) int64: a fragment of either region, those that make the contact's age.
    scores
        (M,) score 0..1 of the contact at its merge.
    levels
        (M,) lowest score so far: a run with a threshold stops at the first merge whose level is below it.
    nodes
        Number of fragments.
    """

    pairs: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    nodes: int

    def cut(self, threshold: float) -> npt.NDArray[np.int64]:
        """Object of every fragment after merging while the best score is at least `threshold`.

        Returns
        -------
        lookup
            (nodes + 1,) ids 1 .. k in order of the lowest fragment id; entry 0 is 0.
        """
        n = int(np.searchsorted(-self.levels, -threshold, side="right"))
        return joined(self.nodes, self.pairs[:n])


def joined(nodes: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Look-up of the components of `pairs` over ids 1 .. nodes, numbered in order of the lowest id."""
    return np.asarray(_joined(nodes, pairs))


def merge_tree(graph: RegionGraph, rule: Rule) -> MergeTree:
    """Agglomerate a region graph completely.

    Raises
    ------
    InputError
        If quantiles are asked of a graph without histograms.

    References
    ----------
    Funke et al., "Large scale image segmentation with structured loss based deep learning for connectome
    reconstruction", TPAMI 2019 (mean and quantile affinity agglomeration).
    """
    quantile = rule.score == "quantile"
    if quantile and not graph.has_histograms:
        raise InputError(
            "a region graph without histograms", "histograms, for quantile scores", "region_graph(..., histograms=True)"
        )
    if len(graph.edges) == 0:
        none = np.zeros(0)
        return MergeTree(np.zeros((0, 2), np.int64), none, none, graph.nodes)
    if quantile:
        # twice the room: merged histograms are written behind the first ones
        pool = (np.tile(graph.bins, 2), np.tile(graph.tallies, 2))
        runs = (graph.starts[:-1].copy(), np.diff(graph.starts), *pool)
    else:
        unused = np.zeros(1, np.int64)
        runs = (unused, unused, np.zeros(1, np.uint8), unused)
    merged, scores, _ = agglomerated(
        graph.edges.astype(np.int32),
        (graph.sums.astype(np.float64), graph.counts.astype(np.float64)),
        runs,
        (graph.nodes, rule.quantile if quantile else -1.0, rule.contact),
        (np.zeros(graph.nodes + 1, np.bool_), np.inf),
    )
    return MergeTree(graph.edges[merged], scores, np.minimum.accumulate(scores), graph.nodes)


@numba.njit(cache=True, nogil=True)
def _joined(nodes, pairs):  # type: ignore[no-untyped-def]
    parent = np.arange(nodes + 1)
    for i in range(pairs.shape[0]):
        a, b = pairs[i, 0], pairs[i, 1]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    # the root is the lowest id of its region, so it is always numbered before the others
    last = 0
    for v in range(1, nodes + 1):
        if parent[v] == v:
            last += 1
            parent[v] = -last
        else:
            root = v
            while parent[root] > 0:
                root = parent[root]
            parent[v] = parent[root]
    return -parent


@numba.njit(cache=True, nogil=True, inline="always")
def _before(scores, items, i, j):  # type: ignore[no-untyped-def]
    return scores[i] > scores[j] or (scores[i] == scores[j] and items[i] < items[j])


@numba.njit(cache=True, nogil=True)
def _push(heap, size, score, item):  # type: ignore[no-untyped-def]
    scores, items = heap
    scores[size], items[size] = score, item
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if not _before(scores, items, i, up):
            break
        scores[i], scores[up] = scores[up], scores[i]
        items[i], items[up] = items[up], items[i]
        i = up
    return size + 1


@numba.njit(cache=True, nogil=True)
def _drop_first(heap, size):  # type: ignore[no-untyped-def]
    scores, items = heap
    size -= 1
    scores[0], items[0] = scores[size], items[size]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            return size
        if child + 1 < size and _before(scores, items, child + 1, child):
            child += 1
        if not _before(scores, items, child, i):
            return size
        scores[i], scores[child] = scores[child], scores[i]
        items[i], items[child] = items[child], items[i]
        i = child


@numba.njit(cache=True, nogil=True)
def _score(e, stats, runs, rule):  # type: ignore[no-untyped-def]
    """Score of a contact: (adjusted) mean, or the lowest value that `quantile` of its voxel edges do not exceed."""
    sums, counts = stats
    _, quantile, contact = rule
    if quantile < 0:
        return sums[e] / ((counts[e] + contact) * 255.0)
    starts, lengths, bins, tallies = runs
    rank = np.floor(quantile * counts[e])
    total = 0
    for i in range(starts[e], starts[e] + lengths[e]):
        total += tallies[i]
        if total > rank:
            return bins[i] / 255.0
    return bins[starts[e] + lengths[e] - 1] / 255.0


@numba.njit(cache=True, nogil=True)
def _merged_run(runs, kept, gone, at):  # type: ignore[no-untyped-def]
    """Write the sum of two histograms at `at`; returns its end."""
    starts, lengths, bins, tallies = runs
    i, j = starts[kept], starts[gone]
    i_end, j_end = i + lengths[kept], j + lengths[gone]
    begin = at
    while i < i_end or j < j_end:
        value = min(bins[i] if i < i_end else np.uint8(255), bins[j] if j < j_end else np.uint8(255))
        total = np.int64(0)
        if i < i_end and bins[i] == value:
            total += tallies[i]
            i += 1
        if j < j_end and bins[j] == value:
            total += tallies[j]
            j += 1
        bins[at], tallies[at] = value, total
        at += 1
    starts[kept], lengths[kept], lengths[gone] = begin, at - begin, 0
    return at


@numba.njit(cache=True, nogil=True)
def _compacted(runs, room):  # type: ignore[no-untyped-def]
    """Move the live histograms to a fresh pool with as much room again, and at least `room`."""
    starts, lengths, bins, tallies = runs
    live = lengths.sum()
    new_bins, new_tallies = np.empty(2 * live + room, np.uint8), np.empty(2 * live + room, np.int64)
    at = 0
    for e in range(starts.size):
        n = lengths[e]
        new_bins[at : at + n] = bins[starts[e] : starts[e] + n]
        new_tallies[at : at + n] = tallies[starts[e] : starts[e] + n]
        starts[e] = at
        at += n
    return (starts, lengths, new_bins, new_tallies), at


@numba.njit(cache=True, nogil=True)
def _rehashed(keys, ends, alive):  # type: ignore[no-untyped-def]
    new_keys, new_values = np.full(keys.size, -1, np.int64), np.empty(keys.size, np.int32)
    used = 0
    for e in range(ends.shape[0]):
        if alive[e]:
            used += put(new_keys, new_values, (ends[e, 0], ends[e, 1]), e)
    return new_keys, new_values, used


@numba.njit(cache=True, nogil=True)
def _lists(ends, nodes):  # type: ignore[no-untyped-def]
    """Linked lists of half-edges: 2e + s lies in the list of the region at side s of contact e."""
    head, tail = np.full(nodes + 1, -1, np.int32), np.full(nodes + 1, -1, np.int32)
    lists = (head, tail, np.full(2 * ends.shape[0], -1, np.int32), np.zeros(nodes + 1, np.int32))
    for e in range(ends.shape[0]):
        for s in range(2):
            append(lists, ends[e, s], 2 * e + s)
    return lists


@numba.njit(cache=True, nogil=True)
def _moved(half, big, contacts, table, lists):  # type: ignore[no-untyped-def]
    """Move a contact of the vanishing region to the growing one.

    Returns (contact kept, contact that became part of it or -1, unused hash slots taken).
    """
    ends, alive = contacts
    keys, values = table
    f, side = half >> 1, half & 1
    other = ends[f, 1 - side]
    old, _ = find(keys, ends[f, side], other)
    keys[old] = GONE
    twin, _ = find(keys, big, other)
    ends[f, side] = big
    if twin < 0:
        append(lists, big, half)
        return f, -1, put(keys, values, (big, other), f)
    kept, gone = min(f, values[twin]), max(f, values[twin])
    if kept == f:
        values[twin] = f
        append(lists, big, half)
    alive[gone] = False
    return kept, gone, 0


@numba.njit(cache=True, nogil=True)
def _surfaces(ends, counts, barred):  # type: ignore[no-untyped-def]
    """Voxel edges of every region; those that have too many are barred."""
    blocked, limit = barred
    surface = np.zeros(blocked.size, np.float64)
    for e in range(ends.shape[0]):
        surface[ends[e, 0]] += counts[e]
        surface[ends[e, 1]] += counts[e]
    for v in range(surface.size):
        blocked[v] |= surface[v] > limit
    return surface


@numba.njit(cache=True, nogil=True)
def agglomerated(ends, stats, runs, rule, barred):  # type: ignore[no-untyped-def]
    """Merge until no contact is left that may be; returns the contacts that merged, their scores, and who is left.

    Contacts are numbered by age. `barred` holds a flag for each region that may not merge, and the number of voxel
    edges beyond which none may. A region whose best contact is with one that may not is barred too: what it would do
    next depends on what is not known here. Ends and stats of the contacts that are left stand in their arrays.
    """
    E, nodes = ends.shape[0], rule[0]
    sums, counts = stats
    blocked, limit = barred
    surface = _surfaces(ends, counts, barred)
    alive, current = np.ones(E, np.bool_), np.empty(E, np.float64)
    slots = 1 << int(np.ceil(np.log2(4 * E + 4)))
    keys, values, used = _rehashed(np.empty(slots, np.int64), ends, alive)
    heap, size = (np.empty(2 * E + 1, np.float64), np.empty(2 * E + 1, np.int32)), 0
    lists = _lists(ends, nodes)
    head, _, after, degree = lists
    pool_end = runs[2].size // 2
    for e in range(E):
        current[e] = _score(e, stats, runs, rule)
        size = _push(heap, size, current[e], e)
    merged, scores, merges = np.empty(nodes, np.int64), np.empty(nodes, np.float64), 0
    while size > 0:
        score, e = heap[0][0], heap[1][0]
        size = _drop_first(heap, size)
        if not alive[e] or current[e] != score:
            continue  # an entry from before the contact grew
        a, b = ends[e, 0], ends[e, 1]
        if blocked[a] or blocked[b]:
            blocked[a] = blocked[b] = True
            continue
        big, small = (a, b) if degree[a] >= degree[b] else (b, a)
        merged[merges], scores[merges] = e, score
        merges += 1
        alive[e] = False
        surface[big] += surface[small] - 2 * counts[e]
        blocked[big] = surface[big] > limit
        half = head[small]
        while half >= 0:
            following = after[half]
            if alive[half >> 1]:
                kept, gone, fresh_slots = _moved(half, big, (ends, alive), (keys, values), lists)
                used += fresh_slots
                if gone >= 0:
                    sums[kept] += sums[gone]
                    counts[kept] += counts[gone]
                    if rule[1] >= 0:
                        if pool_end + 256 > runs[2].size:
                            runs, pool_end = _compacted(runs, 1024)
                        pool_end = _merged_run(runs, kept, gone, pool_end)
                    fresh = _score(kept, stats, runs, rule)
                    if fresh != current[kept]:
                        current[kept] = fresh
                        size = _push(heap, size, fresh, kept)
            half = following
        if 10 * used > 7 * keys.size:
            keys, values, used = _rehashed(keys, ends, alive)
    return merged[:merges].copy(), scores[:merges].copy(), alive
