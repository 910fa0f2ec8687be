"""Grey-weighted geodesic distances over neurite voxels: one Dijkstra march over 26 neighbours with true step lengths.

A step costs its length in nm times the mean cost of its two voxels, so paths keep to strong evidence. Voxels that lie
equally far are taken in row-major order, so the answer does not depend on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neuropil.tracing.voxels import Voxels, lower

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class March:
    """What a march leaves behind.

    Parameters
    ----------
    parent
        (N,) int32 next voxel towards the seed of its piece, -1 at seeds.
    order
        (N,) int32 voxels in the order in which they were reached.
    piece
        (N,) int32 number of the connected piece, in order of seeds.
    """

    parent: Ints
    order: Ints
    piece: Ints


def march(voxels: Voxels, cost: npt.NDArray[np.float32], seeds: npt.NDArray[np.integer]) -> March:
    """March from the seeds, each one reaching its whole connected piece; a seed already reached is passed over.

    Parameters
    ----------
    cost
        (N,) positive cost of every voxel; see `costs`.
    seeds
        Voxels in order of preference; those of pieces without a seed are not reached (piece -1).
    """
    n = len(voxels)
    parent, order, piece = np.full(n, -1, np.int32), np.empty(n, np.int32), np.full(n, -1, np.int32)
    # in finest edges: the unit of length must not decide ties
    steps = step_lengths(np.asarray(voxels.spacing_nm) / voxels.edge_nm).astype(np.float32)
    reached = _march(
        voxels.starts,
        voxels.row,
        voxels.x,
        cost,
        (voxels.shape[0], voxels.shape[1]),
        steps,
        np.asarray(seeds, np.int32),
        (parent, order, piece),
    )
    return March(parent, order[:reached], piece)


def costs(voxels: Voxels, *, sharpness: float, middle: float) -> npt.NDArray[np.float32]:
    """(N,) exp(sharpness (1 - evidence)^2) / depth^middle, depth in finest voxel edges.

    It is low on sure neurite, and in the middle of thick ones, where evidence is the same everywhere.
    """
    table = np.exp(sharpness * (1 - np.arange(256) / 255) ** 2).astype(np.float32)
    depth = voxels.depth_nm / np.float32(voxels.edge_nm)
    return np.asarray(table[voxels.value] / depth ** np.float32(middle))


def step_lengths(spacing_nm: Any) -> npt.NDArray[np.float64]:
    """(3, 3, 3) nm from a voxel to each of its neighbours."""
    step = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    return np.asarray(np.linalg.norm(step * np.asarray(spacing_nm), axis=1).reshape(3, 3, 3))


@numba.njit(cache=True, nogil=True, inline="always")
def _before(dist, a, b):  # type: ignore[no-untyped-def]
    return dist[a] < dist[b] or (dist[a] == dist[b] and a < b)


@numba.njit(cache=True, nogil=True)
def _rise(heap, place, dist, at):  # type: ignore[no-untyped-def]
    item = heap[at]
    while at > 0:
        above = (at - 1) >> 1
        if not _before(dist, item, heap[above]):
            break
        heap[at] = heap[above]
        place[heap[at]] = at
        at = above
    heap[at] = item
    place[item] = at


@numba.njit(cache=True, nogil=True)
def _sink(heap, place, dist, size):  # type: ignore[no-untyped-def]
    item, at = heap[0], 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and _before(dist, heap[below + 1], heap[below]):
            below += 1
        if not _before(dist, heap[below], item):
            break
        heap[at] = heap[below]
        place[heap[at]] = at
        at = below
    heap[at] = item
    place[item] = at


@numba.njit(cache=True, nogil=True)
def _march(starts, row, x, cost, extent, steps, seeds, out):  # type: ignore[no-untyped-def]
    parent, order, piece = out
    Z, Y = extent
    n = x.size
    dist = np.full(n, np.inf, np.float32)
    place = np.full(n, -1, np.int32)  # in the heap; -2 when done
    heap = np.empty(n, np.int32)
    reached, pieces = 0, 0
    for seed in seeds:
        if place[seed] == -2:
            continue
        dist[seed], heap[0], place[seed], size = np.float32(0), seed, 0, 1
        while size > 0:
            u = heap[0]
            size -= 1
            if size > 0:
                heap[0] = heap[size]
                _sink(heap, place, dist, size)
            place[u] = -2
            order[reached] = u
            piece[u] = pieces
            reached += 1
            z, y = row[u] // Y, row[u] % Y
            for other_z in range(max(0, z - 1), min(Z, z + 2)):
                for other_y in range(max(0, y - 1), min(Y, y + 2)):
                    r = other_z * Y + other_y
                    v = lower(starts, x, r, x[u] - 1)
                    while v < starts[r + 1] and x[v] <= x[u] + 1:
                        if place[v] != -2:
                            length = steps[other_z - z + 1, other_y - y + 1, x[v] - x[u] + 1]
                            far = dist[u] + length * (cost[u] + cost[v]) * np.float32(0.5)
                            if far < dist[v]:
                                dist[v] = far
                                parent[v] = u
                                if place[v] < 0:
                                    heap[size] = v
                                    place[v] = size
                                    size += 1
                                _rise(heap, place, dist, place[v])
                        v += 1
        pieces += 1
    return reached
