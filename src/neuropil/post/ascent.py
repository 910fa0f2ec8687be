"""Kernels of the steepest ascent: who points to whom, which of it an affinity forbids, and what is connected.

Edges are (3, Z, Y, X) uint8 affinities to the lower neighbour along z, y, x. Loops run along rows without branches
where they can (the compiler then works on 16 to 64 voxels at once); the rare voxel near a forbidden edge is
looked at singly.
"""

from __future__ import annotations

import numba
import numpy as np

SELF = 13  #: code of a voxel that points to itself; code = 9 (dz + 1) + 3 (dy + 1) + dx + 1
NONE = 255  #: code of a background voxel


@numba.njit(cache=True, nogil=True)
def _raise_row(row, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] = row[x] if row[x] > out[x] else out[x]


@numba.njit(cache=True, nogil=True)
def _lower_row(row, out):  # type: ignore[no-untyped-def]
    for x in range(out.size):
        out[x] = row[x] if row[x] < out[x] else out[x]


@numba.njit(cache=True, nogil=True)
def _best_edges(edges, z, y, out):  # type: ignore[no-untyped-def]
    """The largest affinity of the (up to six) edges of each voxel of a row; 255 where a voxel has no edge."""
    _, Z, Y, X = edges.shape
    out[:] = 255 if Z * Y * X == 1 else 0
    if X > 1:
        _raise_row(edges[2, z, y, 1:], out[1:])
        _raise_row(edges[2, z, y, 1:], out[:-1])
    if z > 0:
        _raise_row(edges[0, z, y], out)
    if z + 1 < Z:
        _raise_row(edges[0, z + 1, y], out)
    if y > 0:
        _raise_row(edges[1, z, y], out)
    if y + 1 < Y:
        _raise_row(edges[1, z, y + 1], out)


@numba.njit(cache=True, nogil=True)
def _worst_around(edges, z, y, near, out):  # type: ignore[no-untyped-def]
    """A lower bound of all edges within the 3 x 3 x 3 voxels around each voxel of a row."""
    _, Z, Y, X = edges.shape
    near[:] = 255
    inner = near[1:-1]
    for other_z in range(max(0, z - 1), min(Z, z + 2)):
        for other_y in range(max(0, y - 1), min(Y, y + 2)):
            for axis in range(3):
                _lower_row(edges[axis, other_z, other_y], inner)
    out[:] = 255
    for shift in range(3):
        _lower_row(near[shift : shift + X], out)


@numba.njit(cache=True, nogil=True)
def reaching(edges, level, out):  # type: ignore[no-untyped-def]
    """Voxels of which at least one edge reaches a level."""
    Z, Y, X = out.shape
    best = np.empty(X, np.uint8)
    for z in range(Z):
        for y in range(Y):
            _best_edges(edges, z, y, best)
            for x in range(X):
                out[z, y, x] = best[x] >= level


@numba.njit(cache=True, nogil=True)
def _take_higher(heights, code, best, codes):  # type: ignore[no-untyped-def]
    for x in range(best.size):
        higher = heights[x] >= best[x]
        best[x] = heights[x] if higher else best[x]
        codes[x] = code if higher else codes[x]


@numba.njit(cache=True, nogil=True)
def _step(edges, axis, way, z, y, x):  # type: ignore[no-untyped-def]
    """Affinity of the edge from a voxel one step along an axis."""
    if axis == 0:
        return edges[0, z + (way > 0), y, x]
    if axis == 1:
        return edges[1, z, y + (way > 0), x]
    return edges[2, z, y, x + (way > 0)]


@numba.njit(cache=True, nogil=True)
def _passable_in_plane(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dy, dx = steps
    if dy != 0 and _step(edges, 1, dy, z, y, x) >= level and (dx == 0 or _step(edges, 2, dx, z, y + dy, x) >= level):
        return True
    return dx != 0 and _step(edges, 2, dx, z, y, x) >= level and (dy == 0 or _step(edges, 1, dy, z, y, x + dx) >= level)


@numba.njit(cache=True, nogil=True)
def _passable_zx(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dz, dx = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level and (dx == 0 or _step(edges, 2, dx, z + dz, y, x) >= level):
        return True
    return dx != 0 and _step(edges, 2, dx, z, y, x) >= level and (dz == 0 or _step(edges, 0, dz, z, y, x + dx) >= level)


@numba.njit(cache=True, nogil=True)
def _passable_zy(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    dz, dy = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level and (dy == 0 or _step(edges, 1, dy, z + dz, y, x) >= level):
        return True
    return dy != 0 and _step(edges, 1, dy, z, y, x) >= level and (dz == 0 or _step(edges, 0, dz, z, y + dy, x) >= level)


@numba.njit(cache=True, nogil=True)
def _passable(edges, level, steps, z, y, x):  # type: ignore[no-untyped-def]
    """Whether some shortest path of nearest edges to the neighbour stays at or above a level."""
    dz, dy, dx = steps
    if dz != 0 and _step(edges, 0, dz, z, y, x) >= level:
        if dy == 0 and dx == 0:
            return True
        if _passable_in_plane(edges, level, (dy, dx), z + dz, y, x):
            return True
    if dy != 0 and _step(edges, 1, dy, z, y, x) >= level:
        if dz == 0 and dx == 0:
            return True
        if _passable_zx(edges, level, (dz, dx), z, y + dy, x):
            return True
    if dx != 0 and _step(edges, 2, dx, z, y, x) >= level:
        if dz == 0 and dy == 0:
            return True
        if _passable_zy(edges, level, (dz, dy), z, y, x + dx):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _next_best(height, edges, reach, level, z, y, x):  # type: ignore[no-untyped-def]
    """The highest passable neighbour that is higher than the voxel itself, or the voxel."""
    chosen, top = SELF, height[z + 1, y + 1, x + 1]
    for k in range(27):
        dz, dy, dx = k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1
        if k == SELF or dz < -reach or dz > reach:
            continue
        value = height[z + 1 + dz, y + 1 + dy, x + 1 + dx]
        # equal heights: the higher index wins, and codes ascend with the index
        if (value > top or (value == top and k > chosen)) and _passable(edges, level, (dz, dy, dx), z, y, x):
            chosen, top = k, value
    return chosen


@numba.njit(cache=True, nogil=True)
def ascend(height, edges, reach, level, floor, code):  # type: ignore[no-untyped-def]
    """Point each voxel to its highest passable neighbour; `height` is padded by one voxel on all sides."""
    Z, Y, X = code.shape
    best, codes = np.empty(X, np.float32), np.empty(X, np.float32)
    around, worst, most = np.empty(X + 2, np.uint8), np.empty(X, np.uint8), np.empty(X, np.uint8)
    for z in range(Z):
        for y in range(Y):
            best[:] = -np.inf
            codes[:] = SELF
            # ascending global index, and the later of equals wins: ties go to the higher index
            for k in range(27):
                dz = k // 9 - 1
                if -reach <= dz <= reach:
                    dx = k % 3
                    row = height[z + 1 + dz, y + k // 3 % 3, dx : dx + X]
                    _take_higher(row, np.float32(k), best, codes)
            _worst_around(edges, z, y, around, worst)
            _best_edges(edges, z, y, most)
            for x in range(X):
                code[z, y, x] = np.uint8(codes[x])
                if worst[x] >= level:
                    continue  # every path is open, and the voxel is tissue: `level` is not below `floor`
                k = int(codes[x])
                if most[x] < floor:
                    code[z, y, x] = NONE
                elif (
                    most[x] >= level
                    and k != SELF
                    and not _passable(edges, level, (k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1), z, y, x)
                ):
                    code[z, y, x] = _next_best(height, edges, reach, level, z, y, x)


@numba.njit(cache=True, nogil=True)
def root_of(parent, v):  # type: ignore[no-untyped-def]
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@numba.njit(cache=True, nogil=True)
def join(parent, a, b):  # type: ignore[no-untyped-def]
    a, b = root_of(parent, a), root_of(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@numba.njit(cache=True, nogil=True)
def numbered(parent, code, out):  # type: ignore[no-untyped-def]
    """Turn a forest into ids in order of first voxel."""
    out[:] = 0
    last = np.int32(0)
    for v in range(parent.size):
        if code[v] == NONE:
            continue
        root = root_of(parent, v)
        if out[root] == 0:
            last += np.int32(1)
            out[root] = -last
        # a root keeps the negative of its id until the last pass, so that id and "seen" share one array
        if v != root:
            out[v] = abs(out[root])
    for v in range(parent.size):
        out[v] = abs(out[v])
    return last


@numba.njit(cache=True, nogil=True)
def join_links(code, core, edges, rule, out):  # type: ignore[no-untyped-def]
    """Union of all links, and of core voxels along passable faces; ids in order of first voxel."""
    Z, Y, X = code.shape
    planes, level = rule
    step = np.zeros(256, np.int32)
    for k in range(27):
        step[k] = ((k // 9 - 1) * Y + k // 3 % 3 - 1) * X + k % 3 - 1
    parent, codes = np.empty(code.size, np.int32), code.ravel()
    for v in range(parent.size):
        parent[v] = v + step[codes[v]]
    v = 0
    for z in range(Z):
        for y in range(Y):
            for x in range(X):
                if core[z, y, x] and code[z, y, x] != NONE:
                    if (
                        planes
                        and z > 0
                        and core[z - 1, y, x]
                        and edges[0, z, y, x] >= level
                        and code[z - 1, y, x] != NONE
                    ):
                        join(parent, v, v - Y * X)
                    if y > 0 and core[z, y - 1, x] and edges[1, z, y, x] >= level and code[z, y - 1, x] != NONE:
                        join(parent, v, v - X)
                    if x > 0 and core[z, y, x - 1] and edges[2, z, y, x] >= level and code[z, y, x - 1] != NONE:
                        join(parent, v, v - 1)
                v += 1
    return numbered(parent, codes, out.ravel())


@numba.njit(cache=True, nogil=True)
def in_order(labels, out, n):  # type: ignore[no-untyped-def]
    """Renumber 1 .. in order of first voxel; returns how many."""
    new = np.zeros(n + 1, np.int32)
    last = np.int32(0)
    flat, target = labels.ravel(), out.ravel()
    for v in range(flat.size):
        label = flat[v]
        if label > 0 and new[label] == 0:
            last += np.int32(1)
            new[label] = last
        target[v] = new[label]
    return last
