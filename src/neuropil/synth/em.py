"""`EMPhantom`: seeded electron-microscopy neuropil with exact neurons, mitochondria and skeletons."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError
from neuropil.geometry import Box, Int3, same_voxel_size
from neuropil.skeleton import Skeleton
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_defects import expose, halo, section_shifts
from neuropil.synth.em_geometry import CORE, MEMBRANE, Fields, Spec, empty_fields, fill_fields
from neuropil.synth.em_lattice import patch
from neuropil.synth.em_render import look, shade
from neuropil.synth.em_warp import grid_over

__all__ = ["EMPhantom", "EMPhantomConfig"]

BLOCK: Int3 = (96, 192, 192)  #: larger regions are made in pieces of this many voxels, to bound memory
TILE_NM = 44.0
STRETCH = 1.7  #: largest factor by which the warp stretches a short distance
CORE_VOXELS = 0.75


class EMPhantom:
    """Neuropil of any size, made region by region; every voxel is a function of the config and its position.

    Parameters
    ----------
    config
        What to make. `shape` sets `box` and the extent of `skeletons`; other boxes may be asked for all the same.

    Examples
    --------
    >>> phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=1, shape=(32, 64, 64)))
    >>> image, neurons = phantom.image(phantom.box), phantom.neurons(phantom.box)
    >>> image.shape, str(image.dtype), neurons.shape, str(neurons.dtype)
    ((32, 64, 64), 'uint8', (32, 64, 64), 'uint64')
    """

    def __init__(self, config: EMPhantomConfig) -> None:
        self.config = config
        self._fields = lru_cache(maxsize=1)(self._make_fields)

    @property
    def box(self) -> Box:
        """The region that the config's shape stands for."""
        return Box((0, 0, 0), self.config.shape, self.config.voxel_size)

    def image(self, box: Box) -> NDArray[np.uint8]:
        """Grey values, uint8 (Z, Y, X)."""
        return self._in_blocks(box, self._image_block, np.uint8)

    def neurons(self, box: Box) -> NDArray[np.uint64]:
        """Neuron ids, uint64 (Z, Y, X); `config.gap_label` between neurons."""
        return self._in_blocks(box, self._neuron_block, np.uint64)

    def mitochondria(self, box: Box) -> NDArray[np.uint64]:
        """Mitochondrion ids, uint64 (Z, Y, X), 0 elsewhere."""
        return self._in_blocks(box, self._mito_block, np.uint64)

    def _in_blocks(self, box: Box, make: Callable[[Box], np.ndarray], dtype: type) -> NDArray:
        if not same_voxel_size(box.voxel_size, self.config.voxel_size):
            raise GeometryError(
                f"a box of voxel size {box.voxel_size} nm", f"the phantom's, {self.config.voxel_size} nm"
            )
        out = np.empty(box.shape, dtype)
        for block in box.blocks(BLOCK):
            out[block.write.slices(box.start)] = make(block.write)
        return out

    def _image_block(self, box: Box) -> NDArray[np.uint8]:
        spec, fields = self._fields(box)
        grey = np.empty(fields.what_DHWC.shape[:3], np.float32)
        shade(spec, look(self.config), fields, grey)
        return expose(self.config, spec.start, grey)

    def _neuron_block(self, box: Box) -> NDArray[np.uint64]:
        spec, fields = self._fields(box)
        labels = fields.who_DHWC[..., 0]
        if self.config.gap_label is not None:
            what = fields.what_DHWC
            cut = (what[..., MEMBRANE] < 0.5 * self.config.gap_nm) & (what[..., CORE] > spec.core_nm)
            labels = np.where(cut, self.config.gap_label, labels)
        return self._without_halo(labels, box).astype(np.uint64)

    def _mito_block(self, box: Box) -> NDArray[np.uint64]:
        return self._without_halo(self._fields(box)[1].who_DHWC[..., 1], box).astype(np.uint64)

    def _without_halo(self, values: np.ndarray, box: Box) -> np.ndarray:
        hz, hy, hx = halo(self.config)
        nz, ny, nx = box.shape
        return values[hz : hz + nz, hy : hy + ny, hx : hx + nx]

    def _make_fields(self, box: Box) -> tuple[Spec, Fields]:
        """Geometry of a box and the halo that its image needs; the last one is kept for the sister arrays."""
        config, region = self.config, box.grown(halo(self.config))
        voxel = np.array(config.voxel_size)
        tile = np.maximum(1, np.round(TILE_NM / voxel)).astype(np.int64)
        shift = section_shifts(config, region.start[0], region.shape[0])
        wander = 4.0 * config.jitter_nm  # bound of a section shift
        reach = np.array([np.linalg.norm(tile * voxel), np.linalg.norm((tile + 1) // 2 * voxel)])
        slack, part_slack = (0.5 * reach + wander) * STRETCH / config.spacing_nm
        core = max(10.0, CORE_VOXELS * max(config.voxel_size))
        spec = Spec(
            config.seed,
            config.spacing_nm,
            voxel,
            tile,
            float(slack),
            float(part_slack),
            config.glia,
            core,
            shift,
            np.array(region.start),
        )
        margin = tile * voxel + wander
        grid = grid_over(
            config.seed, config.spacing_nm, np.array(region.start) * voxel - margin,
            np.array(region.stop) * voxel + margin,
        )  # fmt: skip
        corners = grid.corner_DHWC.reshape(-1, 3)
        low, high = (np.floor(f(corners, axis=0)).astype(np.int64) for f in (np.min, np.max))
        fields = empty_fields(region.shape)
        fill_fields(spec, grid, patch(config, low - 3, high + 6), fields)
        return spec, fields
