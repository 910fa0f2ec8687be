"""From the parents of a march to branches: hierarchical pruning by length and cover.

Every voxel has a parent, so the tree of a march has a leaf at nearly every voxel of a neurite's surface. It falls into
segments: from a leaf up to where a longer way down begins. Segments are taken from the longest on; one is kept if
enough of it lies outside what the kept ones cover (all within some radii of their voxels). The idea is that of
hierarchical pruning in APP2 (Xiao and Peng, Bioinformatics 29:1448, 2013); lengths are true lengths in nm and cover
grows with the local radius, so no second pass over leaves or joints is needed.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from neuropil.tracing.geodesic import March, step_lengths
from neuropil.tracing.voxels import Voxels, lower

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


def branches(voxels: Voxels, march: March, *, spur: float, faint: float, cover: float, cover_voxels: float) -> Bools:
    """(N,) which voxels are nodes of branches: with each one kept, its parent is.

    Parameters
    ----------
    spur
        Cable outside all cover that a segment must have, in voxels of whatever axis: in coarse sections one step to the
        next is not a branch yet. The first segment of a piece is always kept.
    faint
        Evidence that a segment must have on average where it lies outside all cover.
    cover, cover_voxels
        A kept voxel covers what lies within `cover` times its depth and this many voxels around it.
    """
    n = len(voxels)
    steps = step_lengths(voxels.spacing_nm)
    height, best = np.zeros(n, np.float32), np.full(n, -1, np.int32)
    _heights(voxels.row, voxels.x, voxels.shape[1], steps, march.parent, march.order, (height, best))
    heads, length = _heads(voxels.row, voxels.x, voxels.shape[1], steps, march.parent, march.order, (height, best))
    ranked = heads[np.argsort(-length, kind="stable")]
    roots = heads[march.parent[heads] < 0]
    ranked = np.concatenate([roots, ranked[march.parent[ranked] >= 0]])
    kept, covered = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    reach = (cover * voxels.depth_nm).astype(np.float32)
    _keep(
        (voxels.starts, voxels.row, voxels.x),
        (voxels.shape[0], voxels.shape[1]),
        (np.asarray(voxels.spacing_nm), cover_voxels),
        step_lengths((1.0, 1.0, 1.0)),
        (march.parent, best, ranked, reach),
        (voxels.value, spur, 255 * faint),
        (kept, covered),
    )
    return kept


@numba.njit(cache=True, nogil=True, inline="always")
def _step(row, x, Y, steps, u, v):  # type: ignore[no-untyped-def]
    return steps[row[v] // Y - row[u] // Y + 1, row[v] % Y - row[u] % Y + 1, x[v] - x[u] + 1]


@numba.njit(cache=True, nogil=True)
def _heights(row, x, Y, steps, parent, order, out):  # type: ignore[no-untyped-def]
    """The longest way down from each voxel, and its first step."""
    height, best = out
    for i in range(order.size - 1, -1, -1):
        v = order[i]
        u = parent[v]
        if u >= 0:
            way = height[v] + _step(row, x, Y, steps, u, v)
            if way > height[u] or best[u] < 0:
                height[u], best[u] = way, v


@numba.njit(cache=True, nogil=True)
def _heads(row, x, Y, steps, parent, order, ways):  # type: ignore[no-untyped-def]
    """The first voxel of every segment in marching order, and the segment's length with the step to its parent."""
    height, best = ways
    count = 0
    for v in order:
        count += parent[v] < 0 or best[parent[v]] != v
    heads, length = np.empty(count, np.int32), np.empty(count, np.float32)
    count = 0
    for v in order:
        u = parent[v]
        if u < 0 or best[u] != v:
            heads[count] = v
            length[count] = height[v] + (_step(row, x, Y, steps, u, v) if u >= 0 else 0.0)
            count += 1
    return heads, length


@numba.njit(cache=True, nogil=True)
def _cover(rows, extent, spacing, v, reach, covered):  # type: ignore[no-untyped-def]
    """Mark the voxels of an ellipsoid: `reach` nm, and some voxels more along every axis."""
    starts, row, x = rows
    step, more = spacing
    Z, Y = extent
    z, y = row[v] // Y, row[v] % Y
    axes = reach / step + more
    high, wide = int(axes[0]), int(axes[1])
    for other_z in range(max(0, z - high), min(Z, z + high + 1)):
        for other_y in range(max(0, y - wide), min(Y, y + wide + 1)):
            left = 1 - ((other_z - z) / axes[0]) ** 2 - ((other_y - y) / axes[1]) ** 2
            if left < 0:
                continue
            half = int(np.sqrt(left) * axes[2])
            r = other_z * Y + other_y
            i = lower(starts, x, r, x[v] - half)
            while i < starts[r + 1] and x[i] <= x[v] + half:
                covered[i] = True
                i += 1


@numba.njit(cache=True, nogil=True)
def _keep(rows, extent, spacing, steps, segments, limits, out):  # type: ignore[no-untyped-def]
    _, row, x = rows
    parent, best, ranked, reach = segments
    value, spur, faint = limits
    kept, covered = out
    for head in ranked:
        v, bare, evidence = head, 0.0, 0.0
        while v >= 0:
            if not covered[v] and parent[v] >= 0:
                step = _step(row, x, extent[1], steps, parent[v], v)
                bare += step
                evidence += step * value[v]
            v = best[v]
        if parent[head] >= 0 and (bare < spur or evidence < faint * bare):
            continue
        v = parent[head]
        while v >= 0 and not kept[v]:
            kept[v] = True
            v = parent[v]
        v = head
        while v >= 0:
            kept[v] = True
            _cover(rows, extent, spacing, v, reach[v], covered)
            v = best[v]
