"""Tubes of known course and radius under blur and noise: what tracing is tested on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from neuropil.config import TraceConfig
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume

Place = tuple[float, float, float]
#: One thread: tests share the machine.
CONFIG = TraceConfig(workers=1)


def line(*corners: Place, step: float = 0.25) -> np.ndarray:
    """Points along straight pieces between corners, z, y, x."""
    parts = []
    for a, b in itertools.pairwise(corners):
        n = max(2, int(np.linalg.norm(np.subtract(b, a)) / step))
        parts.append(np.linspace(a, b, n))
    return np.concatenate(parts)


def tubes(
    shape: tuple[int, int, int],
    paths: Sequence[tuple[np.ndarray, float]],
    *,
    spacing: Place = (1, 1, 1),
    noise: float = 4.0,
    dark: bool = False,
    offset: Place = (0, 0, 0),
) -> Volume:
    """An 8-bit stack: paths with a radius, in the unit of the spacing, 100 above a background of 20."""
    centres = (np.indices(shape).reshape(3, -1).T + 0.5) * np.asarray(spacing)
    image = np.zeros(len(centres))
    for points, radius in paths:
        image[cKDTree(points).query(centres, distance_upper_bound=radius * 1.001)[0] <= radius] = 1
    blur = [0.7 * min(spacing) / s for s in spacing]
    light = 20 + 100 * gaussian_filter(image.reshape(shape), blur)
    light += np.random.default_rng(0).normal(0, noise, shape)
    grey = np.clip(240 - light if dark else light, 0, 255).astype(np.uint8)
    return Volume(grey, spacing, offset, kind="image", name="tubes")


def agreement(tree: Skeleton, truth: np.ndarray, reach: float) -> tuple[float, float]:
    """(precision, recall): shares of the tree's and the truth's points that have the other within reach."""
    mine = tree.resampled(reach / 4).nodes_nm
    away = cKDTree(truth).query(mine)[0]
    back = cKDTree(mine).query(truth)[0]
    return float((away <= reach).mean()), float((back <= reach).mean())
