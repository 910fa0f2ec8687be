"""From geometry to grey: cytoplasm, membranes, mitochondria, vesicles, microtubules, synaptic densities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_geometry import ACROSS, DENSITY, INSIDE, MEMBRANE, TILT, VESICLES, Fields, Spec
from neuropil.synth.em_lattice import is_glia
from neuropil.synth.hashing import gauss, noise3, uniform

__all__ = ["Look", "look", "shade"]

VESICLE_CELL_NM, VESICLE_NM = 56.0, 19.0
TUBULE_CELL_NM, TUBULE_NM, BUNDLE_NM = 50.0, 8.0, 110.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Look(NamedTuple):
    """Grey values and lengths of an `EMPhantomConfig`, as the kernel takes them."""

    cytoplasm: float
    spread: float
    texture: float
    mottle: float
    membrane: float
    membrane_nm: float
    mitochondrion: float
    cristae: float
    organelle: float
    gradient: float
    section_nm: float


def look(config: EMPhantomConfig) -> Look:
    """The kernel's view of a config."""
    return Look(
        config.cytoplasm, config.cytoplasm_spread, config.texture, config.mottle, config.membrane, config.membrane_nm,
        config.mitochondrion, config.cristae, config.organelle, config.stain_gradient, config.section_nm,
    )  # fmt: skip


@njit(cache=True)
def _vesicle(seed: int, chance: float, p: Floats) -> float:
    """Darkness (0 to 1) from vesicles: rings with a paler inside, one per cell of two staggered lattices at most."""
    dark = 0.0
    for layer in range(2):
        a = p[0] / VESICLE_CELL_NM + 0.5 * layer
        b = p[1] / VESICLE_CELL_NM + 0.5 * layer
        c = p[2] / VESICLE_CELL_NM + 0.5 * layer
        i, j, k = np.int64(np.floor(a)), np.int64(np.floor(b)), np.int64(np.floor(c))
        if uniform(seed + 61 + layer, i, j, k) >= chance:
            continue
        free = 0.5 - VESICLE_NM / VESICLE_CELL_NM  # how far the centre can move and the vesicle stay in its cell
        a -= i + 0.5 + free * (2 * uniform(seed + 63, i, j, k + layer) - 1)
        b -= j + 0.5 + free * (2 * uniform(seed + 64, i, j, k + layer) - 1)
        c -= k + 0.5 + free * (2 * uniform(seed + 65, i, j, k + layer) - 1)
        r = np.sqrt(a * a + b * b + c * c) * VESICLE_CELL_NM
        if uniform(seed + 62, i, j, k + layer) < 0.06:  # dense-core
            dark = max(dark, 1.3 * np.exp(-0.5 * (r / (0.75 * VESICLE_NM)) ** 2))
            continue
        ring = (r - 0.68 * VESICLE_NM) / (0.3 * VESICLE_NM)
        dark = max(dark, np.exp(-0.5 * ring * ring) + 0.25 * np.exp(-0.5 * (r / (0.5 * VESICLE_NM)) ** 2))
    return dark


@njit(cache=True)
def _tubule(seed: int, neuron: int, b_nm: float, c_nm: float) -> float:
    """Darkness (0 to 1) from microtubules that run along the neurite."""
    if b_nm**2 + c_nm**2 > BUNDLE_NM**2:
        return 0.0
    a, b = b_nm / TUBULE_CELL_NM, c_nm / TUBULE_CELL_NM
    i, j = np.int64(np.floor(a)), np.int64(np.floor(b))
    if uniform(seed + 66, neuron, i, j) > 0.4:
        return 0.0
    a -= i + 0.5 + 0.25 * (2 * uniform(seed + 67, neuron, i, j) - 1)
    b -= j + 0.5 + 0.25 * (2 * uniform(seed + 68, neuron, i, j) - 1)
    r = np.sqrt(a * a + b * b) * TUBULE_CELL_NM
    return float(np.exp(-0.5 * (r / TUBULE_NM) ** 2))


@njit(cache=True)
def _cytoplasm(seed: int, glial: float, style: Look, neuron: int, p: Floats) -> tuple[float, float]:
    """Mean grey of a neuron and the local texture."""
    base = style.cytoplasm + style.spread * gauss(seed + 71, neuron, 0, 0)
    rough = 0.6 + 0.8 * uniform(seed + 72, neuron, 0, 0)
    if is_glia(seed, glial, neuron):
        base -= 1.2 * style.spread
        rough *= 1.4
    fine = noise3(seed + 73, p[0] / 15.0, p[1] / 15.0, p[2] / 15.0)
    coarse = noise3(seed + 74, p[0] / 43.0, p[1] / 43.0, p[2] / 43.0)
    cloud = noise3(seed + 70, p[0] / 190.0, p[1] / 190.0, p[2] / 190.0)
    local = rough * (style.texture * fine + style.mottle * coarse)
    return base + 0.6 * style.mottle * cloud, local


@njit(cache=True)
def _reticulum(seed: int, neuron: int, p: Floats) -> float:
    """Darkness (0 to 1) from cisternae: thin sheets where a smooth field crosses zero, in patches."""
    if uniform(seed + 59, neuron, 0, 0) > 0.6:
        return 0.0
    where = noise3(seed + 58, p[0] / 330.0, p[1] / 330.0, p[2] / 330.0)
    if where < 0.35:
        return 0.0
    sheet = noise3(seed + 57, p[0] / 140.0, p[1] / 140.0, p[2] / 140.0) / 0.045
    return float(np.exp(-0.5 * sheet * sheet) * min(1.0, 4.0 * (where - 0.35)))


@njit(cache=True)
def _mitochondrion(seed: int, style: Look, mito: int, depth: float, p: Floats) -> float:
    """Grey inside a mitochondrion: matrix, cristae as warped plates, and the dark double membrane."""
    a = 2 * uniform(seed + 75, mito, 0, 0) - 1
    b = 2 * uniform(seed + 75, mito, 1, 0) - 1
    c = 2 * uniform(seed + 75, mito, 2, 0) - 1
    norm = max(0.2, np.sqrt(a * a + b * b + c * c))
    bend = 22.0 * noise3(seed + 76, p[0] / 70.0, p[1] / 70.0, p[2] / 70.0)
    phase = ((a * p[0] + b * p[1] + c * p[2]) / norm + bend) / 33.0
    wave = np.sin(2 * np.pi * phase)
    wave = wave * (1.5 - 0.5 * wave * wave)  # flatter plates, sharper edges
    fade = 0.5 + 0.5 * noise3(seed + 77, p[0] / 60.0, p[1] / 60.0, p[2] / 60.0)
    shell = np.exp(-0.5 * ((depth + 7.0) / 5.0) ** 2)
    grey = style.mitochondrion + style.cristae * (wave * min(1.0, max(0.0, fade)) - 1.2 * shell)
    return float(grey)


@njit(cache=True)
def _voxel(spec: tuple[int, float], style: Look, who: Ints, what: NDArray[np.float32], p: Floats) -> float:
    seed, glial = spec
    neuron, b, inside = who[0], np.float64(what[MEMBRANE]), np.float64(what[INSIDE])
    mean, rough = _cytoplasm(seed, glial, style, neuron, p)
    grey = mean + rough
    if b > 24.0 and inside > 20.0:
        busy = 0.25 * (uniform(seed + 78, neuron, 0, 0) < 0.35)
        dark = _vesicle(seed, min(0.8, 0.05 + busy + 0.8 * what[VESICLES]), p)
        dark = max(dark, 0.8 * _tubule(seed, neuron, what[ACROSS], what[ACROSS + 1]))
        dark = max(dark, 0.8 * _reticulum(seed, neuron, p))
        grey -= style.organelle * dark * (mean - style.membrane)
    if inside < 8.0:
        m = 1.0 / (1.0 + np.exp(inside / 2.5))
        body = _mitochondrion(seed, style, who[1], inside, p) + 0.35 * rough
        grey += m * (body - grey)
    width2 = style.membrane_nm**2
    spread2 = width2 + (what[TILT] * style.section_nm) ** 2 / 12.0
    stain = 1.0 - 0.12 * (1.0 + noise3(seed + 69, p[0] / 130.0, p[1] / 130.0, p[2] / 130.0))
    line = stain * (width2 / spread2) ** 0.4 * np.exp(-0.5 * b * b / spread2)
    grey += line * (style.membrane + 0.25 * rough - grey)
    density = what[DENSITY] * np.exp(-((b / 30.0) ** 2))
    grey += min(1.0, 1.6 * density) * (0.62 * style.membrane - grey)
    return float(grey)


@njit(cache=True)
def shade(spec: Spec, style: Look, fields: Fields, out: NDArray[np.float32]) -> None:
    """Noise-free grey values of a region, before the microscope."""
    p = np.empty(3)
    for z in range(out.shape[0]):
        p[0] = (spec.start[0] + z + 0.5) * spec.voxel[0]
        for y in range(out.shape[1]):
            p[1] = (spec.start[1] + y + 0.5) * spec.voxel[1] + spec.shift_ZC[z, 0]
            for x in range(out.shape[2]):
                p[2] = (spec.start[2] + x + 0.5) * spec.voxel[2] + spec.shift_ZC[z, 1]
                grey = _voxel((spec.seed, spec.glia), style, fields.who_DHWC[z, y, x], fields.what_DHWC[z, y, x], p)
                stain = noise3(spec.seed + 79, p[0] / 2600.0, p[1] / 2600.0, p[2] / 2600.0)
                out[z, y, x] = grey + style.gradient * stain
