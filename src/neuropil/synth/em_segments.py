"""The few segments, of the many in the lattice, that can matter in a small tile of voxels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.synth.em_lattice import STEPS, Patch, is_glia

__all__ = ["Table", "cull", "distance", "empty_table", "gather", "near_synapses"]

REACH = 0.6  #: neurons whose weighted distance exceeds the winner's by more (lattice units) are not looked at
SHEET_REACH = 0.9  #: how far glial sheets spread from their process, lattice units
SMOOTH = 0.3  #: rounding of a neuron's own joints, lattice units
POOL_REACH = 1.7  #: how far the vesicles of a synapse spread, lattice units
_MAX = 650  # 6 x 6 x 6 sites of three segments each

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# columns of a segment: start 0-2, vector 3-5, then
INV, R, DR, F, M, DM, AXIS, WIDTH = 6, 7, 8, 9, 10, 11, 12, 13  # 1/length², radii, distance at tile centre


class Table(NamedTuple):
    """Segments that can matter within one tile, those of one neuron together."""

    seg: Floats
    who: Ints  # neuron, mitochondrion
    group: Ints  # where each neuron's segments begin
    glial: NDArray[np.bool_]  # per group
    synapse: Floats
    presynaptic: Ints


@njit(cache=True)
def empty_table() -> Table:
    return Table(
        np.empty((_MAX, WIDTH)), np.empty((_MAX, 2), np.int64), np.empty(_MAX, np.int64), np.empty(_MAX, np.bool_),
        np.empty((_MAX, 3)), np.empty(_MAX, np.int64),
    )  # fmt: skip


@njit(cache=True, error_model="numpy", inline="always")
def distance(seg, n, u):  # type: ignore[no-untyped-def]
    """Distance of `u` to segment `n` and where along it the nearest point lies."""
    a, b, c = u[0] - seg[n, 0], u[1] - seg[n, 1], u[2] - seg[n, 2]
    t = (a * seg[n, 3] + b * seg[n, 4] + c * seg[n, 5]) * seg[n, INV]
    t = min(1.0, max(0.0, t))
    a -= t * seg[n, 3]
    b -= t * seg[n, 4]
    c -= t * seg[n, 5]
    return np.sqrt(a * a + b * b + c * c), t


@njit(cache=True, error_model="numpy")
def _synapse(lat: Patch, site: tuple[int, int, int], step: int, out: Floats) -> None:
    """Where the two neurons of a synapse touch."""
    z, y, x = site
    a, b, d = z + STEPS[step, 0], y + STEPS[step, 1], x + STEPS[step, 2]
    lean = 0.5 + 0.5 * (lat.radius[z, y, x] - lat.radius[a, b, d])
    for k in range(3):
        out[k] = (1.0 - lean) * lat.site_DHWC[z, y, x, k] + lean * lat.site_DHWC[a, b, d, k]


@njit(cache=True, error_model="numpy")
def gather(lat: Patch, u: Floats, table: Table) -> tuple[int, int]:
    """List the segments and synapses near `u`; returns how many of each."""
    n, m = 0, 0
    z0 = np.int64(np.floor(u[0])) - lat.start[0]
    y0 = np.int64(np.floor(u[1])) - lat.start[1]
    x0 = np.int64(np.floor(u[2])) - lat.start[2]
    seg = table.seg
    for z in range(z0 - 2, z0 + 4):
        for y in range(y0 - 2, y0 + 4):
            for x in range(x0 - 2, x0 + 4):
                for c in range(3):
                    if not lat.link_DHWC[z, y, x, c]:
                        continue
                    a, b, d = z + (c == 0), y + (c == 1), x + (c == 2)
                    length2 = 0.0
                    for k in range(3):
                        seg[n, k] = lat.site_DHWC[z, y, x, k]
                        seg[n, 3 + k] = lat.site_DHWC[a, b, d, k] - seg[n, k]
                        length2 += seg[n, 3 + k] ** 2
                    seg[n, INV] = 1.0 / length2
                    seg[n, R] = lat.radius[z, y, x]
                    seg[n, DR] = lat.radius[a, b, d] - seg[n, R]
                    seg[n, M] = lat.mito_radius[z, y, x]
                    seg[n, DM] = lat.mito_radius[a, b, d] - seg[n, M]
                    seg[n, AXIS] = c
                    table.who[n, 0] = lat.owner[z, y, x]
                    table.who[n, 1] = lat.mito_DHWC[z, y, x, c]
                    d, t = distance(seg, n, u)
                    seg[n, F] = d - seg[n, R] - t * seg[n, DR]
                    n += 1
                if lat.synapse[z, y, x] >= 0:
                    _synapse(lat, (z, y, x), lat.synapse[z, y, x], table.synapse[m])
                    table.presynaptic[m] = lat.owner[z, y, x]
                    m += 1
    return n, m


@njit(cache=True, error_model="numpy")
def _sorted_near(seg: Floats, who: Ints, n: int, limit: float, order: Ints) -> int:
    """Order by neuron the segments nearer than `limit` at the tile's centre; returns how many."""
    kept = 0
    for i in range(n):
        if seg[i, F] > limit:
            continue
        j = kept
        while j > 0 and who[order[j - 1], 0] > who[i, 0]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        kept += 1
    return kept


@njit(cache=True, error_model="numpy")
def cull(kind: tuple[int, float], slack: float, source: Table, n: int, table: Table) -> int:
    """Keep the segments that can be nearest, second or sheet within `slack` of where `F` was measured.

    Returns the number of neurons.
    """
    best = 1e9
    for i in range(n):
        best = min(best, source.seg[i, F])
    best += 2.0 * slack
    order = np.empty(n, np.int64)
    kept = _sorted_near(source.seg, source.who, n, best + SHEET_REACH + SMOOTH, order)
    out, groups, i = 0, 0, 0
    while i < kept:
        j, own = i, 1e9
        who = source.who[order[i], 0]
        while j < kept and source.who[order[j], 0] == who:
            own = min(own, source.seg[order[j], F])
            j += 1
        glial = is_glia(kind[0], kind[1], who)
        if own <= best + (SHEET_REACH if glial else REACH):
            table.group[groups] = out
            table.glial[groups] = glial
            groups += 1
            for q in range(i, j):
                if source.seg[order[q], F] <= own + 2.0 * slack + SMOOTH:
                    table.seg[out] = source.seg[order[q]]
                    table.who[out] = source.who[order[q]]
                    out += 1
        i = j
    table.group[groups] = out
    return groups


@njit(cache=True, error_model="numpy")
def near_synapses(far: Table, count: int, u: Floats, slack: float, near: Table) -> int:
    kept = 0
    for s in range(count):
        d2 = 0.0
        for c in range(3):
            d2 += (u[c] - far.synapse[s, c]) ** 2
        if d2 < (POOL_REACH + slack) ** 2:
            near.synapse[kept] = far.synapse[s]
            near.presynaptic[kept] = far.presynaptic[s]
            kept += 1
    return kept
