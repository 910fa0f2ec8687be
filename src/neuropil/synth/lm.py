"""`LMPhantom`: seeded light-microscopy stacks of stained neurons, with their exact trees."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import GeometryError
from neuropil.geometry import Box, Int3, same_voxel_size
from neuropil.skeleton import Skeleton
from neuropil.synth import lm_growth
from neuropil.synth.hashing import hash3
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.synth.lm_render import blurred, drawn, exposed, halo
from neuropil.synth.lm_stain import Cable, cable

__all__ = ["LMPhantom", "LMPhantomConfig"]

BLOCK: Int3 = (64, 256, 256)  #: larger regions are made in pieces, to bound memory


class LMPhantom:
    """A stack of any size, made region by region; trees are grown once, voxels are functions of them and their place.

    Parameters
    ----------
    config
        What to make. `shape` sets `box`, which the neurons fill.

    Examples
    --------
    >>> phantom = LMPhantom(LMPhantomConfig.confocal(seed=1, shape=(16, 96, 96), cable_um=100.0))
    >>> image, (tree,) = phantom.image(phantom.box), phantom.skeletons()
    >>> image.shape, str(image.dtype), int(tree.kind[0])
    ((16, 96, 96), 'uint8', 1)
    """

    def __init__(self, config: LMPhantomConfig) -> None:
        self.config = config
        # neighbouring seeds must not share streams, and kernels add small numbers to the seed
        self._world = replace(config, seed=int(hash3(config.seed, 1, 0, 0)) >> 3)

    @property
    def box(self) -> Box:
        """The region that the config's shape stands for."""
        return Box((0, 0, 0), self.config.shape, self.config.voxel_size)

    def image(self, box: Box) -> NDArray[np.uint8]:
        """Grey values, uint8 (Z, Y, X), bright on dark."""
        out = np.empty(self._checked(box).shape, np.uint8)
        for block in box.blocks(BLOCK, halo(self._world)):
            light = blurred(self._world, drawn(self._cable, block.read)[0])
            out[block.write.slices(box.start)] = exposed(self._world, light, block.write)
        return out

    def neurons(self, box: Box) -> NDArray[np.uint64]:
        """Whose neurite the centre of a voxel is in, uint64 (Z, Y, X): 1, 2, ... of `skeletons`, then of `fibres`."""
        out = np.empty(self._checked(box).shape, np.uint64)
        for block in box.blocks(BLOCK):
            out[block.write.slices(box.start)] = drawn(self._cable, block.write)[1]
        return out

    def skeletons(self) -> list[Skeleton]:
        """The neurons, each a tree whose root is its soma (SWC kind 1); nm from the corner of voxel 0."""
        return list(self._cells)

    def fibres(self) -> list[Skeleton]:
        """Neurites of other cells that cross the field: in the image, but of none of the neurons."""
        return list(self._fibres)

    @cached_property
    def _cells(self) -> list[Skeleton]:
        return lm_growth.neurons(self._world)

    @cached_property
    def _fibres(self) -> list[Skeleton]:
        return lm_growth.fibres(self._world, self._cells)

    @cached_property
    def _cable(self) -> Cable:
        return cable(self._world, self._cells, self._fibres)

    def _checked(self, box: Box) -> Box:
        if not same_voxel_size(box.voxel_size, self.config.voxel_size):
            raise GeometryError(
                f"a box of voxel size {box.voxel_size} nm", f"the phantom's, {self.config.voxel_size} nm"
            )
        return box
