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

from neuropil.synth.em_lattice import STEPS, Patch, is_glia
from neuropil.synth.em_warp import Grid, to_lattice

__all__ = ["FAR_NM", "Fields", "Spec", "empty_fields", "fill_fields"]

FAR_NM = 90.0  #: distances to membranes are cut off here
REACH = 0.6  #: neurons whose weighted distance exceeds the winner's by more (lattice units) are not looked at
SHEET_REACH = 0.9  #: how far glial sheets spread from their process, lattice units
SMOOTH = 0.3  #: rounding of a neuron's own joints, lattice units
ROUND = 0.3  #: rounding of corners where three neurons meet, lattice units
SHEET_NM = 17.0  #: half the thickness of a glial sheet
MITO_MARGIN_NM = 22.0  #: cytoplasm between a mitochondrion and the membrane
DENSITY_REACH, POOL_REACH = 0.42, 1.7  #: of a synaptic density, and of the vesicles behind it, lattice units
_MAX = 650

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

# columns of a segment: start 0-2, vector 3-5, then
_INV, _R, _DR, _F, _M, _DM, _AXIS, _WIDTH = 6, 7, 8, 9, 10, 11, 12, 13  # 1/length², radii, distance at tile centre
# what `_rank` finds: weighted distances of the three nearest neurons and the nearest glia, distance to the own
# segments, to the own mitochondrion, and where along its nearest segment the voxel lies
_F1, _F2, _F3, _FG, _CORE, _MITO, _T, _FOUND = 0, 1, 2, 3, 4, 5, 6, 7
_NEAR1, _NEAR2, _NEARG, _NEARM = 0, 1, 2, 3  # and the segments that these belong to


class Table(NamedTuple):
    """Segments that can matter within one tile, those of one neuron together."""

    seg: Floats
    who: Ints  # neuron, mitochondrion
    group: Ints  # where each neuron's segments begin
    glial: NDArray[np.bool_]  # per group
    synapse: Floats
    presynaptic: Ints


@njit(cache=True)
def _empty_table() -> Table:
    return Table(
        np.empty((_MAX, _WIDTH)), np.empty((_MAX, 2), np.int64), np.empty(_MAX, np.int64), np.empty(_MAX, np.bool_),
        np.empty((_MAX, 3)), np.empty(_MAX, np.int64),
    )  # fmt: skip


def empty_fields(shape: tuple[int, int, int]) -> Fields:
    """Uninitialised fields of a shape."""
    return Fields(np.empty((*shape, 2), np.int64), np.empty((*shape, 8), np.float32))


@njit(cache=True, error_model="numpy", inline="always")
def _distance(seg, n, u):  # type: ignore[no-untyped-def]
    """Distance of `u` to segment `n` and where along it the nearest point lies."""
    a, b, c = u[0] - seg[n, 0], u[1] - seg[n, 1], u[2] - seg[n, 2]
    t = (a * seg[n, 3] + b * seg[n, 4] + c * seg[n, 5]) * seg[n, _INV]
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
def _gather(lat: Patch, u: Floats, table: Table) -> tuple[int, int]:
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
                    seg[n, _INV] = 1.0 / length2
                    seg[n, _R] = lat.radius[z, y, x]
                    seg[n, _DR] = lat.radius[a, b, d] - seg[n, _R]
                    seg[n, _M] = lat.mito_radius[z, y, x]
                    seg[n, _DM] = lat.mito_radius[a, b, d] - seg[n, _M]
                    seg[n, _AXIS] = c
                    table.who[n, 0] = lat.owner[z, y, x]
                    table.who[n, 1] = lat.mito_DHWC[z, y, x, c]
                    distance, t = _distance(seg, n, u)
                    seg[n, _F] = distance - seg[n, _R] - t * seg[n, _DR]
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
        if seg[i, _F] > limit:
            continue
        j = kept
        while j > 0 and who[order[j - 1], 0] > who[i, 0]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
        kept += 1
    return kept


@njit(cache=True, error_model="numpy")
def _cull(spec: Spec, slack: float, source: Table, n: int, table: Table) -> int:
    """Keep the segments that can be nearest, second or sheet within `slack` of where `_F` was measured.

    Returns the number of neurons.
    """
    best = 1e9
    for i in range(n):
        best = min(best, source.seg[i, _F])
    best += 2.0 * slack
    order = np.empty(n, np.int64)
    kept = _sorted_near(source.seg, source.who, n, best + SHEET_REACH + SMOOTH, order)
    out, groups, i = 0, 0, 0
    while i < kept:
        j, own = i, 1e9
        who = source.who[order[i], 0]
        while j < kept and source.who[order[j], 0] == who:
            own = min(own, source.seg[order[j], _F])
            j += 1
        glial = is_glia(spec.seed, spec.glia, who)
        if own <= best + (SHEET_REACH if glial else REACH):
            table.group[groups] = out
            table.glial[groups] = glial
            groups += 1
            for q in range(i, j):
                if source.seg[order[q], _F] <= own + 2.0 * slack + SMOOTH:
                    table.seg[out] = source.seg[order[q]]
                    table.who[out] = source.who[order[q]]
                    out += 1
        i = j
    table.group[groups] = out
    return groups


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
            d, t = _distance(seg, n, u)
            g = d - seg[n, _R] - t * seg[n, _DR]
            if d < nearest:
                nearest, near, at_t = d, n, t
            mix = SMOOTH - abs(f - g)
            f = min(f, g)
            if mix > 0.0:
                f -= mix * mix * (0.25 / SMOOTH)
            if who[n, 1] != 0:
                e = d - seg[n, _M] - t * seg[n, _DM]
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
    d, t = _distance(seg, n, u)
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
    axis = np.int64(seg[n, _AXIS])
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
def _near_synapses(far: Table, count: int, u: Floats, slack: float, near: Table) -> int:
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
    count, synapses = _gather(lat, u, raw)
    groups = _cull(spec, spec.slack, raw, count, wide)
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
            distance, t = _distance(wide.seg, n, u)
            wide.seg[n, _F] = distance - wide.seg[n, _R] - t * wide.seg[n, _DR]
        groups = _cull(spec, spec.part_slack, wide, count, near)
        close = _near_synapses(raw, synapses, u, spec.part_slack, near)
        _part(spec, grid, (near, groups, close), fields, (low, high))


@njit(cache=True, error_model="numpy")
def fill_fields(spec: Spec, grid: Grid, lat: Patch, fields: Fields) -> None:
    """Compute all fields of a region, tile by tile; tiles are fixed in space, so every region agrees."""
    tables = (_empty_table(), _empty_table(), _empty_table())
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
