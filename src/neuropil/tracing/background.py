"""What is background: its level from block to block, its noise, and whether neurites are brighter or darker.

Background is most of a stack, so medians of blocks see it and not the neurites; the noise is measured on the tubularity
itself, so it needs no model of the camera.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuropil.config.trace import EnhanceConfig
from neuropil.errors import InputError
from neuropil.geometry import Box, Float3, Int3
from neuropil.lazy import check_finite
from neuropil.progress import shown
from neuropil.smoothing import Image
from neuropil.tracing.enhance import blurred, sigmas_nm, strongest
from neuropil.tracing.voxels import finest_nm
from neuropil.volume import Volume

#: Blocks on which noise and contrast are measured: at most so many, and about so many voxels of them.
_SAMPLES = 64
_SAMPLED_VOXELS = 1_500_000
#: Share of a block's voxels that may be hot or dead.
_FEW = 0.005
#: Voxels of an axis that a block's median looks at.
_LOOKS = 16
#: Share of voxels that are at most as bright as "bright neurites".
_BRIGHT = 0.999
#: Standard deviation of normal noise for a median distance of 1 from the middle.
_SIGMA_OF_MEDIAN = 1.4826


@dataclass(frozen=True, eq=False)
class Survey:
    """What the whole stack says about each of its voxels.

    Parameters
    ----------
    sign
        +1 where neurites are brighter than background, -1 where they are darker.
    medians
        (z, y, x) float32 background, one value a block.
    block
        Voxels of a block.
    sigmas
        Scales in nm.
    levels
        Tubularity at each scale that is evidence 1/2, in grey values.
    grey
        How far above background grey values, slightly smoothed, are evidence 1/2: what thick parts are found by.
    """

    sign: int
    medians: Image
    block: Int3
    sigmas: list[float]
    levels: list[float]
    grey: float

    def background(self, box: Box, origin: Int3) -> Image:
        """The background of a region, linear between the centres of blocks; `origin` is the stack's first voxel."""
        out = self.medians
        for axis in range(3):
            at = (np.arange(box.start[axis], box.stop[axis]) - origin[axis] + 0.5) / self.block[axis] - 0.5
            nodes = np.arange(self.medians.shape[axis])
            at = np.clip(at, 0, nodes[-1])
            weights = np.clip(1 - np.abs(at[:, None] - nodes), 0, None).astype(np.float32)
            out = np.moveaxis(np.tensordot(weights, out, (1, axis)), 0, axis)
        return np.ascontiguousarray(out, np.float32)


def survey(volume: Volume, config: EnhanceConfig) -> Survey:
    """Look over a stack once, in blocks.

    Raises
    ------
    InputError
        If it is empty, holds NaN or infinity, or nothing but one grey value.
    """
    box, spacing = volume.box, volume.voxel_size
    if box.size == 0:
        raise InputError(f"{volume.name}: a stack of shape {volume.shape}", "at least one voxel")
    edge = finest_nm(box.shape, spacing)
    block = _capped(tuple(max(1, math.ceil(config.background * edge / step)) for step in spacing), box.shape)
    medians, tops, sign = _blocks(volume, block, config)
    sigmas = sigmas_nm(config.radii, edge)
    parts = _sampled(volume, block, tops, sign)
    levels = [_level([_tubes(part, sigmas, i, spacing) for part in parts], config) for i in range(len(sigmas))]
    if max(levels) <= 0:
        raise InputError(f"{volume.name}: nothing in it is brighter than its surroundings", "an image with neurites")
    floor = max(levels) * 1e-6
    smooth = [blurred(part, sigmas[0], spacing) for part in parts]
    away = [float(np.median(np.abs(part - np.median(part)))) for part in smooth]
    grey = max(config.thick * max(levels), config.noise * _SIGMA_OF_MEDIAN * float(np.median(away)))
    return Survey(sign, medians, block, sigmas, [max(level, floor) for level in levels], grey)


def _tubes(part: Image, sigmas: list[float], index: int, spacing_nm: Float3) -> Image:
    return strongest(part, sigmas[index : index + 1], [1.0], spacing_nm, least=0.0)[0].ravel()


def _level(tubes: list[Image], config: EnhanceConfig) -> float:
    tubularity = np.concatenate(tubes)
    positive = tubularity[tubularity > 0]
    if not positive.size:
        return 0.0
    noise = float(np.median(positive)) if 2 * positive.size > 0.2 * tubularity.size else 0.0
    bright = float(np.quantile(tubularity, _BRIGHT))
    return max(config.noise * noise, config.contrast * bright)


def _blocks(volume: Volume, block: Int3, config: EnhanceConfig) -> tuple[Image, Image, int]:
    """Median of every block, how far its most different voxel lies from it (signed), and the sign of neurites."""
    z, y, x = (math.ceil(n / b) for n, b in zip(volume.box.shape, block, strict=True))
    medians, highs, lows = (np.empty((z, y, x), np.float32) for _ in range(3))
    stride = tuple(max(1, b // _LOOKS) for b in block)
    first, one = None, True
    rows = itertools.product(range(z), range(y))
    for index in shown("look", rows, z * y, volume.box.size, "row"):
        for at, part in _row(volume, block, index, x):
            seen = part[tuple(slice(None, None, s) for s in stride)]
            check_finite(part, f"{volume.name} from voxel {tuple(a * b for a, b in zip(at, block, strict=True))} on")
            ranked = np.sort(seen, axis=None)
            last = ranked.size - 1
            lows[at], medians[at], highs[at] = (ranked[round(q * last)] for q in (_FEW, 0.5, 1 - _FEW))
            first = part.flat[0] if first is None else first
            one = one and bool((part == first).all())
    if one:
        raise InputError(f"{volume.name}: all voxels are {first}", "an image with neurites")
    above, below = highs - medians, medians - lows
    sign = {"bright": 1, "dark": -1, "auto": 1 if _tail(above) >= _tail(below) else -1}[config.polarity]
    return sign * medians, above if sign > 0 else -below, sign


def _tail(spread: Image) -> float:
    """How far the blocks with the most in them reach."""
    return float(np.mean(np.sort(spread, axis=None)[-max(1, spread.size // 10) :]))


def _row(volume: Volume, block: Int3, index: tuple[int, int], count: int) -> Any:
    """The blocks of one row with their places, read at once."""
    start = [volume.box.start[i] + index[i] * block[i] for i in range(2)]
    stop = [min(volume.box.stop[i], start[i] + block[i]) for i in range(2)]
    box = Box((*start, volume.box.start[2]), (*stop, volume.box.stop[2]), volume.voxel_size)  # type: ignore[arg-type]
    line = volume.read(box)
    for i in range(count):
        yield (*index, i), line[:, :, i * block[2] : (i + 1) * block[2]]


def _sampled(volume: Volume, block: Int3, reach: Image, sign: int) -> list[Image]:
    """Blocks of all degrees of emptiness, as bright-on-dark float32 images with a rim."""
    order = np.argsort(-np.abs(reach), axis=None, kind="stable")
    rim = (8, 8, 8)
    grown = [min(b + 2 * r, n) for b, r, n in zip(block, rim, volume.box.shape, strict=True)]
    count = min(len(order), _SAMPLES, max(8, _SAMPLED_VOXELS // math.prod(grown)))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]
    found = []
    for at in zip(*np.unravel_index(np.sort(chosen), reach.shape), strict=True):
        start = tuple(int(a * b + o) for a, b, o in zip(at, block, volume.box.start, strict=True))
        stop = tuple(a + b for a, b in zip(start, block, strict=True))
        box = Box(start, stop, volume.voxel_size).grown(rim).intersected(volume.box)  # type: ignore[arg-type]
        found.append(volume.read(box).astype(np.float32) * np.float32(sign))
    return found


def _capped(block: Any, shape: Int3) -> Int3:
    z, y, x = (min(b, n) for b, n in zip(block, shape, strict=True))
    return z, y, x
