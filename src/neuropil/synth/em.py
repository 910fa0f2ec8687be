"""`EMPhantom`: seeded electron-microscopy neuropil with exact neurons, mitochondria and skeletons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError
from neuropil.geometry import Box, Int3, same_voxel_size
from neuropil.skeleton import Skeleton
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_defects import expose, halo
from neuropil.synth.em_geometry import CORE, MEMBRANE, Fields, Spec, empty_fields, fill_fields
from neuropil.synth.em_render import look, shade
from neuropil.synth.em_skeletons import skeletons
from neuropil.synth.em_survey import survey
from neuropil.synth.hashing import hash3

__all__ = ["EMPhantom", "EMPhantomConfig"]

BLOCK_NM = 1100.0  #: larger regions are made in pieces of this size, to bound memory


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
        # neighbouring seeds must not share streams, and kernels add small numbers to the seed
        self._world = replace(config, seed=int(hash3(config.seed, 0, 0, 0)) >> 3)
        self._last: tuple[Box, _Crop] | None = None

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

    def skeletons(self) -> list[Skeleton]:
        """One skeleton per neuron that has nodes in `box`, in the order of `skeletons_by_neuron`."""
        return list(self.skeletons_by_neuron().values())

    def skeletons_by_neuron(self) -> dict[int, Skeleton]:
        """Neuron id → its skeleton in `box`, by rising id; the voxel of every node carries the neuron's label.

        A neuron that leaves the box and comes back has several roots. Radii are distances to the membrane, at most
        `em_geometry.FAR_NM`.
        """
        return skeletons(self._world, self.box)

    def _crop(self, box: Box) -> _Crop:
        """All three arrays of a box; the last crop is kept, as image and labels are mostly asked for together."""
        if self._last is None or self._last[0] != box:
            self._last = (box, self._made(box))
        return self._last[1]

    def _made(self, box: Box) -> _Crop:
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
            shade(spec, look(self._world), fields, grey)
            out.image[where] = expose(self._world, spec.start, grey)
        return out

    @property
    def _block(self) -> Int3:
        z, y, x = (max(1, round(BLOCK_NM / v)) for v in self.config.voxel_size)
        return z, y, x

    def _labels(self, spec: Spec, fields: Fields) -> NDArray[Any]:
        labels, what = fields.who_DHWC[..., 0], fields.what_DHWC
        if self.config.gap_label is None:
            return labels
        cut = (what[..., MEMBRANE] < 0.5 * self.config.gap_nm) & (what[..., CORE] > spec.core_nm)
        return np.where(cut, self.config.gap_label, labels)

    def _without_halo(self, values: NDArray[Any], box: Box) -> NDArray[Any]:
        hz, hy, hx = halo(self._world)
        nz, ny, nx = box.shape
        return values[hz : hz + nz, hy : hy + ny, hx : hx + nx]

    def _fields(self, box: Box) -> tuple[Spec, Fields]:
        """Geometry of a box and the halo that its image needs."""
        region = box.grown(halo(self._world))
        spec, grid, lattice = survey(self._world, region)
        fields = empty_fields(region.shape)
        fill_fields(spec, grid, lattice, fields)
        return spec, fields
