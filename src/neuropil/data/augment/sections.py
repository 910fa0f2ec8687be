"""Grey-value defects of serial sections: missing (in part), pale, out of focus, folded. Labels stay as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop, Image, ImageChange, sectioned
from neuropil.data.augment.intensity import gaussian

#: Extent of the missing rectangle of a partly missing section, as a share of each side.
_PARTIAL_SHARE = (0.25, 0.75)
#: Out-of-focus sections are blurred with these standard deviations, in voxels of the plane.
_DEFOCUS_SIGMA = (1.0, 3.0)
#: Width of the black line of a fold, half of the tissue that it swallows, and how far tissue is pulled: voxels.
_FOLD_WIDTH = (4.0, 10.0)
_FOLD_LOSS = (4.0, 20.0)
_FOLD_REACH = 40.0


@dataclass(frozen=True)
class Hole:
    """A rectangle ``start <= (y, x) < stop`` of one section, filled with one grey value."""

    section: int
    start: tuple[int, int]
    stop: tuple[int, int]
    value: float


@dataclass(frozen=True)
class Missing(ImageChange):
    """Sections, or rectangles of sections, without an image."""

    holes: tuple[Hole, ...]
    defect: ClassVar[bool] = True

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        for hole in self.holes:
            image_ZYX[hole.section, hole.start[0] : hole.stop[0], hole.start[1] : hole.stop[1]] = hole.value


@dataclass(frozen=True)
class LowContrast(ImageChange):
    """Sections drawn towards their own mean."""

    sections: tuple[int, ...]
    scale: float
    defect: ClassVar[bool] = True

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        for section in self.sections:
            mean = image_ZYX[section].mean()
            image_ZYX[section] = (image_ZYX[section] - mean) * np.float32(self.scale) + mean


@dataclass(frozen=True)
class Defocus(ImageChange):
    """Sections blurred in their plane; `sigmas` in voxels."""

    sections: tuple[int, ...]
    sigmas: tuple[float, ...]
    defect: ClassVar[bool] = True

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        for section, sigma in zip(self.sections, self.sigmas, strict=True):
            gaussian(image_ZYX[section : section + 1], (0.0, sigma, sigma))


@dataclass(frozen=True)
class Fold:
    """A straight fold of one section through the point `through` (y, x), at an angle to the x axis; voxels."""

    section: int
    through: tuple[float, float]
    angle: float
    width: float
    loss: float


@dataclass(frozen=True)
class Folded(ImageChange):
    """Sections in which a black line has swallowed tissue; what is left is pulled towards it from both sides."""

    folds: tuple[Fold, ...]
    defect: ClassVar[bool] = True

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        y, x = np.indices(image_ZYX.shape[1:], dtype=np.float64)
        for fold in self.folds:
            normal = (math.cos(fold.angle), -math.sin(fold.angle))
            away = (y - fold.through[0]) * normal[0] + (x - fold.through[1]) * normal[1]
            pull = np.sign(away) * fold.loss * np.exp(-np.abs(away) / _FOLD_REACH)
            places = (y + pull * normal[0], x + pull * normal[1])
            section = ndimage.map_coordinates(image_ZYX[fold.section], places, order=1, mode="mirror")
            image_ZYX[fold.section] = np.where(np.abs(away) < fold.width / 2, 0.0, section)


def missing(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Missing | None:
    """Lose sections: whole, or (a share `missing_partial` of them) in part; black, or any one grey."""
    sections = _drawn(config.missing_section, rng, crop)
    holes = []
    for section in sections:
        value = float(rng.random()) if rng.random() < 0.5 else 0.0
        start, stop = (0, 0), crop.shape[1:]
        if rng.random() < config.missing_partial:
            size = [max(1, round(n * s)) for n, s in zip(stop, rng.uniform(*_PARTIAL_SHARE, 2), strict=True)]
            y, x = (int(rng.integers(0, n - s + 1)) for n, s in zip(stop, size, strict=True))
            start, stop = (y, x), (y + size[0], x + size[1])
        holes.append(Hole(section, start, stop, value))
    return Missing(tuple(holes)) if holes else None


def low_contrast(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> LowContrast | None:
    """Pale sections."""
    sections = _drawn(config.low_contrast_section, rng, crop)
    return LowContrast(sections, config.low_contrast_scale) if sections else None


def defocus(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Defocus | None:
    """Sections out of focus."""
    sections = _drawn(config.defocus_section, rng, crop)
    sigmas = tuple(float(s) for s in rng.uniform(*_DEFOCUS_SIGMA, len(sections)))
    return Defocus(sections, sigmas) if sections else None


def fold(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Folded | None:
    """Fold sections once, anywhere, at any angle."""
    folds = []
    for section in _drawn(config.fold_section, rng, crop):
        y, x = (float(rng.uniform(0, n - 1)) for n in crop.shape[1:])
        angle, width, loss = (float(rng.uniform(*ends)) for ends in ((0.0, math.pi), _FOLD_WIDTH, _FOLD_LOSS))
        folds.append(Fold(section, (y, x), angle, width, loss))
    return Folded(tuple(folds)) if folds else None


def _drawn(probability: float, rng: np.random.Generator, crop: Crop) -> tuple[int, ...]:
    """Sections hit with a probability each; none where z is no section axis."""
    if not probability or not sectioned(crop.voxel_size):
        return ()
    return tuple(int(z) for z in np.flatnonzero(rng.random(crop.shape[0]) < probability))
