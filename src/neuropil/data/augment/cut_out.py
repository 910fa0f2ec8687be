"""Boxes without an image, in any volume: what they held must be told from what lies around. Labels stay as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neuropil.config import AugmentConfig
from neuropil.data.augment.base import Crop, Image, ImageChange
from neuropil.geometry import Int3

#: A plan stays small even where boxes are tiny.
_MOST_BOXES = 256


@dataclass(frozen=True)
class Gap:
    """The voxels ``start <= (z, y, x) < stop``, filled with one grey value."""

    start: Int3
    stop: Int3
    value: float


@dataclass(frozen=True)
class CutOut(ImageChange):
    """Boxes without an image."""

    gaps: tuple[Gap, ...]

    def change(self, image_ZYX: Image) -> None:
        """Change the image in place."""
        for gap in self.gaps:
            image_ZYX[tuple(slice(a, b) for a, b in zip(gap.start, gap.stop, strict=True))] = gap.value


def cut_out(config: AugmentConfig, rng: np.random.Generator, crop: Crop) -> CutOut | None:
    """Cut boxes out until their volume is a share of the crop's; black, or any one grey.

    Sides are log-uniform in nm, each by itself, so boxes are as often tall as they are flat.
    """
    # asked first: a crop of settings without boxes must draw the same numbers as before there were any
    if not config.cut_out or rng.random() >= config.cut_out:
        return None
    low, high = (math.log(side) for side in config.cut_out_nm)
    left = rng.uniform(*config.cut_out_share) * math.prod(crop.shape)
    gaps: list[Gap] = []
    while left > 0 and len(gaps) < _MOST_BOXES:
        sides = np.exp(rng.uniform(low, high, 3)) / crop.voxel_size
        size = [min(n, max(1, round(s))) for n, s in zip(crop.shape, sides, strict=True)]
        z, y, x = (int(rng.integers(0, n - s + 1)) for n, s in zip(crop.shape, size, strict=True))
        value = float(rng.random()) if rng.random() < 0.5 else 0.0
        gaps.append(Gap((z, y, x), (z + size[0], y + size[1], x + size[2]), value))
        left -= math.prod(size)
    return CutOut(tuple(gaps))
