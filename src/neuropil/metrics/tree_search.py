"""The nearest cable of a tree, exactly and for many points: boxes around boxes around edges."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from neuropil.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Edges of a lowest box.
_LEAF = 4


@dataclass(frozen=True)
class Nearest:
    """Answer to a search, one row a point.

    `distance` to the nearest edge, `edge` its number, `along` the place on it (0 at its first end, 1 at its second).
    """

    distance: Floats
    edge: Ints
    along: Floats


class SegmentTree:
    """A search tree over straight edges in space; building is O(E log E), a search visits few boxes.

    Parameters
    ----------
    first, second
        (E, 3) ends of the edges, in any one unit; an edge of no length is a point.

    Raises
    ------
    InputError
        If there is no edge.
    """

    def __init__(self, first: Floats, second: Floats) -> None:
        if not len(first):
            raise InputError("no edge to measure a distance to", "a tree with nodes")
        middle = (first + second) / 2
        self._order = np.argsort(_morton(middle), kind="stable")
        self._first = np.ascontiguousarray(first[self._order])
        self._second = np.ascontiguousarray(second[self._order])
        self._low, self._high = _boxes(self._first, self._second)

    def nearest(self, points: Floats) -> Nearest:
        """The nearest edge of each of (M, 3) points; of edges equally near, any. Neighbours in a row search faster."""
        squared, edge, along = _search(
            np.ascontiguousarray(points, np.float64), self._first, self._second, self._low, self._high
        )
        return Nearest(np.sqrt(squared), self._order[edge], along)


def _morton(points: Floats) -> NDArray[np.uint64]:
    """Position along a space-filling curve, 21 bits an axis: neighbours in space become neighbours in the row."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / max(float((high - low).max()), np.finfo(np.float64).tiny)
    cells = np.minimum(scaled * 2**21, 2**21 - 1).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        code |= _spread(cells[:, axis]) << np.uint64(axis)
    return code


def _spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Two empty bits after each of 21 bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits


def _boxes(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Corners of the boxes of a complete binary tree: box i holds boxes 2i + 1 and 2i + 2, the last level edges."""
    leaves = 1 << max(0, (-(-len(first) // _LEAF) - 1).bit_length())
    low = np.full((leaves * _LEAF, 3), np.inf)
    high = np.full((leaves * _LEAF, 3), -np.inf)
    low[: len(first)], high[: len(first)] = np.minimum(first, second), np.maximum(first, second)
    lows, highs = [low.reshape(leaves, _LEAF, 3).min(axis=1)], [high.reshape(leaves, _LEAF, 3).max(axis=1)]
    while len(lows[-1]) > 1:
        lows.append(lows[-1].reshape(-1, 2, 3).min(axis=1))
        highs.append(highs[-1].reshape(-1, 2, 3).max(axis=1))
    return np.concatenate(lows[::-1]), np.concatenate(highs[::-1])


@numba.njit(cache=True, nogil=True, inline="always")
def _gap(value: float, low: float, high: float) -> float:
    return max(max(low - value, value - high), 0.0)


@numba.njit(cache=True, nogil=True)
def _box_distance(z: float, y: float, x: float, low: Floats, high: Floats, box: int) -> float:
    """Squared distance to a box; infinite to one that holds nothing."""
    to_z, to_y = _gap(z, low[box, 0], high[box, 0]), _gap(y, low[box, 1], high[box, 1])
    to_x = _gap(x, low[box, 2], high[box, 2])
    return to_z * to_z + to_y * to_y + to_x * to_x


@numba.njit(cache=True, nogil=True)
def _edge_distance(z: float, y: float, x: float, first: Floats, second: Floats, edge: int) -> tuple[float, float]:
    """Squared distance to an edge, and where on it."""
    step_z, step_y, step_x = (
        second[edge, 0] - first[edge, 0],
        second[edge, 1] - first[edge, 1],
        second[edge, 2] - first[edge, 2],
    )
    from_z, from_y, from_x = z - first[edge, 0], y - first[edge, 1], x - first[edge, 2]
    square = step_z * step_z + step_y * step_y + step_x * step_x
    along = 0.0
    if square > 0.0:
        along = min(1.0, max(0.0, (from_z * step_z + from_y * step_y + from_x * step_x) / square))
    from_z, from_y, from_x = from_z - along * step_z, from_y - along * step_y, from_x - along * step_x
    return from_z * from_z + from_y * from_y + from_x * from_x, along


@numba.njit(cache=True, nogil=True)
def _search(points: Floats, first: Floats, second: Floats, low: Floats, high: Floats) -> tuple[Floats, Ints, Floats]:
    count, leaves = len(points), (len(low) + 1) // 2
    squared, edge, along = np.empty(count), np.empty(count, np.int64), np.empty(count)
    stack, stacked = np.empty(128, np.int64), np.empty(128)
    best_edge = 0
    for i in range(count):
        z, y, x = points[i, 0], points[i, 1], points[i, 2]
        # the answer of the point before is near this one as well: a good first bound
        best, best_along = _edge_distance(z, y, x, first, second, best_edge)
        stack[0], stacked[0], top = 0, 0.0, 1
        while top:
            top -= 1
            box = stack[top]
            if stacked[top] >= best:
                continue
            if box >= leaves - 1:
                start = (box - leaves + 1) * _LEAF
                for k in range(start, min(start + _LEAF, len(first))):
                    distance, where = _edge_distance(z, y, x, first, second, k)
                    if distance < best:
                        best, best_edge, best_along = distance, k, where
                continue
            near, far = 2 * box + 1, 2 * box + 2
            to_near = _box_distance(z, y, x, low, high, near)
            to_far = _box_distance(z, y, x, low, high, far)
            if to_far < to_near:
                near, far, to_near, to_far = far, near, to_far, to_near
            # the nearer box comes out first
            if to_far < best:
                stack[top], stacked[top], top = far, to_far, top + 1
            if to_near < best:
                stack[top], stacked[top], top = near, to_near, top + 1
        squared[i], edge[i], along[i] = best, best_edge, best_along
    return squared, edge, along
