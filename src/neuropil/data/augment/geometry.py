"""Changes of place: orientation, rotation, rescaling, elastic deformation, and sections that slipped or shifted."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop, Lattice, Orientation, Warp, sectioned
from neuropil.geometry import Float3, Int3

#: Mean of the squared weights of a uniform cubic B-spline along one axis: what it leaves of white noise's variance.
_SPLINE_VARIANCE = 151 / 315
#: Lattices finer than this many voxels would be noise, not tissue deformation.
_MIN_SPACING = 3.0


@dataclass(frozen=True)
class Rotate(Warp):
    """Turned in the section plane, in nm (pixels need not be square)."""

    angle: float
    voxel_size: Float3

    def matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3), about the centre of the crop."""
        _, vy, vx = self.voxel_size
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.array([[1, 0, 0], [0, c, -s * vx / vy], [0, s * vy / vx, c]])


@dataclass(frozen=True)
class Rescale(Warp):
    """Enlarged by a factor for each axis."""

    factors: Float3

    def matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3), about the centre of the crop."""
        return np.diag([1 / f for f in self.factors])


@dataclass(frozen=True)
class Elastic(Warp):
    """A smooth random field; `sigma` is its root mean square and `spacing` the lattice, both in voxels z, y, x."""

    spacing: Float3
    sigma: Float3
    seed: int

    def lattice(self, low: Int3, high: Int3) -> Lattice | None:
        """Control points over the voxels ``low <= p < high``, from the seed."""
        extent = zip(low, high, self.spacing, strict=True)
        counts = [math.floor((b - 1 - a) / s) + 4 for a, b, s in extent]
        points = np.random.default_rng(self.seed).standard_normal((*counts, 3), dtype=np.float32)
        scale = np.array(self.sigma) / _SPLINE_VARIANCE**1.5
        return Lattice(points * scale.astype(np.float32), np.array(self.spacing))


@dataclass(frozen=True)
class Slip(Warp):
    """One section lies off its place by `step` (y, x voxels)."""

    section: int
    step: tuple[int, int]
    defect: ClassVar[bool] = True

    def shifts(self, sections_Z: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(Z, 2): in-plane step y, x of each given section."""
        return np.where((sections_Z == self.section)[:, None], np.array(self.step, np.float64), 0.0)


@dataclass(frozen=True)
class Shift(Warp):
    """All sections from one on lie off their place by `step` (y, x voxels): a misalignment."""

    section: int
    step: tuple[int, int]
    defect: ClassVar[bool] = True

    def shifts(self, sections_Z: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(Z, 2): in-plane step y, x of each given section."""
        return np.where((sections_Z >= self.section)[:, None], np.array(self.step, np.float64), 0.0)


def orient(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Orientation | None:
    """Flip, and exchange axes of equal voxel size and extent; without flips only proper rotations are drawn."""
    choices = _orientations(crop.shape, crop.voxel_size, (config.flip, config.rotate90))
    chosen = choices[int(rng.integers(len(choices)))]
    return None if chosen == Orientation() else chosen


@cache
def _orientations(shape: Int3, voxel_size: Float3, kinds: tuple[bool, bool]) -> tuple[Orientation, ...]:
    flip, rotate = kinds
    alike = [(n, round(v, 3)) for n, v in zip(shape, voxel_size, strict=True)]
    found = []
    for axes in itertools.permutations((0, 1, 2)):
        if any(alike[a] != alike[i] for i, a in enumerate(axes)) or (not rotate and axes != (0, 1, 2)):
            continue
        odd = sum(axes[i] > axes[j] for i in range(3) for j in range(i + 1, 3)) % 2
        for flips in itertools.product((False, True), repeat=3):
            if flip or ((sum(flips) + odd) % 2 == 0 and (rotate or not any(flips))):
                found.append(Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])))
    return tuple(found)


def rotate(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Rotate | None:
    """Turn in the plane by up to 45°; quarter turns are `orient`'s."""
    if rng.random() >= config.rotate:
        return None
    return Rotate(float(rng.uniform(-math.pi / 4, math.pi / 4)), crop.voxel_size)


def rescale(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Rescale | None:
    """Scale each axis by a factor that is log-uniform in `rescale_range`; separate sections only in their plane."""
    if rng.random() >= config.rescale:
        return None
    low, high = (math.log(f) for f in config.rescale_range)
    z, y, x = (float(f) for f in np.exp(rng.uniform(low, high, 3)))
    return Rescale((1.0 if sectioned(crop.voxel_size) else z, y, x))


def elastic(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Elastic | None:
    """Deform smoothly; separate sections only in their plane."""
    if rng.random() >= config.elastic:
        return None
    spacing = [max(config.elastic_spacing_nm / v, _MIN_SPACING) for v in crop.voxel_size]
    sigma = [config.elastic_sigma_nm / v for v in crop.voxel_size]
    if sectioned(crop.voxel_size):
        sigma[0] = 0.0
        # lattice points may lie as close as sections: neighbouring sections do deform separately
        spacing[0] = max(config.elastic_spacing_nm / crop.voxel_size[0], 1.0)
    return Elastic((spacing[0], spacing[1], spacing[2]), (sigma[0], sigma[1], sigma[2]), int(rng.integers(2**62)))


def slip(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Slip | None:
    """Displace one section; for separate sections only."""
    if rng.random() >= config.slip or not sectioned(crop.voxel_size):
        return None
    return Slip(int(rng.integers(crop.shape[0])), _step(config, rng))


def shift(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> Shift | None:
    """Displace all sections from one on; for separate sections only."""
    if rng.random() >= config.shift or not sectioned(crop.voxel_size):
        return None
    return Shift(int(rng.integers(1, max(2, crop.shape[0]))), _step(config, rng))


def _step(config: AugmentConfig, rng: np.random.Generator) -> tuple[int, int]:
    y, x = rng.integers(-config.shift_max, config.shift_max + 1, 2)
    return int(y), int(x)
