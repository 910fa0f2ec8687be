"""One cell of a grid over a volume, as skeletons and meshes are made in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from neuropil.geometry import Float3, Int3

Sides: TypeAlias = tuple[bool, bool, bool]


@dataclass(frozen=True)
class Cell:
    """Where a cell lies; it is given with one voxel more above it on each axis on which other cells follow.

    Parameters
    ----------
    start
        Index of its first voxel in the volume.
    below, above
        Whether other cells come before and after it, along z, y, x.
    voxel_size
        nm, z, y, x.
    """

    start: Int3
    below: Sides
    above: Sides
    voxel_size: Float3
