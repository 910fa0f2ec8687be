from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.unit.tracing.phantoms import CONFIG, line, tubes

from neuropil.tracing.background import survey
from neuropil.tracing.radius import grey_radii, with_depth
from neuropil.tracing.voxels import from_places
from neuropil.volume import Volume


@pytest.mark.parametrize("tile", [16, 64])
def test_depth_is_the_distance_to_what_is_outside(tile) -> None:
    mask = gaussian_filter(np.random.default_rng(0).random((20, 30, 40)), 2) > 0.5
    at = np.flatnonzero(mask)
    zeros = np.zeros(len(at), np.float32)
    voxels = from_places(at, np.full(len(at), 255, np.uint8), zeros, shape=mask.shape, spacing_nm=(3.0, 1.0, 2.0))
    config = CONFIG.model_copy(update={"tile": tile, "max_radius": 6.0})
    centres, outside = np.argwhere(mask) * [3, 1, 2], np.argwhere(~mask) * [3, 1, 2]
    wanted = np.array([np.linalg.norm(outside - c, axis=1).min() for c in centres]) - 0.5
    assert np.allclose(with_depth(voxels, config).depth_nm, np.minimum(wanted, 6.0), atol=1e-4)


@pytest.mark.parametrize(
    ("radius", "shape", "z"), [(1.5, (16, 40, 60), 8), (4.0, (24, 40, 60), 12), (3.0, (1, 40, 60), 0.5)]
)
def test_grey_values_fall_by_half_at_the_radius(radius, shape, z) -> None:
    image = tubes(shape, [(line((z, 20, 5), (z, 20, 55)), radius)], noise=6.0)
    nodes = np.stack([np.full(20, z), np.full(20, 20.0), np.linspace(15, 45, 20)], axis=1)
    near = np.full(20, 2.0)
    for offset in ((0, 0, 0), (50, -20, 7)):
        placed = Volume(image.numpy(), (1, 1, 1), offset, kind="image")
        found = grey_radii(placed, survey(placed, CONFIG.enhance), nodes + offset, near, CONFIG)
        assert np.median(found) == pytest.approx(radius, abs=0.8)
