"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from neuropil.io.hdf5 import write_hdf5
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume

# examples are bounded in number; a busy machine must not decide a test
settings.register_profile("neuropil", deadline=None)
settings.load_profile("neuropil")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a loud skip."""
    folder = os.environ.get("NEUROPIL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data not found: set NEUROPIL_DATA to the data folder")
    return Path(folder)


@pytest.fixture(scope="session")
def phantom_h5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FIB-SEM phantom as HDF5 with datasets raw and labels, 48 x 64 x 64."""
    path = tmp_path_factory.mktemp("phantom") / "small.h5"
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(48, 64, 64)))
    box = phantom.box
    write_hdf5(
        path,
        {
            "raw": Volume(phantom.image(box), box.voxel_size, kind="image"),
            "labels": Volume(phantom.neurons(box).astype(np.uint64), box.voxel_size, kind="labels"),
        },
    )
    return path


#: Settings that make a run small enough for a test.
TINY = (
    "model.channels=[8,8,16]",
    "data.crop=[16,24,24]",
    "data.validation=0.25",
    "train.log_every=2",
    "train.validations=2",
    "train.precision=fp32",
    "train.threads=1",
    "predict.tile=[24,32,32]",
    "predict.overlap=[12,18,18]",
)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings of a run that takes seconds."""
    return TINY


@pytest.fixture(scope="session")
def tiny_run(phantom_h5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the small phantom."""
    from neuropil import train

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], out, steps=8, set=TINY)
    return out
