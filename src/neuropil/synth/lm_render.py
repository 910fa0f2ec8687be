"""From cable to photons: what share of each voxel is stained, what the optics make of it, what the detector counts.

Every step is a function of the voxel's place in the whole, so any block gives the same values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from neuropil.geometry import Box, Int3
from neuropil.synth.hashing import gauss, noise3, uniform
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.synth.lm_stain import Cable

__all__ = ["blurred", "drawn", "exposed", "halo", "within"]

WINGS = 3.0  #: width of the faint wings of the PSF, in widths of its core
TRUNCATE = 3.0  #: sigmas at which a kernel ends
SUB = 3  #: a voxel is looked at in SUB³ places
_ALL = (1 << SUB**3) - 1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def psf_vox(config: LMPhantomConfig) -> Floats:
    """Sigma of the core of the PSF, in voxels."""
    return np.array(config.psf_nm) * (1 + 3 * config.blur) / config.voxel_size


def halo(config: LMPhantomConfig) -> Int3:
    """How far light reaches, in voxels."""
    z, y, x = (int(np.ceil(TRUNCATE * WINGS * s)) for s in psf_vox(config))
    return z, y, x


def within(cable: Cable, region: Box) -> Cable:
    """The capsules that may touch a region."""
    low, high = np.array(region.start) * region.voxel_size, np.array(region.stop) * region.voxel_size
    reach = cable.radius_NE.max(axis=1)[:, None]
    near = ((cable.end_NEC.max(axis=1) + reach >= low) & (cable.end_NEC.min(axis=1) - reach <= high)).all(axis=1)
    return Cable(*(part[near] for part in cable))


def drawn(cable: Cable, region: Box) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    """Stained share of each voxel (Z, Y, X), and the owner of its centre, 0 for none."""
    places = np.zeros(region.shape, np.uint32)
    stain, depth = np.zeros(region.shape, np.float32), np.full(region.shape, np.inf, np.float32)
    owner = np.zeros(region.shape, np.uint64)
    mine = within(cable, region)
    _draw(mine, np.array(region.start), np.array(region.voxel_size), (places, stain, depth, owner))
    return _share(places, stain), owner


@njit(cache=True)
def _apart(cable: Cable, n: int, p: Floats) -> tuple[float, float, float]:
    """Distance of p from the axis of a capsule, and radius and staining there."""
    a, b = cable.end_NEC[n, 0], cable.end_NEC[n, 1]
    along, length2 = 0.0, 0.0
    for c in range(3):
        along += (p[c] - a[c]) * (b[c] - a[c])
        length2 += (b[c] - a[c]) ** 2
    t = min(1.0, max(0.0, along / length2)) if length2 > 0 else 0.0
    d2 = 0.0
    for c in range(3):
        d2 += (p[c] - a[c] - t * (b[c] - a[c])) ** 2
    radius = cable.radius_NE[n, 0] + t * (cable.radius_NE[n, 1] - cable.radius_NE[n, 0])
    return np.sqrt(d2), radius, cable.stain_NE[n, 0] + t * (cable.stain_NE[n, 1] - cable.stain_NE[n, 0])


@njit(cache=True)
def _places(cable: Cable, n: int, corner: Floats, voxel: Floats) -> int:
    """One bit for each of the places in a voxel that lie in a capsule."""
    bits, bit = 0, 1
    p = np.empty(3)
    for i in range(SUB):
        p[0] = corner[0] + (i + 0.5) / SUB * voxel[0]
        for j in range(SUB):
            p[1] = corner[1] + (j + 0.5) / SUB * voxel[1]
            for k in range(SUB):
                p[2] = corner[2] + (k + 0.5) / SUB * voxel[2]
                distance, radius, _ = _apart(cable, n, p)
                if distance <= radius:
                    bits |= bit
                bit <<= 1
    return bits


@njit(cache=True)
def _draw(cable: Cable, start: Ints, voxel: Floats, out: tuple[NDArray[Any], ...]) -> None:
    places, stain, depth, owner = out
    half = 0.5 * np.sqrt((voxel**2).sum())
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    corner = np.empty(3)
    for n in range(len(cable.owner)):
        reach = max(cable.radius_NE[n, 0], cable.radius_NE[n, 1])
        for c in range(3):
            a, b = cable.end_NEC[n, 0, c], cable.end_NEC[n, 1, c]
            low[c] = max(0, np.int64(np.floor((min(a, b) - reach) / voxel[c])) - start[c])
            high[c] = min(places.shape[c], np.int64(np.floor((max(a, b) + reach) / voxel[c])) + 1 - start[c])
        for z in range(low[0], high[0]):
            corner[0] = (start[0] + z) * voxel[0]
            for y in range(low[1], high[1]):
                corner[1] = (start[1] + y) * voxel[1]
                for x in range(low[2], high[2]):
                    corner[2] = (start[2] + x) * voxel[2]
                    distance, radius, dye = _apart(cable, n, corner + 0.5 * voxel)
                    if distance > radius + half:
                        continue
                    bits = _ALL if distance + half <= radius else _places(cable, n, corner, voxel)
                    if bits:
                        places[z, y, x] |= np.uint32(bits)
                        stain[z, y, x] = max(stain[z, y, x], np.float32(dye))
                    inside = np.float32(distance / radius)
                    whose = np.uint64(cable.owner[n])
                    nearer = inside < depth[z, y, x] or (inside == depth[z, y, x] and whose < owner[z, y, x])
                    if distance <= radius and nearer:
                        depth[z, y, x], owner[z, y, x] = inside, whose


@njit(cache=True)
def _share(places: NDArray[np.uint32], stain: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.empty_like(stain)
    flat, dye, share = places.ravel(), stain.ravel(), out.ravel()
    for n in range(len(flat)):
        bits, count = flat[n], 0
        while bits:
            bits &= bits - np.uint32(1)
            count += 1
        share[n] = dye[n] * np.float32(count / SUB**3)
    return out


def blurred(config: LMPhantomConfig, light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light after the optics, without the halo: a Gaussian core and faint wide wings."""
    core, wings = light, light
    for axis, sigma in enumerate(psf_vox(config)):
        if sigma > 0:
            core = correlate1d(core, _kernel(sigma), axis=axis, mode="constant")
            wings = correlate1d(wings, _kernel(WINGS * sigma), axis=axis, mode="constant")
    inner = tuple(slice(h, n - h) for h, n in zip(halo(config), light.shape, strict=True))
    share = np.float32(0.1 + 0.35 * config.haze)
    return np.ascontiguousarray((1 - share) * core[inner] + share * wings[inner])


def _kernel(sigma: float) -> Floats:
    reach = int(np.ceil(TRUNCATE * sigma))
    at = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def exposed(config: LMPhantomConfig, light: NDArray[np.float32], box: Box) -> NDArray[np.uint8]:
    """Grey values of a box: uneven light, haze, photons, read noise."""
    photons = 400.0 * 16.0**-config.noise
    extent = np.array(config.shape) * config.voxel_size
    look = (photons, config.haze, config.illumination, config.saturation, 0.5 + config.noise)
    out = np.empty(light.shape, np.uint8)
    _expose(config.seed, look, light, (np.array(box.start), np.array(box.voxel_size), extent), out)
    return out


@njit(cache=True)
def _photons(seed: int, expected: float, z: int, y: int, x: int) -> float:
    """A Poisson number: by inversion, above 60 by its normal limit."""
    if expected > 60.0:
        return float(max(0.0, np.floor(expected + np.sqrt(expected) * gauss(seed, z, y, x) + 0.5)))
    u, term, count = uniform(seed, z, y, x), np.exp(-expected), 0
    total = term
    while u > total and count < 200:
        count += 1
        term *= expected / count
        total += term
    return float(count)


@njit(cache=True)
def _expose(
    seed: int,
    look: tuple[float, float, float, float, float],
    light: NDArray[np.float32],
    place: tuple[Ints, Floats, Floats],
    out: NDArray[np.uint8],
) -> None:
    photons, haze, uneven, white, read = look
    start, voxel, extent = place
    field = 0.5 * max(extent[1], extent[2])
    for i in range(light.shape[0]):
        z = start[0] + i
        pz = (z + 0.5) * voxel[0]
        fade = np.exp(-0.6 * uneven * pz / max(extent[0], 20_000.0))
        for j in range(light.shape[1]):
            y = start[1] + j
            py = (y + 0.5) * voxel[1]
            for k in range(light.shape[2]):
                x = start[2] + k
                px = (x + 0.5) * voxel[2]
                lamp = fade * np.exp(0.45 * uneven * noise3(seed + 31, pz / field, py / field, px / field))
                fog = 0.35 * noise3(seed + 32, pz / 24e3, py / 18e3, px / 18e3)
                fog += 0.2 * noise3(seed + 33, pz / 6e3, py / 4e3, px / 4e3)
                dim = 0.01 + 0.1 * haze * max(0.0, 1.0 + fog)
                count = _photons(seed + 34, photons * lamp * (light[i, j, k] + dim), z, y, x)
                count += read * gauss(seed + 35, z, y, x)
                out[i, j, k] = np.uint8(min(255.0, max(0.0, np.floor(6.0 + 249.0 * count / (photons * white) + 0.5))))
