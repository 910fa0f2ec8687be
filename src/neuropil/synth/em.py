"""`EMPhantom`: seeded electron-microscopy neuropil with exact neurons, mitochondria and skeletons."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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

BLOCK_NM = 1100.0  #: larger regions are made in pieces of this size, to bound memory
TILE_NM = 44.0
STRETCH = 1.7  #: largest factor by which the warp stretches a short distance
CORE_VOXELS = 0.75


class _Crop(NamedTuple):
    image: NDArray[np.uint8]
    neurons: NDArray[np.uint64]
    mitochondria: NDArray[np.uint64]


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
        self._crop = lru_cache(maxsize=1)(self._make_crop)

    @property
    def box(self) -> Box:
        """The region that the config's shape stands for."""
        return Box((0, 0, 0), self.config.shape, self.config.voxel_size)

    def image(self, box: Box) -> NDArray[np.uint8]:
        """Grey values, uint8 (Z, Y, X)."""
        return self._crop(box).image.copy()

    def neurons(self, box: Box) -> NDArray[np.uint64]:
        """Neuron ids, uint64 (Z, Y, X); `config.gap_label` between neurons."""
        return self._crop(box).neurons.copy()

    def mitochondria(self, box: Box) -> NDArray[np.uint64]:
        """Mitochondrion ids, uint64 (Z, Y, X), 0 elsewhere."""
        return self._crop(box).mitochondria.copy()

    def _make_crop(self, box: Box) -> _Crop:
        """All three arrays in one pass; the last crop is kept, as image and labels are mostly asked for together."""
        if not same_voxel_size(box.voxel_size, self.config.voxel_size):
            raise GeometryError(
                f"a box of voxel size {box.voxel_size} nm", f"the phantom's, {self.config.voxel_size} nm"
            )
        out = _Crop(*(np.empty(box.shape, t) for t in (np.uint8, np.uint64, np.uint64)))
        for block in box.blocks(self._block):
            where = block.write.slices(box.start)
            spec, fields = self._fields(block.write)
            out.neurons[where] = self._without_halo(self._labels(spec, fields), block.write)
            out.mitochondria[where] = self._without_halo(fields.who_DHWC[..., 1], block.write)
            grey = np.empty(fields.what_DHWC.shape[:3], np.float32)
            shade(spec, look(self.config), fields, grey)
            out.image[where] = expose(self.config, spec.start, grey)
        return out

    @property
    def _block(self) -> Int3:
        z, y, x = (max(1, round(BLOCK_NM / v)) for v in self.config.voxel_size)
        return z, y, x

    def _labels(self, spec: Spec, fields: Fields) -> np.ndarray:
        labels, what = fields.who_DHWC[..., 0], fields.what_DHWC
        if self.config.gap_label is None:
            return labels
        cut = (what[..., MEMBRANE] < 0.5 * self.config.gap_nm) & (what[..., CORE] > spec.core_nm)
        return np.where(cut, self.config.gap_label, labels)

    def _without_halo(self, values: np.ndarray, box: Box) -> np.ndarray:
        hz, hy, hx = halo(self.config)
        nz, ny, nx = box.shape
        return values[hz : hz + nz, hy : hy + ny, hx : hx + nx]

    def _fields(self, box: Box) -> tuple[Spec, Fields]:
        """Geometry of a box and the halo that its image needs."""
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
