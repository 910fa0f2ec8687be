"""From foreground, contour and signed distance to objects, and from foreground alone: in blocks, or as a whole.

Both are decided from a bounded halo, and by sums, maxima and unions over blocks: one algorithm for both ways.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from neuropil.config import InstancesConfig
from neuropil.errors import InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.post.ascent import in_order
from neuropil.post.basins import Saddles, basins, grown, joint_saddles, renumbered_saddles, saddles, smooth_heights
from neuropil.post.blocks import Cutting, Pieces, read_box, shared, sizes_of
from neuropil.post.decoders import Parts, Tables, summed, whole
from neuropil.post.landscape import gaussian_taps

#: What distances are smoothed by, in voxels of the finest axis: no more than it takes to part equal values.
_SMOOTH = 0.5
_MARGIN: Int3 = (1, 1, 1)


def instances(
    stored_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: InstancesConfig
) -> npt.NDArray[np.uint64]:
    """Segment a prediction of organelles; see `Organelles`.

    Parameters
    ----------
    stored_CZYX
        uint8 0..255: foreground, contour, and signed distance (0 = -1, 255 = 1); further channels are not looked at.
    voxel_size
        nm, z, y, x.
    config
        Thresholds and the least size.

    Returns
    -------
    labels
        (Z, Y, X) objects 1 .. n in order of first voxel, 0 = background.

    Raises
    ------
    InputError
        If it is no such prediction.
    """
    return whole(Organelles(voxel_size, config), stored_CZYX, voxel_size)


def components(
    stored_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: InstancesConfig
) -> npt.NDArray[np.uint64]:
    """Segment a prediction of foreground alone; see `Masks`. Parameters, result and errors are those of `instances`."""
    return whole(Masks(voxel_size, config), stored_CZYX, voxel_size)


@dataclass(frozen=True)
class Organelles:
    """Objects from foreground, contour and distance: seeds, and what grows from them.

    Seeds are the connected pieces of what is surely inside: near the middle (distance), not at a border (contour), and
    foreground. Each grows over the foreground from high distance to low, and meets its neighbours in the valleys
    (after the decoding of BC and BCD models, Wei et al., MICCAI 2020; Lin et al., 2021). The flood is a maximum
    spanning forest (`neuropil.post.basins`). Foreground without a seed is no object.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.
    config
        Thresholds and the least size.
    """

    voxel_size: Float3
    config: InstancesConfig

    @property
    def cut(self) -> Cutting:
        """See `Decoder`: the margin, the neighbours that voxels hang on, and what these are smoothed from."""
        z, y, x = (m + 1 + len(taps) // 2 for m, taps in zip(_MARGIN, self._taps(), strict=True))
        return Cutting((0, 1, 2), (), _MARGIN, (z, y, x))

    def _taps(self) -> list[npt.NDArray[np.float32]]:
        return [gaussian_taps(_SMOOTH * min(self.voxel_size) / size) for size in self.voxel_size]

    def part(self, stored_CZYX: npt.NDArray[Any], *, write: Box, volume: Box) -> tuple[Pieces, Tables]:
        """See `Decoder`."""
        cut, config = self.cut, self.config
        inner = _wide(cut, write, volume)
        foreground, contour, distance = stored_CZYX
        mask = foreground >= 255 * config.foreground
        # only voxels with a common face join: touching objects are often parted by a diagonal wall of contour
        seeds = mask & (foreground >= 255 * config.seed_foreground)
        seeds &= contour < 255 * config.seed_contour
        seeds &= distance >= 255 * (config.seed_distance + 1) / 2
        height = smooth_heights(distance, self._taps())
        labels, n = basins(height, mask, seeds, inner)
        pieces = shared(labels, n, cut, write=write, volume=volume)
        seeded = np.zeros(len(pieces.first) + 1, np.bool_)
        seeded[labels[seeds[inner]]] = True
        seeded[0] = False
        touch = saddles(labels, height[inner])
        tables = {"sizes": sizes_of(pieces), "seeded": seeded, "edges": touch.edges, "saddles": touch.heights}
        return pieces, tables

    def graph(self, parts: Parts, count: int) -> dict[str, npt.NDArray[Any]]:
        """See `Decoder`."""
        seeded = np.zeros(count + 1, np.bool_)
        found = []
        for tables, numbers in parts():
            np.logical_or.at(seeded, numbers, tables["seeded"])
            found.append(renumbered_saddles(Saddles(tables["edges"], tables["saddles"]), numbers))
        touch = joint_saddles(found)
        sizes = summed(parts, "sizes", count)
        return {"sizes": sizes, "seeded": seeded, "edges": touch.edges, "saddles": touch.heights}

    def objects(self, graph: Tables) -> npt.NDArray[np.int64]:
        """See `Decoder`."""
        lookup = grown(Saddles(graph["edges"], graph["saddles"]), graph["seeded"])
        return large_enough(lookup, graph["sizes"], least_voxels(self.config.min_size_um3, self.voxel_size))


@dataclass(frozen=True)
class Masks:
    """Foreground as object 1, or, if asked, every piece of it that is connected over faces, edges or corners.

    Parameters
    ----------
    voxel_size
        nm, z, y, x.
    config
        The threshold, the least size of a connected piece, and whether pieces are objects.
    """

    voxel_size: Float3
    config: InstancesConfig

    @property
    def cut(self) -> Cutting:
        """See `Decoder`."""
        return Cutting((0,), (), _MARGIN, _MARGIN)

    def part(self, stored_CZYX: npt.NDArray[Any], *, write: Box, volume: Box) -> tuple[Pieces, Tables]:
        """See `Decoder`."""
        mask = stored_CZYX[0][_wide(self.cut, write, volume)] >= 255 * self.config.foreground
        found = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32).view(np.int32)
        labels = np.empty(found.shape, np.int32)
        n = in_order(found, labels, int(found.max(initial=0)))
        pieces = shared(labels, int(n), self.cut, write=write, volume=volume)
        return pieces, {"sizes": sizes_of(pieces)}

    def graph(self, parts: Parts, count: int) -> dict[str, npt.NDArray[Any]]:
        """See `Decoder`."""
        return {"sizes": summed(parts, "sizes", count), "edges": np.zeros((0, 2), np.int64)}

    def objects(self, graph: Tables) -> npt.NDArray[np.int64]:
        """See `Decoder`."""
        each = np.arange(len(graph["sizes"]))
        kept = large_enough(each, graph["sizes"], least_voxels(self.config.min_size_um3, self.voxel_size))
        return kept if self.config.components else np.minimum(kept, 1)


def _wide(cut: Cutting, write: Box, volume: Box) -> tuple[slice, slice, slice]:
    """Where in what was read the block and its margin lie."""
    wide = write.grown(cut.margin).intersected(volume)
    if wide.size >= 2**31:
        raise InputError(
            f"{wide.size} voxels at a time", "fewer than 2**31", "work in blocks: --block, or less --memory"
        )
    return wide.slices(read_box(cut, write, volume).start)


def least_voxels(size_um3: float, voxel_size: Float3) -> int:
    """The fewest voxels (nm, z, y, x) that fill a volume in cubic micrometres."""
    return math.ceil(size_um3 * 1e9 / math.prod(voxel_size))


def large_enough(lookup: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], least: int) -> npt.NDArray[np.int64]:
    """The object of every fragment, without objects of fewer voxels: the others numbered 1 .. k in the same order.

    Parameters
    ----------
    lookup
        (n + 1,) object of every fragment, entry 0 is 0.
    sizes
        (n + 1,) voxels of every fragment.
    """
    total = np.zeros(int(lookup.max(initial=0)) + 1, np.int64)
    np.add.at(total, lookup, sizes)
    kept = total >= least
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[lookup]
