"""Clean-up of fragments and objects: small ones join a neighbour or vanish; canonical ids; calibrated biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastremap
import numba
import numpy as np
import numpy.typing as npt

from neuropil.errors import ConfigError
from neuropil.post.ascent import root_of
from neuropil.post.graph import RegionGraph
from neuropil.post.tables import key_pairs, pair_keys


def relabelled(labels_ZYX: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Renumber objects 1 .. n in order of their first voxel; 0 stays 0.

    Examples
    --------
    >>> relabelled(np.array([[[7, 0, 3, 7]]])).tolist()
    [[[1, 0, 2, 1]]]
    """
    renumbered, _ = fastremap.renumber(labels_ZYX, preserve_zero=True, in_place=False)
    return np.asarray(renumbered, dtype=np.uint64)


def looked_up(lookup: npt.NDArray[np.int64], fragments_ZYX: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Replace each fragment id by its object's."""
    return np.take(lookup.astype(np.uint64), fragments_ZYX)


def join_small(lookup: npt.NDArray[np.int64], graph: RegionGraph, min_size: int) -> npt.NDArray[np.int64]:
    """Join objects below a size to their best neighbour, and drop those that have none.

    Contacts are visited from the highest mean affinity down (ties: lower ids first), and joined where either side is
    still too small; what is too small after that becomes 0.

    Parameters
    ----------
    lookup
        (n + 1,) object of every fragment, entry 0 is 0.
    graph
        Contacts and sizes of the fragments.
    min_size
        Voxels; objects of at least this size stay as they are.

    Returns
    -------
    lookup
        Like the input, numbered 1 .. k in order of the lowest fragment id.
    """
    if min_size <= 1 or len(lookup) == 1:
        return lookup
    objects = int(lookup.max())
    sizes = np.bincount(lookup, weights=graph.sizes, minlength=objects + 1).astype(np.int64)
    ends = np.sort(lookup[graph.edges], axis=1)
    keys, inverse = np.unique(pair_keys(ends), return_inverse=True)
    mean = np.bincount(inverse, weights=graph.sums) / np.maximum(np.bincount(inverse, weights=graph.counts), 1)
    order = np.lexsort((keys, -mean))
    joined_objects = _join_small(key_pairs(keys[order]), sizes, min_size)
    new = joined_objects[lookup]
    _, first = np.unique(new, return_index=True)
    rank = np.zeros(objects + 1, np.int64)
    ordered = new[np.sort(first)]
    ordered = ordered[ordered > 0]
    rank[ordered] = np.arange(1, len(ordered) + 1)
    return np.asarray(rank[new])


def biased(aff_CZYX: npt.NDArray[np.uint8], bias: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Add a constant to the logit of every channel's affinities.

    Raises
    ------
    ConfigError
        If there is not one bias for each channel.
    """
    if not any(bias):
        return aff_CZYX
    if len(bias) != len(aff_CZYX):
        raise ConfigError(
            f"segment.bias with {len(bias)} values",
            f"{len(aff_CZYX)}, one for each affinity channel",
            "leave segment.bias out, or give one value a channel",
        )
    # half a grey level from the ends, or 0 and 255 would be out of reach of any bias
    share = np.clip(np.arange(256) / 255, 0.5 / 255, 1 - 0.5 / 255)
    logit = np.log(share / (1 - share))
    out = np.empty_like(aff_CZYX)
    for c, add in enumerate(bias):
        table = np.rint(255 / (1 + np.exp(-(logit + add)))).astype(np.uint8) if add else np.arange(256, dtype=np.uint8)
        np.take(table, aff_CZYX[c], out=out[c])
    return out


@numba.njit(cache=True, nogil=True)
def _join_small(contacts, sizes, min_size):  # type: ignore[no-untyped-def]
    """Object that each object ends in, 0 for those that stay too small."""
    parent, total = np.arange(sizes.size), sizes.copy()
    for i in range(contacts.shape[0]):
        a, b = root_of(parent, contacts[i, 0]), root_of(parent, contacts[i, 1])
        if a != b and min(total[a], total[b]) < min_size:
            low, high = min(a, b), max(a, b)
            parent[high] = low
            total[low] += total[high]
    out = np.zeros(sizes.size, np.int64)
    for v in range(1, sizes.size):
        root = root_of(parent, v)
        if total[root] >= min_size:
            out[v] = root
    return out
