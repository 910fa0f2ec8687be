"""What the microscope and the microtome add: section shifts, contrast, lost and blurred sections, blur, noise."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from neuropil.geometry import Int3
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.hashing import gauss, noise3, uniform

__all__ = ["SHIFT_BOUND", "expose", "halo", "section_fates", "section_shifts"]

OK, MISSING, DARK, BLURRED = 0, 1, 2, 3
DEFOCUS_VOX = 2.6
DARKENING = 0.42
SHIFT_BOUND = 6.5  #: a section shift is below this many `jitter_nm`
_REACH = 3.0  # blur kernels end at this many sigma

Floats32 = NDArray[np.float32]


@njit(cache=True)
def _shifts(seed: int, first: int, amount: float, out: NDArray[np.float64]) -> None:
    for z in range(out.shape[0]):
        for c in range(2):
            sudden = gauss(seed + 81 + c, first + z, 0, 0)
            drift = noise3(seed + 83 + c, (first + z) / 9.0, 0.5, 0.5)
            out[z, c] = amount * (0.6 * sudden + 1.2 * drift)


def section_shifts(config: EMPhantomConfig, first: int, count: int) -> NDArray[np.float64]:
    """(count, 2) displacement (nm; y, x) of the tissue in sections `first`, `first + 1`, ..."""
    out = np.zeros((count, 2))
    if config.jitter_nm > 0:
        _shifts(config.seed, first, config.jitter_nm, out)
    return out


@njit(cache=True)
def _draws(seed: int, first: int, out: NDArray[np.float64]) -> None:
    for z in range(out.shape[0]):
        out[z, 0] = uniform(seed + 85, first + z, 0, 0)
        out[z, 1] = gauss(seed + 86, first + z, 0, 0)
        out[z, 2] = gauss(seed + 87, first + z, 0, 0)


def section_fates(config: EMPhantomConfig, first: int, count: int) -> NDArray[np.int8]:
    """(count,) what happened to each section: 0 nothing, 1 missing, 2 dark, 3 blurred."""
    draws = np.empty((count, 3))
    _draws(config.seed, first, draws)
    edges = np.cumsum([config.missing, config.dark, config.blurred])
    fate = np.searchsorted(edges, draws[:, 0], side="right") + 1
    return np.where(fate > BLURRED, OK, fate).astype(np.int8)


def halo(config: EMPhantomConfig) -> Int3:
    """Voxels beyond a region that its grey values depend on."""
    near = math.ceil(_REACH * config.blur_vox)
    wide = near + (math.ceil(_REACH * DEFOCUS_VOX) if config.blurred > 0 else 0)
    return (near if config.section_nm == 0 else 0), wide, wide


@njit(cache=True)
def _add_noise(seed: int, sigma: float, row_sigma: float, start: NDArray[np.int64], image: Floats32) -> None:
    for z in range(image.shape[0]):
        for y in range(image.shape[1]):
            row = row_sigma * gauss(seed + 1, start[0] + z, start[1] + y, 0)
            for x in range(image.shape[2]):
                image[z, y, x] += row + sigma * gauss(seed, start[0] + z, start[1] + y, start[2] + x)


def _blurred(image: Floats32, sigmas: tuple[float, float, float]) -> Floats32:
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            reach = math.ceil(_REACH * sigma)
            x = np.arange(-reach, reach + 1)
            weights = np.exp(-0.5 * (x / sigma) ** 2)
            image = ndimage.correlate1d(image, weights / weights.sum(), axis=axis, mode="nearest")
    return image


def expose(config: EMPhantomConfig, start: NDArray[np.int64], grey: Floats32) -> NDArray[np.uint8]:
    """Image noise-free grey values (overwritten) of a region that includes the halo; returns it without the halo."""
    seed, (hz, hy, hx) = config.seed, halo(config)
    _add_noise(seed + 91, config.noise, 0.0, start, grey)
    sigma = config.blur_vox
    grey = _blurred(grey, (sigma if hz else 0.0, sigma, sigma))
    fates = section_fates(config, int(start[0]), len(grey))
    for z in np.flatnonzero(fates == BLURRED):
        grey[z] = _blurred(grey[z : z + 1], (0.0, DEFOCUS_VOX, DEFOCUS_VOX))[0]
    shape = grey.shape
    inner = np.ascontiguousarray(grey[hz : shape[0] - hz, hy : shape[1] - hy, hx : shape[2] - hx])
    start = start + np.array([hz, hy, hx])
    draws = np.empty((len(inner), 3))
    _draws(seed, int(start[0]), draws)
    gain = (1.0 + config.section_contrast * draws[:, 1]).astype(np.float32)
    lift = (config.section_contrast * 110.0 * draws[:, 2]).astype(np.float32)
    inner = (inner - 128.0) * gain[:, None, None] + (128.0 + lift)[:, None, None]
    _add_noise(seed + 93, config.late_noise, config.line_noise, start, inner)
    fates = section_fates(config, int(start[0]), len(inner))
    inner[fates == DARK] *= DARKENING
    out = np.clip(np.rint(inner), 0, 255).astype(np.uint8)
    out[fates == MISSING] = 0
    return out
