"""The region graph: which fragments touch, and the exact affinities of each contact.

Sums and counts are integers and histograms are counts, so the graphs of blocks add up to the graph of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from neuropil.affinities import as_offsets
from neuropil.errors import InputError
from neuropil.geometry import Int3
from neuropil.post.fragments import as_bytes
from neuropil.post.tables import EMPTY, key_pairs, new_table, slot

#: Fragments, affinities of one channel, and its step.
Channel: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], Int3]


@dataclass(frozen=True)
class RegionGraph:
    """Contacts of fragments.

    Parameters
    ----------
    edges
        (E, 2) int64 fragment ids, u < v, ascending.
    sums, counts
        (E,) int64: sum of the uint8 affinities of all voxel edges between u and v, and their number.
    sizes
        (n + 1,) int64: voxels of every fragment; entry 0 is background.
    starts, bins, tallies
        Sparse histograms, empty unless asked for: edge e holds `tallies[i]` affinities of value `bins[i]`
        (ascending) for `starts[e] <= i < starts[e + 1]`.
    """

    edges: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    bins: npt.NDArray[np.uint8]
    tallies: npt.NDArray[np.int64]

    @property
    def nodes(self) -> int:
        """Number of fragments; their ids are 1 .. nodes."""
        return len(self.sizes) - 1

    @property
    def has_histograms(self) -> bool:
        """Whether quantiles can be asked for."""
        return len(self.starts) == len(self.edges) + 1


def region_graph(
    fragments_ZYX: npt.NDArray[Any],
    aff_CZYX: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    *,
    histograms: bool = False,
    long_range: bool = False,
) -> RegionGraph:
    """Collect all voxel edges between different fragments in one pass.

    Parameters
    ----------
    fragments_ZYX
        Integer ids, best 1 .. n without gaps; 0 = background, which touches nothing.
    aff_CZYX
        (C, Z, Y, X) affinities, uint8 or float 0..1.
    offsets
        Steps of the channels, either sign. Channels of length one make the contacts.
    histograms
        Also keep the histogram of each contact.
    long_range
        Longer channels add to the contacts there are (they never make one).

    Raises
    ------
    InputError
        If shapes do not fit, ids are negative or beyond 2**31, or no channel is a nearest neighbour's.
    """
    aff = as_bytes(aff_CZYX, offsets)
    labels = _checked(fragments_ZYX, aff)
    steps = as_offsets(offsets)
    near = [(labels, aff[c], step) for c, step in enumerate(steps) if is_near(step)]
    if not near:
        raise InputError(
            f"affinities with offsets {list(steps)}",
            "at least one step to a nearest neighbour",
            "predict nearest neighbours too (leave model.offsets out)",
        )
    far = [(labels, aff[c], step) for c, step in enumerate(steps) if long_range and not is_near(step)]
    sizes = np.bincount(labels.ravel(), minlength=1).astype(np.int64)
    return contacts(near, far, sizes, histograms=histograms)


def is_near(step: Int3) -> bool:
    """Whether a step leads to one of the six nearest neighbours."""
    return sum(abs(s) for s in step) == 1


def contacts(
    near: Sequence[Channel], far: Sequence[Channel], sizes: npt.NDArray[np.int64], *, histograms: bool
) -> RegionGraph:
    """Collect the voxel edges of some channels.

    Parameters
    ----------
    near, far
        Channels as (int32 fragments (Z, Y, X), uint8 affinities (Z, Y, X), step z, y, x): all their edges with both
        ends inside count. Those of `near` make the contacts, those of `far` add to the contacts there are.
    sizes
        (n + 1,) voxels of every fragment.
    histograms
        Also keep the histogram of each contact.
    """
    table = new_table(1 << 12)
    sums, counts = np.zeros(1 << 11, np.int64), np.zeros(1 << 11, np.int64)
    used = 0
    for channels, grow in ((near, True), (far, False)):
        for labels, aff, step in channels:
            table, sums, counts, used = _collect(labels, aff, np.array(step), (table, sums, counts, used), grow)
    keys, slots = table[0][table[0] != EMPTY], table[1][table[0] != EMPTY]
    order = np.argsort(keys)
    keys, slots = keys[order], slots[order]
    runs = (np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64))
    if histograms:
        rank = np.empty(used, np.int64)
        rank[slots] = np.arange(used)
        runs = _histograms([*near, *far], (table, rank), counts[slots])
    return RegionGraph(key_pairs(keys), sums[slots], counts[slots], sizes, *runs)


def _checked(fragments_ZYX: npt.NDArray[Any], aff: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    if fragments_ZYX.shape != aff.shape[1:] or fragments_ZYX.dtype.kind not in "iu":
        raise InputError(
            f"{fragments_ZYX.dtype} fragments of shape {fragments_ZYX.shape} with affinities of shape {aff.shape}",
            f"integer fragments of shape {aff.shape[1:]}",
        )
    if fragments_ZYX.size and not 0 <= int(fragments_ZYX.min()) <= int(fragments_ZYX.max()) < 2**31:
        raise InputError(
            f"fragment ids from {fragments_ZYX.min()} to {fragments_ZYX.max()}",
            "0 to 2**31 - 1",
            "renumber them with neuropil.post.filters.relabelled",
        )
    return np.ascontiguousarray(fragments_ZYX, np.int32)


def _histograms(
    channels: Sequence[Channel],
    table: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.int64]],
    counts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """A second pass scatters the affinities of each contact; each contact's are then tallied."""
    first = np.concatenate([[0], np.cumsum(counts)])
    values, fill = np.empty(first[-1], np.uint8), first[:-1].copy()
    for labels, aff, step in channels:
        _scatter(labels, aff, np.array(step), table, (values, fill))
    starts = np.zeros(len(counts) + 1, np.int64)
    _count_bins(values, first, starts)
    bins, tallies = np.empty(starts[-1], np.uint8), np.empty(starts[-1], np.int64)
    _tally(values, first, starts, bins, tallies)
    return starts, bins, tallies


@numba.njit(cache=True, nogil=True)
def _grown(keys, values):  # type: ignore[no-untyped-def]
    new_keys, new_values = np.full(keys.size * 2, -1, np.int64), np.empty(keys.size * 2, np.int64)
    for i in range(keys.size):
        if keys[i] != -1:
            j = slot(new_keys, keys[i])
            new_keys[j], new_values[j] = keys[i], values[i]
    return new_keys, new_values


@numba.njit(cache=True, nogil=True)
def _doubled(array):  # type: ignore[no-untyped-def]
    out = np.zeros(array.size * 2, array.dtype)
    out[: array.size] = array
    return out


@numba.njit(cache=True, nogil=True)
def _collect(labels, aff, step, state, grow):  # type: ignore[no-untyped-def]
    """Add all voxel edges of one channel; unknown pairs are added to the table only if `grow`."""
    (keys, values), sums, counts, used = state
    Z, Y, X = labels.shape
    oz, oy, ox = step[0], step[1], step[2]
    first, last = max(0, -ox), min(X, X - ox)
    for z in range(max(0, -oz), min(Z, Z - oz)):
        for y in range(max(0, -oy), min(Y, Y - oy)):
            if last > first:
                # room for a row of new pairs first: the inner loop must not replace its arrays
                while grow and 2 * (used + X) >= keys.size:
                    keys, values = _grown(keys, values)
                    sums, counts = _doubled(sums), _doubled(counts)
                here, there = labels[z, y, first:last], labels[z + oz, y + oy, first + ox : last + ox]
                used = _collect_row((here, there, aff[z, y, first:last]), (keys, values), (sums, counts), used, grow)
    return (keys, values), sums, counts, used


@numba.njit(cache=True, nogil=True)
def _collect_row(rows, table, stats, used, grow):  # type: ignore[no-untyped-def]
    here, there, aff = rows
    keys, values = table
    sums, counts = stats
    last_a, last_b, e = 0, 0, np.int64(0)
    for x in range(here.size):
        a, b = here[x], there[x]
        if a == b or a == 0 or b == 0:
            continue
        if a != last_a or b != last_b:
            key = (np.int64(min(a, b)) << 32) | np.int64(max(a, b))
            i = slot(keys, key)
            if keys[i] == -1:
                if not grow:
                    continue
                keys[i], values[i] = key, used
                used += 1
            last_a, last_b, e = a, b, values[i]
        sums[e] += aff[x]
        counts[e] += 1
    return used


@numba.njit(cache=True, nogil=True)
def _scatter(labels, aff, step, table, out):  # type: ignore[no-untyped-def]
    Z, Y, X = labels.shape
    oz, oy, ox = step[0], step[1], step[2]
    first, last = max(0, -ox), min(X, X - ox)
    for z in range(max(0, -oz), min(Z, Z - oz)):
        for y in range(max(0, -oy), min(Y, Y - oy)):
            if last > first:
                here, there = labels[z, y, first:last], labels[z + oz, y + oy, first + ox : last + ox]
                _scatter_row((here, there, aff[z, y, first:last]), table, out)


@numba.njit(cache=True, nogil=True)
def _scatter_row(rows, table, out):  # type: ignore[no-untyped-def]
    here, there, aff = rows
    (keys, numbers), rank = table
    values, fill = out
    for x in range(here.size):
        a, b = here[x], there[x]
        if a == b or a == 0 or b == 0:
            continue
        key = (np.int64(min(a, b)) << 32) | np.int64(max(a, b))
        i = slot(keys, key)
        if keys[i] == key:
            e = rank[numbers[i]]
            values[fill[e]] = aff[x]
            fill[e] += 1


@numba.njit(cache=True, nogil=True)
def _count_bins(values, first, starts):  # type: ignore[no-untyped-def]
    seen = np.full(256, -1, np.int64)
    for e in range(first.size - 1):
        n = 0
        for i in range(first[e], first[e + 1]):
            if seen[values[i]] != e:
                seen[values[i]] = e
                n += 1
        starts[e + 1] = starts[e] + n


@numba.njit(cache=True, nogil=True)
def _tally(values, first, starts, bins, tallies):  # type: ignore[no-untyped-def]
    histogram = np.zeros(256, np.int64)
    for e in range(first.size - 1):
        for i in range(first[e], first[e + 1]):
            histogram[values[i]] += 1
        at = starts[e]
        for value in range(256):
            if histogram[value]:
                bins[at], tallies[at] = value, histogram[value]
                histogram[value] = 0
                at += 1
