"""Changes of grey values that any microscope makes: exposure, contrast, gamma, blur, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop, Image, ImageChange, compiled, sectioned
from neuropil.geometry import Float3, Int3

#: Gaussians end at this many standard deviations.
_TRUNCATE = 2.5
#: Size of a cut-blurred cuboid, as a share of each side of the crop, and by how much its plane is coarsened.
_CUT_SHARE = (0.25, 0.6)
_CUT_FACTORS = (2, 5)


@dataclass(frozen=True)
class Intensity(ImageChange):
    """Contrast about mid-grey, brightness, then gamma, for the whole crop."""

    scale: float
    shift: float
    gamma: float

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        _tone(image_ZYX, np.array([[self.scale, self.shift, self.gamma]] * len(image_ZYX), np.float32))


@dataclass(frozen=True)
class SectionIntensity(ImageChange):
    """Contrast about mid-grey and brightness of single sections."""

    sections: tuple[int, ...]
    scales: tuple[float, ...]
    shifts: tuple[float, ...]

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        for section, scale, shift in zip(self.sections, self.scales, self.shifts, strict=True):
            image_ZYX[section] = (image_ZYX[section] - 0.5) * np.float32(scale) + np.float32(0.5 + shift)


@dataclass(frozen=True)
class Blur(ImageChange):
    """Gaussian blur; `sigma` in voxels z, y, x."""

    sigma: Float3

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        gaussian(image_ZYX, self.sigma)


@dataclass(frozen=True)
class CutBlur(ImageChange):
    """A cuboid is seen at a coarser pixel size."""

    start: Int3
    stop: Int3
    factor: int

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        part = image_ZYX[tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))]
        f = self.factor
        depth, height, width = part.shape[0], part.shape[1] // f, part.shape[2] // f
        fits = part[:, : height * f, : width * f].reshape(depth, height, f, width, f)
        fits[...] = fits.mean(axis=(2, 4), keepdims=True)


@dataclass(frozen=True)
class Noise(ImageChange):
    """Independent Gaussian noise."""

    sigma: float
    seed: int

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        noise = np.random.default_rng(self.seed).standard_normal(image_ZYX.shape, dtype=np.float32)
        noise *= np.float32(self.sigma)
        image_ZYX += noise


def intensity(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Intensity | None:
    """Contrast, brightness and gamma of the crop."""
    if rng.random() >= config.intensity:
        return None
    low, high = (math.log(g) for g in config.gamma)
    scale, shift = _contrast(config, rng)
    return Intensity(scale, shift, float(math.exp(rng.uniform(low, high))))


def section_intensity(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> SectionIntensity | None:
    """Contrast and brightness of each section by itself; for separate sections only."""
    if not config.intensity_section or not sectioned(crop.voxel_size):
        return None
    sections = tuple(int(z) for z in np.flatnonzero(rng.random(crop.shape[0]) < config.intensity_section))
    drawn = [_contrast(config, rng) for _ in sections]
    return SectionIntensity(sections, tuple(s for s, _ in drawn), tuple(b for _, b in drawn)) if sections else None


def blur(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Blur | None:
    """Blur the crop, equally in nm; separate sections only in their plane."""
    if rng.random() >= config.blur:
        return None
    finest = min(crop.voxel_size)
    sigma = rng.uniform(*config.blur_sigma)
    z, y, x = (float(sigma * finest / v) for v in crop.voxel_size)
    return Blur((0.0 if sectioned(crop.voxel_size) else z, y, x))


def cut_blur(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> CutBlur | None:
    """Coarsen the plane of a cuboid, 2 to 4 times."""
    if rng.random() >= config.cut_blur:
        return None
    factor = int(rng.integers(*_CUT_FACTORS))
    share = rng.uniform(*_CUT_SHARE, 3)
    size = [
        min(n, max(1 if axis == 0 else factor, round(n * s)))
        for axis, (n, s) in enumerate(zip(crop.shape, share, strict=True))
    ]
    start = [int(rng.integers(0, n - s + 1)) for n, s in zip(crop.shape, size, strict=True)]
    stop = [a + s for a, s in zip(start, size, strict=True)]
    return CutBlur((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), factor)


def noise(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Noise | None:
    """Add noise of a strength drawn from `noise_sigma` (share of the grey range)."""
    if rng.random() >= config.noise:
        return None
    return Noise(float(rng.uniform(*config.noise_sigma)), int(rng.integers(2**62)))


def _contrast(config: AugmentConfig, rng: np.random.Generator) -> tuple[float, float]:
    a, b = config.intensity_scale, config.intensity_shift
    return float(rng.uniform(1 - a, 1 + a)), float(rng.uniform(-b, b))


def gaussian(image_ZYX: Image, sigma: Float3) -> None:
    """Blur a contiguous image in place by separable Gaussians; the border repeats its last voxel."""
    for axis, s in enumerate(sigma):
        radius = round(_TRUNCATE * s)
        if radius:
            taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / s) ** 2)
            shape = image_ZYX.shape
            split = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
            _convolve(image_ZYX.reshape(split), (taps / taps.sum()).astype(np.float32))


@compiled
def _convolve(image_ANB: Image, taps: Image) -> None:
    """Convolve the middle axis in place; the inner loop runs along memory, whichever axis that is."""
    before, size, after = image_ANB.shape
    radius = len(taps) // 2
    padded = np.empty((size + 2 * radius, after), np.float32)
    flat = padded.ravel()
    for a in range(before):
        for n in range(size + 2 * radius):
            padded[n] = image_ANB[a, min(max(n - radius, 0), size - 1)]
        # shifting by a tap shifts the flattened rows by a whole row: one loop serves columns and rows alike
        lines = size if after > 1 else 1
        length = size * after // lines
        for n in range(lines):
            row = image_ANB[a].ravel()[n * length : (n + 1) * length]
            row[:] = 0
            for t in range(len(taps)):
                weight, tap = taps[t], flat[n * length + t * after : (n + 1) * length + t * after]
                for b in range(length):
                    row[b] += weight * tap[b]


@compiled
def _tone(image_ZYX: Image, tones_Z3: npt.NDArray[np.float32]) -> None:
    half = np.float32(0.5)
    for z in range(image_ZYX.shape[0]):
        scale, shift, gamma = tones_Z3[z]
        for y in range(image_ZYX.shape[1]):
            for x in range(image_ZYX.shape[2]):
                value = (image_ZYX[z, y, x] - half) * scale + half + shift
                # gamma is not defined below black; what lies there stays as far below
                image_ZYX[z, y, x] = value**gamma if value > 0 else value
