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
SHEET_NM = 17.0  #: half the thickness of a glial sheet
MITO_MARGIN_NM = 22.0  #: cytoplasm between a mitochondrion and the membrane
DENSITY_NM, VESICLE_NM = 34.0, 150.0
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
    glia: float
    core_nm: float  #: around its segments a neuron is never cut, neither by gap nor by glia
    shift_ZC: Floats  #: y, x displacement (nm) of each section of the region
    start: Ints  #: first voxel of the region


class Fields(NamedTuple):
    """One value per voxel of a region."""

    neuron: Ints
    membrane_nm: NDArray[np.float32]  #: distance to the middle of the nearest membrane
    tilt: NDArray[np.float32]  #: |z| component of the membrane's normal
    core_nm: NDArray[np.float32]  #: distance to the neuron's own segments
    across_DHWC: NDArray[np.float32]  #: two coordinates (nm) across the neurite, for what runs along it
    mito: Ints
    mito_nm: NDArray[np.float32]  #: signed distance to the mitochondrion's surface, negative inside
    density: NDArray[np.float32]  #: synaptic density, 0 to 1
    vesicles: NDArray[np.float32]  #: nearness to the own synapse, 0 to 1


# columns of a segment: start 0-2, vector 3-5, then
_INV, _R, _DR, _F, _M, _DM, _AXIS, _WIDTH = 6, 7, 8, 9, 10, 11, 12, 13  # 1/length², radii, distance at tile centre
# what `_rank` finds: weighted distances of the two nearest neurons and the nearest glia, distance to the own
# segments, to the own mitochondrion, and where along its nearest segment the voxel lies
_F1, _F2, _FG, _CORE, _MITO, _T = 0, 1, 2, 3, 4, 5
_NEAR1, _NEAR2, _NEARG, _NEARM = 0, 1, 2, 3  # and the segments that these belong to


class Table(NamedTuple):
    """Segments that can matter within one tile, those of one neuron together."""

    raw: Floats
    raw_who: Ints  # neuron, mitochondrion
    order: Ints
    seg: Floats
    who: Ints  # neuron, mitochondrion
    group: Ints  # where each neuron's segments begin
    glial: NDArray[np.bool_]  # per group
    synapse: Floats
    presynaptic: Ints
    scratch: Floats  # room for two gradients


def empty_fields(shape: tuple[int, int, int]) -> Fields:
    """Uninitialised fields of a shape."""
    small = [np.empty(shape, np.float32) for _ in range(6)]
    across = np.empty((*shape, 2), np.float32)
    neuron, mito = np.empty(shape, np.int64), np.empty(shape, np.int64)
    return Fields(neuron, small[0], small[1], small[2], across, mito, small[3], small[4], small[5])


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
    seg = table.raw
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
                    table.raw_who[n, 0] = lat.owner[z, y, x]
                    table.raw_who[n, 1] = lat.mito_DHWC[z, y, x, c]
                    distance, t = _distance(seg, n, u)
                    seg[n, _F] = distance - seg[n, _R] - t * seg[n, _DR]
                    n += 1
                if lat.synapse[z, y, x] >= 0:
                    _synapse(lat, (z, y, x), lat.synapse[z, y, x], table.synapse[m])
                    table.presynaptic[m] = lat.owner[z, y, x]
                    m += 1
    return n, m


@njit(cache=True, error_model="numpy")
def _sorted_near(table: Table, n: int, limit: float) -> int:
    """Order by neuron the segments nearer than `limit` at the tile's centre; returns how many."""
    kept = 0
    for i in range(n):
        if table.raw[i, _F] > limit:
            continue
        j = kept
        while j > 0 and table.raw_who[table.order[j - 1], 0] > table.raw_who[i, 0]:
            table.order[j] = table.order[j - 1]
            j -= 1
        table.order[j] = i
        kept += 1
    return kept


@njit(cache=True, error_model="numpy")
def _cull(spec: Spec, table: Table, n: int) -> int:
    """Keep the segments that can be nearest, second or sheet anywhere in the tile; returns the number of neurons."""
    best = 1e9
    for i in range(n):
        best = min(best, table.raw[i, _F])
    best += 2.0 * spec.slack
    kept = _sorted_near(table, n, best + max(REACH, SHEET_REACH) + SMOOTH)
    out, groups, i = 0, 0, 0
    while i < kept:
        j, own = i, 1e9
        who = table.raw_who[table.order[i], 0]
        while j < kept and table.raw_who[table.order[j], 0] == who:
            own = min(own, table.raw[table.order[j], _F])
            j += 1
        glial = is_glia(spec.seed, spec.glia, who)
        if own <= best + (SHEET_REACH if glial else REACH):
            table.group[groups] = out
            table.glial[groups] = glial
            groups += 1
            for q in range(i, j):
                n = table.order[q]
                if table.raw[n, _F] <= own + 2.0 * spec.slack + SMOOTH:
                    table.seg[out] = table.raw[n]
                    table.who[out] = table.raw_who[n]
                    out += 1
        i = j
    table.group[groups] = out
    return groups


@njit(cache=True, error_model="numpy")
def _rank(table: Table, groups: int, u: Floats, top: Floats, at: Ints) -> None:
    """Find the two neurons nearest to `u`, the nearest glia, and the own mitochondrion."""
    seg, who, edges, glial = table.seg, table.who, table.group, table.glial
    top[_F1], top[_F2], top[_FG], top[_MITO] = 1e9, 1e9, 1e9, 1e9
    at[0], at[1], at[2], at[3] = -1, -1, -1, -1
    for i in range(groups):
        f, nearest, near, at_t, mito_d, mito = 1e9, 1e9, -1, 0.0, 1e9, -1
        for n in range(edges[i], edges[i + 1]):
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
            top[_F2], at[_NEAR2] = top[_F1], at[_NEAR1]
            top[_F1], at[_NEAR1] = f, near
            top[_CORE], top[_T], top[_MITO], at[_NEARM] = nearest, at_t, mito_d, mito
        elif f < top[_F2]:
            top[_F2], at[_NEAR2] = f, near


@njit(cache=True, error_model="numpy")
def _slope(seg: Floats, n: int, u: Floats, jac: Floats, out: Floats) -> None:
    """Gradient (per nm, tissue axes) of the distance to segment `n`."""
    d, t = _distance(seg, n, u)
    d = max(d, 1e-6)
    for a in range(3):
        out[a] = 0.0
    for c in range(3):
        g = (u[c] - seg[n, c] - t * seg[n, 3 + c]) / d
        for a in range(3):
            out[a] += g * jac[c, a]


@njit(cache=True, error_model="numpy")
def _membrane(spacing_nm: float, table: Table, u: Floats, jac: Floats, found: tuple[Floats, Ints]) -> tuple[float, float]:
    """Distance (nm) to the border between the two nearest neurons, and its tilt."""
    top, at = found
    if at[_NEAR2] < 0:
        return FAR_NM, 0.0
    one, two = table.scratch[0], table.scratch[1]
    _slope(table.seg, at[_NEAR1], u, jac, one)
    _slope(table.seg, at[_NEAR2], u, jac, two)
    norm = np.sqrt((two[0] - one[0]) ** 2 + (two[1] - one[1]) ** 2 + (two[2] - one[2]) ** 2)
    tilt = abs(two[0] - one[0]) / max(norm, 1e-9)
    return min(FAR_NM, (top[_F2] - top[_F1]) / max(norm, 0.5 / spacing_nm)), tilt


@njit(cache=True, error_model="numpy")
def _synaptic(table: Table, synapses: int, who: int, u: Floats, spacing_nm: float) -> tuple[float, float]:
    """Density and nearness of vesicles, each 0 to 1."""
    density, vesicles = 0.0, 0.0
    for s in range(synapses):
        a, b, c = u[0] - table.synapse[s, 0], u[1] - table.synapse[s, 1], u[2] - table.synapse[s, 2]
        d2 = (a * a + b * b + c * c) * spacing_nm * spacing_nm
        if d2 < 9.0 * VESICLE_NM**2:
            density = max(density, np.exp(-0.5 * d2 / DENSITY_NM**2))
            if table.presynaptic[s] == who:
                vesicles = max(vesicles, np.exp(-0.5 * d2 / VESICLE_NM**2))
    return density, vesicles


@njit(cache=True, error_model="numpy")
def _write(
    spec: Spec, table: Table, where: tuple[Floats, Floats, int], found: tuple[Floats, Ints],
    target: tuple[Fields, int, int, int],
) -> None:  # fmt: skip
    u, jac, synapses = where
    top, at = found
    fields, z, y, x = target
    seg, n, h = table.seg, at[_NEAR1], spec.spacing_nm
    who = table.who[n, 0]
    membrane, tilt = _membrane(h, table, u, jac, found)
    core, mito_nm = top[_CORE] * h, min(top[_MITO] * h, FAR_NM)
    foreign = at[_NEAR2] >= 0 and at[_NEARG] >= 0 and at[_NEARG] != n and at[_NEARG] != at[_NEAR2]
    if foreign and core > spec.core_nm:
        sheet = SHEET_NM * min(1.0, 1.6 * (1.0 - (top[_FG] - top[_F1]) / SHEET_REACH))
        if sheet > 0.0 and membrane < sheet:
            who, membrane, mito_nm = table.who[at[_NEARG], 0], sheet - membrane, FAR_NM
        elif sheet > 0.0:
            membrane -= sheet
    mito_nm = max(mito_nm, MITO_MARGIN_NM - membrane)
    density, vesicles = _synaptic(table, synapses, who, u, h)
    axis = np.int64(seg[n, _AXIS])
    b, c = (axis + 1) % 3, (axis + 2) % 3
    fields.neuron[z, y, x] = who
    fields.membrane_nm[z, y, x] = membrane
    fields.tilt[z, y, x] = tilt
    fields.core_nm[z, y, x] = core
    fields.across_DHWC[z, y, x, 0] = (u[b] - seg[n, b] - top[_T] * seg[n, 3 + b]) * h
    fields.across_DHWC[z, y, x, 1] = (u[c] - seg[n, c] - top[_T] * seg[n, 3 + c]) * h
    fields.mito[z, y, x] = table.who[at[_NEARM], 1] if mito_nm < 0.0 else 0
    fields.mito_nm[z, y, x] = mito_nm
    fields.density[z, y, x] = density
    fields.vesicles[z, y, x] = vesicles


@njit(cache=True, error_model="numpy")
def _tile(tissue: tuple[Spec, Grid, Patch], fields: Fields, table: Table, corner: Ints) -> None:
    spec, grid, lat = tissue
    p, u, jac = np.empty(3), np.empty(3), np.empty((3, 3))
    for c in range(3):
        p[c] = (corner[c] + 0.5 * spec.tile[c]) * spec.voxel[c]
    to_lattice(grid, p, u, jac)
    n, synapses = _gather(lat, u, table)
    groups = _cull(spec, table, n)
    top, at = np.empty(6), np.empty(4, np.int64)
    shape = fields.neuron.shape
    for z in range(max(0, corner[0] - spec.start[0]), min(shape[0], corner[0] + spec.tile[0] - spec.start[0])):
        p[0] = (spec.start[0] + z + 0.5) * spec.voxel[0]
        for y in range(max(0, corner[1] - spec.start[1]), min(shape[1], corner[1] + spec.tile[1] - spec.start[1])):
            p[1] = (spec.start[1] + y + 0.5) * spec.voxel[1] + spec.shift_ZC[z, 0]
            for x in range(max(0, corner[2] - spec.start[2]), min(shape[2], corner[2] + spec.tile[2] - spec.start[2])):
                p[2] = (spec.start[2] + x + 0.5) * spec.voxel[2] + spec.shift_ZC[z, 1]
                to_lattice(grid, p, u, jac)
                _rank(table, groups, u, top, at)
                _write(spec, table, (u, jac, synapses), (top, at), (fields, z, y, x))


@njit(cache=True, error_model="numpy")
def fill_fields(spec: Spec, grid: Grid, lat: Patch, fields: Fields) -> None:
    """Compute all fields of a region, tile by tile; tiles are fixed in space, so every region agrees."""
    table = Table(
        np.empty((_MAX, _WIDTH)), np.empty((_MAX, 2), np.int64), np.empty(_MAX, np.int64), np.empty((_MAX, _WIDTH)),
        np.empty((_MAX, 2), np.int64), np.empty(_MAX, np.int64), np.empty(_MAX, np.bool_), np.empty((_MAX, 3)),
        np.empty(_MAX, np.int64), np.empty((2, 3)),
    )  # fmt: skip
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for c in range(3):
        low[c] = spec.start[c] // spec.tile[c]
        high[c] = -(-(spec.start[c] + fields.neuron.shape[c]) // spec.tile[c])
    corner = np.empty(3, np.int64)
    for i in range(low[0], high[0]):
        for j in range(low[1], high[1]):
            for k in range(low[2], high[2]):
                corner[0], corner[1], corner[2] = i * spec.tile[0], j * spec.tile[1], k * spec.tile[2]
                _tile((spec, grid, lat), fields, table, corner)
