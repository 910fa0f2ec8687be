"""Predictions of a small volume on disk, and what segmenting them as one gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.unit.post.organelles import CONFIG, noisy_prediction

from neuropil import api
from neuropil.io import save_volume
from neuropil.volume import Volume

SHAPE = (20, 26, 30)
SETTINGS = (
    "segment.threshold=0.55",
    "segment.fragments.radius_nm=32",
    "segment.min_size=15",
    "segment.long_range=true",
)


@pytest.fixture(scope="session")
def aff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Affinities with a long-range and a positive channel, away from the origin."""
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in range(4)])
    data = np.clip(150 + 1200 * smooth, 0, 255).astype(np.uint8)
    attrs = {"offsets": [[-1, 0, 0], [0, 1, 0], [0, 0, -1], [0, -4, 0]]}
    path = tmp_path_factory.mktemp("blocks") / "aff.zarr"
    save_volume(Volume(data, (8, 8, 8), (80, 0, -16), "czyx", "affinities", attrs=attrs), path)
    return path


@pytest.fixture(scope="session")
def whole(aff: Path) -> Volume:
    """The labels of the volume as one."""
    found = api.segment(aff, set=SETTINGS)
    assert found.attrs["objects"] > 1
    return found


@pytest.fixture(scope="session")
def organelles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction of organelles with its run's calibration, and one channel more, away from the origin."""
    data = noisy_prediction(SHAPE)
    names = ["foreground", "contour", "distance", "affinity -1,0,0"]
    attrs = {"task": "mitochondria", "channels": names, "instances": CONFIG.model_dump(mode="json")}
    path = tmp_path_factory.mktemp("blocks") / "organelles.zarr"
    stored = np.concatenate([data, 255 - data[:1]])
    save_volume(Volume(stored, (8, 8, 8), (80, 0, -16), "czyx", "prediction", attrs=attrs), path)
    return path
