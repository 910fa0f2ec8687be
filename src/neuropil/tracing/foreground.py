"""From an image, a probability map or labels to the voxels of neurites, tile by tile in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config.trace import TraceConfig
from neuropil.errors import InputError
from neuropil.geometry import Box, Int3
from neuropil.progress import shown
from neuropil.tracing.background import Survey
from neuropil.tracing.enhance import halo, strongest
from neuropil.tracing.radius import tile_shape, with_depth
from neuropil.tracing.voxels import Voxels, from_places
from neuropil.volume import Volume

#: Bytes that tracing holds for each neurite voxel at its worst moment.
BYTES_A_VOXEL = 64

Evidence = npt.NDArray[np.uint8]


def neurite_voxels(volume: Volume, config: TraceConfig, found: Survey | None) -> Voxels:
    """The voxels with at least weak evidence of neurite, whose evidence and depth they carry.

    Parameters
    ----------
    found
        What a survey of the image found; None for a probability map, which is its own evidence.

    Raises
    ------
    InputError
        If a probability lies outside 0..1, no voxel has strong evidence, or there are more neurite voxels than
        `memory_gb` can hold.
    """
    if found is None:
        voxels = gathered(volume, config, (0, 0, 0), lambda box: _probability(volume, box))
    else:
        rim = halo(found.sigmas, volume.voxel_size)
        voxels = gathered(volume, config, rim, lambda box: evidence(volume, box, found, config.weak))
    if not (voxels.value >= _byte(config.strong)).any():
        look = "the image" if found is not None else "its values (uint8: 255 is sure, so a mask has 0 and 255)"
        raise InputError(
            f"{volume.name}: no voxel with evidence of neurite of {config.strong}",
            "neurites that stand out from the background",
            f"look at {look}, or lower trace.strong and trace.weak",
        )
    return with_depth(voxels, config)


def evidence(volume: Volume, box: Box, found: Survey, weak: float) -> Evidence:
    """(Z, Y, X) uint8 evidence of a region, 128 where tubularity is at its level; of thick parts, from grey values.

    What lies below `weak` may be anything below it.
    """
    image = volume.read(box).astype(np.float32)
    image *= np.float32(found.sign)
    best, smooth = strongest(
        image, found.sigmas, found.levels, volume.voxel_size, least=0.99 * weak / max(1 - weak, 1e-3)
    )
    del image
    smooth -= found.background(box, volume.box.start)
    smooth /= np.float32(found.grey)
    np.maximum(best, smooth, out=best)
    del smooth
    best /= 1 + best
    best *= 255
    return np.asarray(best.astype(np.uint8))


def gathered(volume: Volume, config: TraceConfig, rim: Int3, judge: Callable[[Box], Evidence]) -> Voxels:
    """Collect the voxels that `judge` finds in tiles with a rim; threads share them, their order settles the answer.

    Raises
    ------
    InputError
        If there are more than `memory_gb` can hold.
    """
    whole, weak = volume.box, _byte(config.weak)
    most = int(config.memory_gb * 2**30 / BYTES_A_VOXEL)

    def work(block: Any) -> tuple[npt.NDArray[np.int64], Evidence]:
        read = block.read.intersected(whole)
        found = judge(read)[block.write.slices(read.start)]
        at = np.flatnonzero(found >= weak)
        zyx = np.unravel_index(at, found.shape)
        place = [a + s - o for a, s, o in zip(zyx, block.write.start, whole.start, strict=True)]
        return np.ravel_multi_index(place, whole.shape).astype(np.int64), found.ravel()[at]

    places, values, count = [], [], 0
    tiles = list(whole.blocks(tile_shape(config, whole), rim))
    for place, value in shown("neurites", _mapped(work, iter(tiles), config.workers), len(tiles), whole.size, "tile"):
        count += len(place)
        if count > most:
            raise InputError(
                f"{volume.name}: more than {most} voxels of neurite",
                f"what fits into trace.memory_gb={config.memory_gb:g} at {BYTES_A_VOXEL} bytes each",
                "raise trace.weak, give more memory, or trace a part: image[z0:z1,y0:y1,x0:x1]",
            )
        places.append(place)
        values.append(value)
    linear = np.concatenate(places) if places else np.empty(0, np.int64)
    value = np.concatenate(values) if values else np.empty(0, np.uint8)
    depth = np.zeros(len(linear), np.float32)
    return from_places(linear, value, depth, shape=whole.shape, spacing_nm=volume.voxel_size)


def _mapped(work: Callable[[Any], Any], blocks: Iterator[Any], workers: int) -> Iterator[Any]:
    """Results in the order of blocks; no more blocks are under way than there are threads."""
    count = workers or os.cpu_count() or 1
    if count == 1:
        yield from map(work, blocks)
        return
    with ThreadPoolExecutor(count) as pool:
        waiting = []
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > count:
                yield waiting.pop(0).result()
        for job in waiting:
            yield job.result()


def _probability(volume: Volume, box: Box) -> Evidence:
    found = volume.read(box)
    if found.dtype == np.uint8:
        return np.asarray(found)
    if found.dtype.kind == "b":
        return np.asarray(found.astype(np.uint8) * np.uint8(255))
    low, high = float(found.min()), float(found.max())
    if found.dtype.kind != "f" or not (low >= 0 and high <= 1):
        raise InputError(
            f"{volume.name}: a probability of type {found.dtype} from {low:g} to {high:g}",
            "uint8 (255 = sure), or floats from 0 to 1",
            "for an image, leave trace.source as it is",
        )
    return np.asarray(np.rint(found * 255).astype(np.uint8))


def _byte(share: float) -> int:
    return int(np.ceil(share * 255 - 1e-9))
