"""The labels that a job writes, with their coarser levels, block by block: OME-Zarr, or a precomputed volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.geometry import Block, Box, Float3, Int3
from neuropil.io.pyramid import level_factors
from neuropil.volume import Volume

#: Ending of the names of precomputed volumes.
PRECOMPUTED = ".precomputed"
#: Voxels of a precomputed level that one task writes: whole chunks.
_WRITTEN: Int3 = (256, 256, 256)


@dataclass(frozen=True)
class Level:
    """One level: its name ("s0" is the finest), extent in voxels, voxel size in nm, and tasks that write it."""

    name: str
    shape: Int3
    voxel_size: Float3
    tasks: int


def levels(suffix: str, box: Box, smallest: Int3) -> list[Level]:
    """All levels of labels; the finest one is written block by block, in as many tasks as there are.

    Parameters
    ----------
    suffix
        Of the output.
    smallest
        Extent of the last level, of OME-Zarr.
    """
    from neuropil.io.precomputed import scale_boxes
    from neuropil.io.zarr_array import default_layout

    found = [Level("s0", box.shape, box.voxel_size, 0)]
    if suffix == PRECOMPUTED:
        for number, (coarse, _) in enumerate(scale_boxes(box), start=1):
            found.append(Level(f"s{number}", coarse.shape, coarse.voxel_size, _count(coarse.shape, _WRITTEN)))
        return found
    shape, voxel = box.shape, box.voxel_size
    for number, factor in enumerate(level_factors(shape, voxel, smallest), start=1):
        z, y, x = (-(-n // f) for n, f in zip(shape, factor, strict=True))
        voxel = (voxel[0] * factor[0], voxel[1] * factor[1], voxel[2] * factor[2])
        shape = (z, y, x)
        found.append(Level(f"s{number}", shape, voxel, _count(shape, default_layout(shape, voxel)[1])))
    return found


def _count(shape: Int3, block: Int3) -> int:
    return math.prod(-(-n // b) for n, b in zip(shape, block, strict=True))


def create_labels(path: Path, like: Volume, *, chunk: Int3, block: Int3, smallest: Int3) -> None:
    """Create labels on the grid of a volume, empty, with all their levels."""
    from neuropil.io.precomputed import create_scales
    from neuropil.io.zarr import create_pyramid, create_zarr

    if path.suffix == PRECOMPUTED:
        # an array without memory of its own: only its extent and type are looked at
        blank = np.broadcast_to(np.uint64(0), like.box.shape)
        create_scales(path, Volume(blank, like.voxel_size, like.offset, "zyx", "labels"), blank.dtype, chunk)
        return
    create_zarr(
        path, like.box.shape, np.uint64, like.voxel_size, offset=like.offset, kind="labels", chunk=chunk, shard=block
    )
    create_pyramid(path, smallest)


def open_labels(path: Path, level: str = "s0", *, writable: bool = False) -> Volume:
    """One level of labels, whole or not."""
    from neuropil.io.precomputed import open_scale
    from neuropil.io.zarr import open_level

    if path.suffix == PRECOMPUTED:
        return open_scale(path, int(level[1:]), writable=writable)
    return open_level(path, level, writable=writable)


def fill(path: Path, level: str, number: int) -> Block:
    """Write one part of a coarser level from the level before it."""
    from neuropil.io.precomputed import fill_scale
    from neuropil.io.zarr import fill_level

    made = path.suffix == PRECOMPUTED
    parts = open_labels(path, level).blocks(_WRITTEN if made else None)
    block = next(itertools.islice(parts, number, None))
    if made:
        fill_scale(path, int(level[1:]), block)
    else:
        fill_level(path, level, block)
    return block


def files(path: Path, level: str, block: Block) -> list[str]:
    """Names, in the folder of the labels, of the files that a task wrote."""
    from neuropil.io.precomputed import chunk_files

    if path.suffix == PRECOMPUTED:
        return chunk_files(path, int(level[1:]), block.write)
    return ["/".join((level, "c", *map(str, block.index)))]


def finish_labels(path: Path, attrs: Mapping[str, Any]) -> None:
    """Mark labels as whole, and let them carry attributes."""
    from neuropil.io.ome import read_node, write_group
    from neuropil.io.precomputed import finish_scales
    from neuropil.io.zarr import finish

    if path.suffix == PRECOMPUTED:
        finish_scales(path, {**open_labels(path).attributes(), **attrs})
        return
    group = read_node(path)
    write_group(path, {**(group.attrs if group else {}), **attrs})
    finish(path)
