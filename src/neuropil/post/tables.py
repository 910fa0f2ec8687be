"""Open-addressing hash tables of id pairs and linked lists of half-edges, as plain arrays for compiled loops."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

EMPTY = -1  #: an unused slot
GONE = -2  #: a deleted slot


def new_table(slots: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """An empty hash table (keys, values); the number of slots is a power of two."""
    return np.full(slots, EMPTY, np.int64), np.empty(slots, np.int64)


def pair_keys(ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(E,) each pair (E, 2) of ids below 2**31 as one number, ``u << 32 | v``: ordered as the pairs are."""
    return (ends[:, 0] << 32) | ends[:, 1]


def key_pairs(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(E, 2) the pairs of `pair_keys`."""
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], 1)


@numba.njit(cache=True, nogil=True, inline="always")
def slot(keys, key):  # type: ignore[no-untyped-def]
    """Where a key stands, or the empty slot where it belongs."""
    mask = keys.size - 1
    # the product mixes both ids into its high bits, which are folded down
    mixed = key * np.int64(-7046029254386353131)
    i = (mixed ^ (mixed >> 32)) & mask
    while keys[i] != key and keys[i] != -1:
        i = (i + 1) & mask
    return i


@numba.njit(cache=True, nogil=True)
def find(keys, a, b):  # type: ignore[no-untyped-def]
    """(slot of the pair or -1, first slot where it could be put)."""
    key = (np.int64(min(a, b)) << 32) | np.int64(max(a, b))
    mask = keys.size - 1
    mixed = key * np.int64(-7046029254386353131)
    i = (mixed ^ (mixed >> 32)) & mask
    free = np.int64(-1)
    while keys[i] != -1:
        if keys[i] == key:
            return i, i
        if keys[i] == GONE and free < 0:
            free = i
        i = (i + 1) & mask
    return np.int64(-1), i if free < 0 else free


@numba.njit(cache=True, nogil=True)
def put(keys, values, pair, edge):  # type: ignore[no-untyped-def]
    """Store an edge under its pair; returns 1 if an unused slot was taken."""
    a, b = pair
    _, i = find(keys, a, b)
    fresh = 1 if keys[i] == -1 else 0
    keys[i] = (np.int64(min(a, b)) << 32) | np.int64(max(a, b))
    values[i] = edge
    return fresh


@numba.njit(cache=True, nogil=True)
def append(lists, region, half):  # type: ignore[no-untyped-def]
    head, tail, after, degree = lists
    after[half] = -1
    if head[region] < 0:
        head[region] = half
    else:
        after[tail[region]] = half
    tail[region] = half
    degree[region] += 1
