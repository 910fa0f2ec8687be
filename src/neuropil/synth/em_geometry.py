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

__all__ = ["FAR_NM", "Fields", "Spec", "fill_fields"]

FAR_NM = 90.0  #: distances to membranes are cut off here
_FIELD = 18  # columns of the candidate table
_MAX = 700


class Spec(NamedTuple):
    """What the geometry kernel needs to know, once."""

    seed: int
    spacing_nm: float
    voxel: NDArray[np.float64]
    tile: NDArray[np.int64]  #: voxels that share one list of candidate segments
    slack: float  #: how far (lattice units) a voxel of a tile can lie from its centre
    glia: float
    core_nm: float  #: around its segments a neuron is never cut, neither by gap nor by glia
    shift_ZC: NDArray[np.float64]  #: y, x displacement (nm) of each section of the region
    start: NDArray[np.int64]  #: first voxel of the region


class Fields(NamedTuple):
    """One value per voxel of a region."""

    neuron: NDArray[np.int64]
    membrane_nm: NDArray[np.float32]  #: distance to the middle of the nearest membrane
    tilt: NDArray[np.float32]  #: |z| component of the membrane's normal
    core_nm: NDArray[np.float32]  #: distance to the neuron's own segments
    across_DHWC: NDArray[np.float32]  #: two coordinates (nm) across the neurite, for what runs along it
    mito: NDArray[np.int64]
    mito_nm: NDArray[np.float32]  #: signed distance to the mitochondrion's surface, negative inside
    density: NDArray[np.float32]  #: synaptic density, 0 to 1
    vesicles: NDArray[np.float32]  #: nearness to the own synapse, 0 to 1


@njit(cache=True)
def _gather(spec: Spec, lat: Patch, u: NDArray[np.float64], table: NDArray[np.float64], who: NDArray[np.int64]) -> int:
    """List the segments round `u` that can matter within the tile, sorted by neuron."""
    n = 0
    base = np.empty(3, np.int64)
    for c in range(3):
        base[c] = np.int64(np.floor(u[c])) - lat.start[c]
    for z in range(base[0] - 2, base[0] + 4):
        for y in range(base[1] - 2, base[1] + 4):
            for x in range(base[2] - 2, base[2] + 4):
                for c in range(3):
                    if lat.link_DHWC[z, y, x, c]:
                        n += _segment(lat, (z, y, x, c), u, table[n], who[n])
    return _cull(spec, table, who, n)


@njit(cache=True)
def _segment(
    lat: Patch, key: tuple[int, int, int, int], u: NDArray[np.float64], row: NDArray[np.float64], who: NDArray[np.int64]
) -> int:
    z, y, x, c = key
    a, b, d = z + (c == 0), y + (c == 1), x + (c == 2)
    if n_full(who):
        return 0
    length2, along = 0.0, 0.0
    for k in range(3):
        row[k] = lat.site_DHWC[z, y, x, k]
        row[3 + k] = lat.site_DHWC[a, b, d, k] - row[k]
        length2 += row[3 + k] * row[3 + k]
        along += (u[k] - row[k]) * row[3 + k]
    row[6] = 1.0 / length2
    t = min(1.0, max(0.0, along * row[6]))
    dist2 = 0.0
    for k in range(3):
        dist2 += (u[k] - row[k] - t * row[3 + k]) ** 2
    row[7] = lat.radius[z, y, x]
    row[8] = lat.radius[a, b, d] - row[7]
    row[9] = np.sqrt(dist2) - max(row[7], row[7] + row[8])
    row[10] = c
    row[11] = lat.mito_radius[z, y, x]
    row[12] = lat.mito_radius[a, b, d] - row[11]
    who[0] = lat.owner[z, y, x]
    who[1] = lat.mito_DHWC[z, y, x, c]
    return 1


@njit(cache=True)
def n_full(who: NDArray[np.int64]) -> bool:
    return who.size == 0
