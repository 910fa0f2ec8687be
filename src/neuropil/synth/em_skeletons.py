"""Skeletons of phantom neurons: the very segments that the neurons were grown from."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.geometry import Box
from neuropil.skeleton import Skeleton
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_geometry import MEMBRANE, Fields, Spec, empty_fields, fill_fields
from neuropil.synth.em_lattice import STEPS, THICK_ROUNDS, Patch
from neuropil.synth.em_survey import survey
from neuropil.synth.em_warp import Grid, tissue_points

__all__ = ["skeletons"]

PIECES = 5  #: nodes per lattice edge
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def skeletons(config: EMPhantomConfig, box: Box) -> dict[int, Skeleton]:
    """Neuron id → skeleton within `box`; nodes in nm from the corner of voxel 0."""
    spec, grid, lattice = survey(config, box)
    usual = (lattice.claimed == 0) | (lattice.claimed > THICK_ROUNDS)
    out = _grown(config, box, (spec, grid, lattice), usual)
    # a thick neuron whose trunk passes outside is only seen by the sites that thicken it
    others = ~np.isin(lattice.owner, list(out))
    out.update(_grown(config, box, (spec, grid, lattice), others))
    return dict(sorted(out.items()))


def _grown(
    config: EMPhantomConfig, box: Box, tissue: tuple[Spec, Grid, Patch], wanted_DHW: NDArray[np.bool_]
) -> dict[int, Skeleton]:
    """Skeletons of the wanted sites and of those that join them to their trunks."""
    spec, grid, lattice = tissue
    point_NC, parent, owner = _graph(lattice, wanted_DHW)
    nodes, voxel = _imaged(tissue_points(config.seed, config.spacing_nm, point_NC), spec, box)
    within = np.all((voxel >= np.array(box.start)) & (voxel < np.array(box.stop)), axis=1)
    inside = np.flatnonzero(within)
    found, radius = _look_up(spec, grid, lattice, voxel[inside], empty_fields((1, 1, 1)))
    kept, radii = np.zeros(len(nodes), bool), np.zeros(len(nodes))
    kept[inside] = found == owner[inside]
    radii[inside] = radius
    return _split(np.flatnonzero(kept), (nodes, radii, _reconnected(parent, kept, within), owner))


def _graph(lattice: Patch, wanted_DHW: NDArray[np.bool_]) -> tuple[Floats, Ints, Ints]:
    """Nodes along all segments worth a skeleton: (N, 3) lattice points, parents, owners."""
    worth = ((lattice.owner > 0) & wanted_DHW).ravel()
    at = np.argwhere(lattice.owner > 0)
    shape = np.array(lattice.owner.shape)
    flat = np.ravel_multi_index(tuple(at.T), tuple(shape))
    code = lattice.parent.ravel()[flat].astype(np.int64)
    up = at + STEPS[code]
    known = ((up >= 0) & (up < shape)).all(axis=1)
    up_flat = np.where(known, np.ravel_multi_index(tuple(np.clip(up, 0, shape - 1).T), tuple(shape)), -1)
    frontier = up_flat[worth[flat] & known]
    parent_of = np.full(lattice.owner.size, -1)
    parent_of[flat] = up_flat
    while len(frontier):  # a twig on a thick neuron hangs on sites that would not be kept for themselves
        frontier = np.unique(frontier[~worth[frontier]])
        worth[frontier] = True
        frontier = parent_of[frontier]
        frontier = frontier[frontier >= 0]
    return _subdivided(lattice, np.flatnonzero(worth), parent_of)


def _subdivided(lattice: Patch, sites: Ints, parent_of: Ints) -> tuple[Floats, Ints, Ints]:
    """Each site, and between it and its parent `PIECES - 1` nodes."""
    points, owners = lattice.site_DHWC.reshape(-1, 3), lattice.owner.ravel()
    index = np.full(lattice.owner.size, -1)
    index[sites] = np.arange(len(sites))
    up = parent_of[sites]
    child = np.flatnonzero(up >= 0)
    count, extra = len(sites), len(child) * (PIECES - 1)
    fraction = np.arange(1, PIECES) / PIECES
    start, stop = points[sites[child]], points[up[child]]
    between = start[:, None] + fraction[None, :, None] * (stop - start)[:, None]
    parent = np.full(count + extra, -1)
    inner = count + np.arange(extra).reshape(len(child), PIECES - 1)
    parent[child] = inner[:, 0]
    parent[inner[:, :-1]] = inner[:, 1:]
    parent[inner[:, -1]] = index[up[child]]
    owner = np.concatenate([owners[sites], np.repeat(owners[sites[child]], PIECES - 1)])
    return np.concatenate([points[sites], between.reshape(-1, 3)]), parent, owner


def _imaged(tissue_nm: Floats, spec: Spec, box: Box) -> tuple[Floats, Ints]:
    """Where tissue points appear in the image (nm), after section shifts, and in which voxel."""
    nodes = tissue_nm.copy()
    section = np.floor(nodes[:, 0] / spec.voxel[0]).astype(np.int64) - box.start[0]
    seen = (section >= 0) & (section < len(spec.shift_ZC))
    nodes[seen, 1:] -= spec.shift_ZC[section[seen]]
    return nodes, np.floor(nodes / spec.voxel).astype(np.int64)


@njit(cache=True)
def _look_up(spec: Spec, grid: Grid, lattice: Patch, voxel_NC: Ints, one: Fields) -> tuple[Ints, Floats]:
    """Neuron and distance to the membrane at single voxels; `one` is room for one voxel."""
    who, radius = np.empty(len(voxel_NC), np.int64), np.empty(len(voxel_NC))
    first = spec.start.copy()
    for n in range(len(voxel_NC)):
        section = voxel_NC[n, 0] - first[0]
        alone = Spec(
            spec.seed, spec.spacing_nm, spec.voxel, spec.tile, spec.slack, spec.part_slack, spec.glia, spec.core_nm,
            np.ascontiguousarray(spec.shift_ZC[section : section + 1]), voxel_NC[n],
        )  # fmt: skip
        fill_fields(alone, grid, lattice, one)
        who[n], radius[n] = one.who_DHWC[0, 0, 0, 0], one.what_DHWC[0, 0, 0, MEMBRANE]
    return who, radius


def _reconnected(parent: Ints, kept: NDArray[np.bool_], within: NDArray[np.bool_]) -> Ints:
    """Parents after nodes are dropped: the nearest kept ancestor, unless the way there leaves the box."""
    parent = parent.copy()
    lost = kept & (parent >= 0)
    while lost.any():
        lost &= parent >= 0
        lost[lost] = ~kept[parent[lost]]
        step = np.flatnonzero(lost)
        up = parent[step]
        parent[step] = np.where(within[up], parent[up], -1)
    return parent


def _split(kept: Ints, parts: tuple[Floats, Floats, Ints, Ints]) -> dict[int, Skeleton]:
    """One skeleton per owner from the kept nodes."""
    nodes, radii, parent, owner = parts
    if not len(kept):
        return {}
    kept = kept[np.argsort(owner[kept], kind="stable")]
    ids, first = np.unique(owner[kept], return_index=True)
    place = np.full(len(nodes), -1)
    out = {}
    for neuron, mine in zip(ids, np.split(kept, first[1:]), strict=True):
        place[mine] = np.arange(len(mine))
        up = parent[mine]
        local = np.where(up >= 0, place[up], -1)
        out[int(neuron)] = Skeleton(nodes[mine], radii[mine], local, np.zeros(len(mine), np.int64))
    return out
