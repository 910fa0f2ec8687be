"""A prediction of organelles out of noise: crowded, touching, with holes, crumbs and equal heights."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from neuropil.config import InstancesConfig

#: Many seeds, saddles between them, basins that no seed reaches, and objects that are too small.
CONFIG = InstancesConfig(seed_foreground=0.6, seed_contour=0.9, seed_distance=0.25, min_size_um3=12 * 512e-9)


def noisy_prediction(shape, seed=3):
    """(3, Z, Y, X) uint8 foreground, contour, distance."""
    rng = np.random.default_rng(seed)

    def field(sigma):
        values = gaussian_filter(rng.normal(size=shape), sigma)
        return values / values.std()

    inside = field(1.8)
    foreground = np.clip(140 + 60 * inside + 15 * field(0.6), 0, 255)
    contour = np.clip(110 + 70 * field(1.0), 0, 255)
    # in steps, so that plateaus and ties are everywhere
    distance = np.clip(130 + 45 * inside + 25 * field(1.0), 0, 255) // 24 * 24
    return np.stack([foreground, contour, distance]).astype(np.uint8)
