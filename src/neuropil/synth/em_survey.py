"""What has to be known before a region of tissue can be made: its lattice, its warp, its section shifts."""

from __future__ import annotations

import numpy as np

from neuropil.geometry import Box
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_defects import SHIFT_BOUND, section_shifts
from neuropil.synth.em_geometry import Spec
from neuropil.synth.em_lattice import Patch, patch
from neuropil.synth.em_warp import Grid, grid_over

__all__ = ["survey"]

TILE_NM = 44.0
STRETCH = 1.8  #: factor by which the warp stretches short distances, hardly ever more
CORE_NM, CORE_VOXELS = 10.0, 0.75


def survey(config: EMPhantomConfig, region: Box) -> tuple[Spec, Grid, Patch]:
    """The kernel's arguments for a region (voxels)."""
    voxel = np.array(config.voxel_size)
    tile = np.maximum(1, np.round(TILE_NM / voxel)).astype(np.int64)
    wander = SHIFT_BOUND * config.jitter_nm
    half = 0.5 * np.array([np.linalg.norm(tile * voxel), np.linalg.norm((tile + 1) // 2 * voxel)])
    loose = half + (wander if tile[0] > 1 else 0.0)  # a tile of one section moves with it
    slack, part_slack = (float(v) for v in loose * STRETCH / config.spacing_nm)
    spec = Spec(
        config.seed, config.spacing_nm, voxel, tile, slack, part_slack, config.glia,
        max(CORE_NM, CORE_VOXELS * max(config.voxel_size)),
        section_shifts(config, region.start[0], region.shape[0]), np.array(region.start, np.int64),
    )  # fmt: skip
    margin = tile * voxel + wander
    low_nm, high_nm = np.array(region.start) * voxel - margin, np.array(region.stop) * voxel + margin
    grid = grid_over(config.seed, config.spacing_nm, low_nm, high_nm)
    corners = grid.corner_DHWC.reshape(-1, 3)
    low, high = np.floor(corners.min(axis=0)).astype(np.int64), np.floor(corners.max(axis=0)).astype(np.int64)
    # a tile looks three sites back and four ahead
    return spec, grid, patch(config, low - 3, high + 6)
