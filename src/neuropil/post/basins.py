"""Seeded watershed as a maximum spanning forest: voxel by voxel, then on a small graph, the same in any blocks.

Two voxels that share a face are joined by an edge as strong as the lower of their heights. Of all forests in which no
tree holds more than one seed, the watershed is one of the strongest edges (watershed cuts, Cousty et al., TPAMI 2009).
Its first step needs no order: every voxel that is no seed hangs on its highest neighbour, by (height, index). That
leaves *basins*, whole or in the pieces of blocks. Between two basins only the highest *saddle* matters, and a maximum
may be taken in any order. The rest of the forest grows on these numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from neuropil.post.ascent import NONE, SELF, join, numbered, root_of
from neuropil.post.landscape import TAPS
from neuropil.post.tables import key_pairs, pair_keys
from neuropil.smoothing import smoothed

#: Heights are uint8 values times this: with the weights' sum, all that is added up stays exact in float32.
UNIT = 256


@dataclass(frozen=True)
class Saddles:
    """How basins touch.

    Parameters
    ----------
    edges
        (E, 2) int64 basins u < v, ascending, each pair once.
    heights
        (E,) int32: the highest saddle between u and v.
    """

    edges: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]


def smooth_heights(
    values_ZYX: npt.NDArray[np.uint8], taps: Sequence[npt.NDArray[np.float32]]
) -> npt.NDArray[np.uint16]:
    """Values times `UNIT`, each the rounded mean of those around it, axis after axis: whole numbers throughout."""
    height = np.multiply(values_ZYX, np.float32(UNIT), dtype=np.float32)
    for axis in (2, 1, 0):
        if len(taps[axis]) > 1:
            height = smoothed(np.ascontiguousarray(height), taps[axis], axis, rounded_by=TAPS)
    return height.astype(np.uint16)


def basins(
    height_ZYX: npt.NDArray[np.uint16],
    mask_ZYX: npt.NDArray[np.bool_],
    seeds_ZYX: npt.NDArray[np.bool_],
    inner: tuple[slice, slice, slice],
) -> tuple[npt.NDArray[np.int32], int]:
    """Hang every voxel on its highest neighbour across a face, and join seeds that touch across one.

    Parameters
    ----------
    height_ZYX, mask_ZYX, seeds_ZYX
        Heights, where there are basins, and which voxels of these are seeds.
    inner
        The voxels of interest; one more on each side is looked at. What hangs on a voxel beyond them is its own root:
        another block follows that link.

    Returns
    -------
    labels, n
        int32 ids 1 .. n of the voxels of interest in order of first voxel, 0 outside the mask.
    """
    start = np.array([s.start for s in inner])
    labels = np.empty([s.stop - s.start for s in inner], np.int32)
    parent = np.empty(labels.size, np.int32)
    _hang(height_ZYX, mask_ZYX, seeds_ZYX, start, np.array(labels.shape), parent)
    _join_seeds(np.ascontiguousarray(seeds_ZYX[inner]), parent)
    code = np.where(mask_ZYX[inner], np.uint8(SELF), np.uint8(NONE)).ravel()
    return labels, int(numbered(parent, code, labels.ravel()))


def saddles(labels_ZYX: npt.NDArray[np.int32], height_ZYX: npt.NDArray[np.uint16]) -> Saddles:
    """The highest saddle of every two basins that share a face; 0 touches nothing."""
    ends, heights = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int32)]
    for axis in range(3):
        low, high = (_along(axis, labels_ZYX.shape[axis], way) for way in (0, 1))
        a, b = labels_ZYX[low], labels_ZYX[high]
        meet = (a != b) & (a > 0) & (b > 0)
        ends.append(np.sort(np.stack([a[meet], b[meet]], 1).astype(np.int64), axis=1))
        heights.append(np.minimum(height_ZYX[low][meet], height_ZYX[high][meet]).astype(np.int32))
    return _highest(np.concatenate(ends), np.concatenate(heights))


def _along(axis: int, extent: int, way: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(way, extent - 1 + way))


def renumbered_saddles(found: Saddles, numbers: npt.NDArray[np.int64]) -> Saddles:
    """A block's saddles between basins of the whole, of which its own are pieces.

    Parameters
    ----------
    numbers
        (n + 1,) basin of every piece of the block.
    """
    ends = np.sort(numbers[found.edges], axis=1)
    apart = ends[:, 0] != ends[:, 1]
    return _highest(ends[apart], found.heights[apart])


def joint_saddles(parts: list[Saddles]) -> Saddles:
    """The saddles of several blocks, the highest of each pair."""
    none = Saddles(np.zeros((0, 2), np.int64), np.zeros(0, np.int32))
    edges = np.concatenate([none.edges, *(p.edges for p in parts)])
    return _highest(edges, np.concatenate([none.heights, *(p.heights for p in parts)]))


def _highest(ends: npt.NDArray[np.int64], heights: npt.NDArray[np.int32]) -> Saddles:
    keys = pair_keys(ends)
    order = np.argsort(keys, kind="stable")
    unique, begin = np.unique(keys[order], return_index=True)
    best = np.maximum.reduceat(heights[order], begin) if len(unique) else np.zeros(0, np.int32)
    return Saddles(key_pairs(unique), best)


def grown(found: Saddles, seeded: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Let seeds take basins over the highest saddles first (ties: lower ids first).

    Parameters
    ----------
    seeded
        (n + 1,) whether a basin holds a seed.

    Returns
    -------
    lookup
        (n + 1,) object of every basin, 1 .. k in order of the lowest basin; 0 of those that no seed reaches.
    """
    u, v = found.edges.T
    order = np.lexsort((v, u, -found.heights.astype(np.int64)))
    roots = np.arange(len(seeded))
    reached = seeded.copy()
    _grow(found.edges[order], roots, reached)
    own = reached[roots] & (roots == np.arange(len(roots)))
    own[0] = False
    rank = np.where(own, np.cumsum(own), 0)
    return np.where(reached[roots], rank[roots], 0)


@numba.njit(cache=True, nogil=True)
def _hang(height, mask, seeds, start, extent, parent):  # type: ignore[no-untyped-def]
    """The place each voxel hangs on; of equal heights the higher index, so that there are no rings."""
    Z, Y, X = height.shape
    D, H, W = extent
    rise = (-1, 0, 0, 0, 0, 1), (0, -1, 0, 0, 1, 0), (0, 0, -1, 1, 0, 0)
    v = 0
    for z in range(start[0], start[0] + D):
        for y in range(start[1], start[1] + H):
            for x in range(start[2], start[2] + W):
                parent[v] = v
                if mask[z, y, x] and not seeds[z, y, x]:
                    top, best = height[z, y, x], -1
                    for k in range(6):
                        a, b, c = z + rise[0][k], y + rise[1][k], x + rise[2][k]
                        if not (0 <= a < Z and 0 <= b < Y and 0 <= c < X) or not mask[a, b, c]:
                            continue
                        # steps ascend with the index: the first three lead to lower ones
                        if height[a, b, c] > top or (height[a, b, c] == top and (k > 2 or best >= 0)):
                            top, best = height[a, b, c], k
                    if best >= 0:
                        a, b, c = (
                            z + rise[0][best] - start[0],
                            y + rise[1][best] - start[1],
                            x + rise[2][best] - start[2],
                        )
                        if 0 <= a < D and 0 <= b < H and 0 <= c < W:
                            parent[v] = (a * H + b) * W + c
                v += 1


@numba.njit(cache=True, nogil=True)
def _join_seeds(seeds, parent):  # type: ignore[no-untyped-def]
    Z, Y, X = seeds.shape
    v = 0
    for z in range(Z):
        for y in range(Y):
            for x in range(X):
                if seeds[z, y, x]:
                    if z > 0 and seeds[z - 1, y, x]:
                        join(parent, v, v - Y * X)
                    if y > 0 and seeds[z, y - 1, x]:
                        join(parent, v, v - X)
                    if x > 0 and seeds[z, y, x - 1]:
                        join(parent, v, v - 1)
                v += 1


@numba.njit(cache=True, nogil=True)
def _grow(edges, roots, reached):  # type: ignore[no-untyped-def]
    """Union of edges in their order, but never of two that both hold a seed; in the end, the root of every basin."""
    for i in range(edges.shape[0]):
        a, b = root_of(roots, edges[i, 0]), root_of(roots, edges[i, 1])
        if a != b and not (reached[a] and reached[b]):
            low, high = min(a, b), max(a, b)
            roots[high] = low
            reached[low] = reached[low] or reached[high]
    for v in range(roots.size):
        roots[v] = root_of(roots, v)
