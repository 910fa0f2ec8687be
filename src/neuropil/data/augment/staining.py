"""What light microscopes and dyes do: neurites whose staining fails for a stretch, and few photons.

Labels stay as they are: a network must learn to see through a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop, Image, ImageChange
from neuropil.geometry import Float3

#: Gaps of one crop.
_MOST_GAPS = 8
#: Percentiles of a crop: its background, and the grey value from which a voxel may be neurite.
_BACKGROUND, _BRIGHT = 20.0, 99.0
#: A gap ends at this many standard deviations.
_REACH = 2.5


@dataclass(frozen=True)
class StainGaps(ImageChange):
    """Bright places that fade to the background; `sigmas` in finest voxel edges, `seed` chooses the places."""

    sigmas: tuple[float, ...]
    voxel_size: Float3
    seed: int

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        background, bright = np.percentile(image_ZYX, [_BACKGROUND, _BRIGHT])
        spots = np.argwhere(image_ZYX >= bright)
        rng = np.random.default_rng(self.seed)
        edges = np.array(self.voxel_size) / min(self.voxel_size)
        for centre, sigma in zip(spots[rng.integers(len(spots), size=len(self.sigmas))], self.sigmas, strict=True):
            reach = np.ceil(_REACH * sigma / edges).astype(int)
            low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, image_ZYX.shape)
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            axes = np.ogrid[part]
            square = sum(((a - c) * e / sigma) ** 2 for a, c, e in zip(axes, centre, edges, strict=True))
            fade = np.exp(-0.5 * np.asarray(square, np.float32) ** 2)
            # nothing dark becomes brighter: a gap is missing light
            gone = np.maximum(image_ZYX[part] - np.float32(background), 0)
            image_ZYX[part] -= fade * gone


@dataclass(frozen=True)
class ShotNoise(ImageChange):
    """Photons are counted: `photons` of them in a voxel of grey value 1."""

    photons: float
    seed: int

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        light = np.maximum(image_ZYX, 0)
        counted = np.random.default_rng(self.seed).poisson(light * self.photons) / self.photons
        image_ZYX += counted.astype(np.float32) - light


def stain_gaps(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> StainGaps | None:
    """Break the staining at a few bright places, which neurites are where they are bright on dark."""
    # asked first: a crop of settings without gaps must draw the same numbers as before there were any
    if not config.stain_gaps or rng.random() >= config.stain_gaps:
        return None
    sigmas = rng.uniform(*config.stain_gap_sigma, int(rng.integers(1, _MOST_GAPS + 1)))
    return StainGaps(tuple(float(s) for s in sigmas), crop.voxel_size, int(rng.integers(2**62)))


def shot_noise(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> ShotNoise | None:
    """Count photons, log-uniformly many."""
    if not config.shot_noise or rng.random() >= config.shot_noise:
        return None
    low, high = (math.log(n) for n in config.shot_photons)
    return ShotNoise(float(math.exp(rng.uniform(low, high))), int(rng.integers(2**62)))
