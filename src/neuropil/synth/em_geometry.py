"""For every voxel: whose it is, how far the next membrane, and what lies inside.

A neuron is the set of points nearer to its segments than to any other neuron's (an additively weighted Voronoi
diagram of curves): tissue is filled without rest, and a cell always holds the line from each of its points to its
skeleton, which keeps it in one piece. The diagram is taken in the warped space of `em_warp`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.synth.em_lattice import Patch
from neuropil.synth.em_segments import (
    AXIS,
    DM,
    DR,
    POOL_REACH,
    REACH,
    SHEET_REACH,
    SMOOTH,
    F,
    M,
    R,
    Table,
    cull,
    distance,
    empty_table,
    gather,
    near_synapses,
)  # fmt: skip
from neuropil.synth.em_warp import Grid, to_lattice

__all__ = ["FAR_NM", "Fields", "Spec", "empty_fields", "fill_fields"]

FAR_NM = 90.0  #: distances to membranes are cut off here
ROUND = 0.28  #: rounding of corners where three neurons meet, lattice units
SHEET_NM = 17.0  #: half the thickness of a glial sheet
MITO_MARGIN_NM = 22.0  #: cytoplasm between a mitochondrion and the membrane
DENSITY_REACH = 0.42  #: of a synaptic density, lattice units

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Spec(NamedTuple):
    """What the geometry kernel needs to know, once."""

    seed: int
    spacing_nm: float
    voxel: Floats
    tile: Ints  #: voxels that share one list of candidate segments
    slack: float  #: how far (lattice units) a voxel of a tile can lie from its centre
    part_slack: float  #: and a voxel of an eighth of it
    glia: float
    core_nm: float  #: around its segments a neuron is never cut, neither by gap nor by glia
    shift_ZC: Floats  #: y, x displacement (nm) of each section of the region
    start: Ints  #: first voxel of the region


class Fields(NamedTuple):
    """What is known of every voxel of a region."""

    who_DHWC: Ints  #: neuron, mitochondrion (0 where there is none)
    what_DHWC: NDArray[np.float32]  #: the quantities below


# columns of Fields.what_DHWC (nm unless said otherwise)
MEMBRANE = 0  #: distance to the middle of the nearest membrane
TILT = 1  #: |z| component of the membrane's normal
CORE = 2  #: distance to the neuron's own segments
ACROSS = 3  #: and 4: coordinates across the neurite, for what runs along it
INSIDE = 5  #: signed distance to the mitochondrion's surface, negative inside
DENSITY = 6  #: synaptic density, 0 to 1
VESICLES = 7  #: nearness to a synapse of the own, 0 to 1

# what `_rank` finds: weighted distances of the three nearest neurons and the nearest glia, distance to the own
# segments, to the own mitochondrion, and where along its nearest segment the voxel lies
_F1, _F2, _F3, _FG, _CORE, _MITO, _T, _FOUND = 0, 1, 2, 3, 4, 5, 6, 7
_NEAR1, _NEAR2, _NEARG, _NEARM = 0, 1, 2, 3  # and the segments that these belong to


def empty_fields(shape: tuple[int, int, int]) -> Fields:
    """Uninitialised fields of a shape."""
    return Fields(np.empty((*shape, 2), np.int64), np.empty((*shape, 8), np.float32))


@njit(cache=True, error_model="numpy")
def _rank(
    seg: Floats, who: Ints, edges: tuple[int, Ints, NDArray[np.bool_]], u: Floats, found: tuple[Floats, Ints]
) -> None:
    """Find the two neurons nearest to `u`, the nearest glia, and the own mitochondrion."""
    groups, group, glial = edges
    top, at = found
    top[_F1], top[_F2], top[_F3], top[_FG], top[_MITO] = 1e9, 1e9, 1e9, 1e9, 1e9
    at[0], at[1], at[2], at[3] = -1, -1, -1, -1
    for i in range(groups):
        f, nearest, near, at_t, mito_d, mito = 1e9, 1e9, -1, 0.0, 1e9, -1
        for n in range(group[i], group[i + 1]):
            d, t = distance(seg, n, u)
            g = d - seg[n, R] - t * seg[n, DR]
            if d < nearest:
                nearest, near, at_t = d, n, t
            mix = SMOOTH - abs(f - g)
            f = min(f, g)
            if mix > 0.0:
                f -= mix * mix * (0.25 / SMOOTH)
            if who[n, 1] != 0:
                e = d - seg[n, M] - t * seg[n, DM]
                if e < mito_d:
                    mito_d, mito = e, n
        if glial[i] and f < top[_FG]:
            top[_FG], at[_NEARG] = f, near
        if f < top[_F1]:
            top[_F3], top[_F2], at[_NEAR2] = top[_F2], top[_F1], at[_NEAR1]
            top[_F1], at[_NEAR1] = f, near
            top[_CORE], top[_T], top[_MITO], at[_NEARM] = nearest, at_t, mito_d, mito
        elif f < top[_F2]:
            top[_F3], top[_F2], at[_NEAR2] = top[_F2], f, near
        elif f < top[_F3]:
            top[_F3] = f


@njit(cache=True, error_model="numpy", inline="always")
def _slope(seg, n, u, jac):  # type: ignore[no-untyped-def]
    """Gradient (per nm, tissue axes) of the distance to segment `n`."""
    d, t = distance(seg, n, u)
    d = max(d, 1e-6)
    a = (u[0] - seg[n, 0] - t * seg[n, 3]) / d
    b = (u[1] - seg[n, 1] - t * seg[n, 4]) / d
    c = (u[2] - seg[n, 2] - t * seg[n, 5]) / d
    gz = a * jac[0, 0] + b * jac[1, 0] + c * jac[2, 0]
    gy = a * jac[0, 1] + b * jac[1, 1] + c * jac[2, 1]
    gx = a * jac[0, 2] + b * jac[1, 2] + c * jac[2, 2]
    return gz, gy, gx


@njit(cache=True, error_model="numpy")
def _membrane(
    spacing_nm: float, seg: Floats, u: Floats, jac: Floats, found: tuple[Floats, Ints]
) -> tuple[float, float]:
    """Distance (nm) to the border between the two nearest neurons, and its tilt."""
    top, at = found
    lead = top[_F2] - top[_F1]
    if at[_NEAR2] < 0 or lead > 1.5 * REACH:
        return FAR_NM, 0.0
    mix = ROUND - (top[_F3] - top[_F2])
    if mix > 0.0:  # where three meet, corners are round and the gap is wide
        lead = max(0.0, lead - mix * mix * (0.25 / ROUND))
    az, ay, ax = _slope(seg, at[_NEAR1], u, jac)
    bz, by, bx = _slope(seg, at[_NEAR2], u, jac)
    norm = np.sqrt((bz - az) ** 2 + (by - ay) ** 2 + (bx - ax) ** 2)
    return min(FAR_NM, lead / max(norm, 0.5 / spacing_nm)), abs(bz - az) / max(norm, 1e-9)


@njit(cache=True, error_model="numpy")
def _synaptic(synapse: Floats, presynaptic: Ints, count: int, who: int, u: Floats) -> tuple[float, float]:
    """Nearness (0 to 1) to a synapse's middle and to one of the own vesicle pools; `u` in lattice units."""
    density, vesicles = 0.0, 0.0
    for s in range(count):
        a, b, c = u[0] - synapse[s, 0], u[1] - synapse[s, 1], u[2] - synapse[s, 2]
        d2 = a * a + b * b + c * c
        density = max(density, 1.0 - d2 / DENSITY_REACH**2)
        if presynaptic[s] == who:
            vesicles = max(vesicles, 1.0 - d2 / POOL_REACH**2)
    return density * density, vesicles


@njit(cache=True, error_model="numpy")
def _finish(
    spec: tuple[float, float], table: tuple[Floats, Ints, Floats, Ints, int], where: tuple[Floats, Floats],
    found: tuple[Floats, Ints], target: tuple[Ints, NDArray[np.float32]],
) -> None:  # fmt: skip
    """Write all quantities of one voxel."""
    h, core_nm = spec
    seg, ids, synapse, presynaptic, synapses = table
    u, jac = where
    top, at = found
    who_out, what = target
    n = at[_NEAR1]
    who = ids[n, 0]
    membrane, tilt = _membrane(h, seg, u, jac, found)
    core, mito_nm = top[_CORE] * h, min(top[_MITO] * h, FAR_NM)
    foreign = at[_NEAR2] >= 0 and at[_NEARG] >= 0 and at[_NEARG] != n and at[_NEARG] != at[_NEAR2]
    if foreign and core > core_nm:
        sheet = SHEET_NM * min(1.0, 1.6 * (1.0 - (top[_FG] - top[_F1]) / SHEET_REACH))
        if sheet > 0.0 and membrane < sheet:
            who, membrane, mito_nm = ids[at[_NEARG], 0], sheet - membrane, FAR_NM
        elif sheet > 0.0:
            membrane -= sheet
    mito_nm = max(mito_nm, MITO_MARGIN_NM - membrane)
    axis = np.int64(seg[n, AXIS])
    b, c = (axis + 1) % 3, (axis + 2) % 3
    who_out[0] = who
    who_out[1] = ids[at[_NEARM], 1] if mito_nm < 0.0 else 0
    what[MEMBRANE], what[TILT], what[CORE], what[INSIDE] = membrane, tilt, core, mito_nm
    what[ACROSS] = (u[b] - seg[n, b] - top[_T] * seg[n, 3 + b]) * h
    what[ACROSS + 1] = (u[c] - seg[n, c] - top[_T] * seg[n, 3 + c]) * h
    what[DENSITY], what[VESICLES] = _synaptic(synapse, presynaptic, synapses, who, u)


@njit(cache=True, error_model="numpy")
def _part(spec: Spec, grid: Grid, table: tuple[Table, int, int], fields: Fields, bounds: tuple[Ints, Ints]) -> None:
    """Fill the voxels `low <= v < high` (relative to the region)."""
    near, groups, synapses = table
    low, high = bounds
    p, u, jac = np.empty(3), np.empty(3), np.empty((3, 3))
    found = (np.empty(_FOUND), np.empty(4, np.int64))
    edges = (groups, near.group, near.glial)
    rows = (near.seg, near.who, near.synapse, near.presynaptic, synapses)
    nm = (spec.spacing_nm, spec.core_nm)
    for z in range(low[0], high[0]):
        p[0] = (spec.start[0] + z + 0.5) * spec.voxel[0]
        for y in range(low[1], high[1]):
            p[1] = (spec.start[1] + y + 0.5) * spec.voxel[1] + spec.shift_ZC[z, 0]
            for x in range(low[2], high[2]):
                p[2] = (spec.start[2] + x + 0.5) * spec.voxel[2] + spec.shift_ZC[z, 1]
                to_lattice(grid, p, u, jac)
                _rank(near.seg, near.who, edges, u, found)
                _finish(nm, rows, (u, jac), found, (fields.who_DHWC[z, y, x], fields.what_DHWC[z, y, x]))


@njit(cache=True, error_model="numpy")
def _follow_section(spec: Spec, z: int, p: Floats) -> None:
    # a tile of one section moves with it; thicker tiles allow for all shifts in their slack
    if spec.tile[0] == 1:
        p[1] += spec.shift_ZC[z - spec.start[0], 0]
        p[2] += spec.shift_ZC[z - spec.start[0], 1]


@njit(cache=True, error_model="numpy")
def _tile(tissue: tuple[Spec, Grid, Patch], fields: Fields, tables: tuple[Table, Table, Table], corner: Ints) -> None:
    """Fill one tile: list what is near it, then, for each of its eight parts, what is near that."""
    spec, grid, lat = tissue
    raw, wide, near = tables
    p, u, jac = np.empty(3), np.empty(3), np.empty((3, 3))
    for c in range(3):
        p[c] = (corner[c] + 0.5 * spec.tile[c]) * spec.voxel[c]
    _follow_section(spec, corner[0], p)
    to_lattice(grid, p, u, jac)
    count, synapses = gather(lat, u, raw)
    groups = cull((spec.seed, spec.glia), spec.slack, raw, count, wide)
    count = wide.group[groups]
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for part in range(8):
        empty = False
        for c in range(3):
            half = (spec.tile[c] + 1) // 2
            upper = (part >> c) & 1
            a, b = corner[c] + half * upper, corner[c] + (spec.tile[c] if upper else half)
            p[c] = 0.5 * (a + b) * spec.voxel[c]
            low[c] = max(0, a - spec.start[c])
            high[c] = min(fields.who_DHWC.shape[c], b - spec.start[c])
            empty = empty or low[c] >= high[c]
        if empty:
            continue
        _follow_section(spec, corner[0], p)
        to_lattice(grid, p, u, jac)
        for n in range(count):
            d, t = distance(wide.seg, n, u)
            wide.seg[n, F] = d - wide.seg[n, R] - t * wide.seg[n, DR]
        groups = cull((spec.seed, spec.glia), spec.part_slack, wide, count, near)
        close = near_synapses(raw, synapses, u, spec.part_slack, near)
        _part(spec, grid, (near, groups, close), fields, (low, high))


@njit(cache=True, error_model="numpy")
def fill_fields(spec: Spec, grid: Grid, lat: Patch, fields: Fields) -> None:
    """Compute all fields of a region, tile by tile; tiles are fixed in space, so every region agrees."""
    tables = (empty_table(), empty_table(), empty_table())
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for c in range(3):
        low[c] = spec.start[c] // spec.tile[c]
        high[c] = -(-(spec.start[c] + fields.who_DHWC.shape[c]) // spec.tile[c])
    corner = np.empty(3, np.int64)
    for i in range(low[0], high[0]):
        for j in range(low[1], high[1]):
            for k in range(low[2], high[2]):
                corner[0], corner[1], corner[2] = i * spec.tile[0], j * spec.tile[1], k * spec.tile[2]
                _tile((spec, grid, lat), fields, tables, corner)
