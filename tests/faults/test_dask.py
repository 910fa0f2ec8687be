"""A worker of a Dask cluster that is killed: its tasks go to the others, and the labels are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from neuropil import api, open_volume
from neuropil.io import save_volume
from neuropil.volume import Volume

SHAPE = (48, 64, 64)
NEUROPIL = str(Path(sys.executable).with_name("neuropil"))
ASK = {"threshold": 0.55, "set": ["segment.fragments.radius_nm=32"]}


@pytest.fixture
def cluster() -> Iterator[object]:
    """Two worker processes that are started again when they die."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made


def _affinities(path: Path) -> Path:
    rng = np.random.default_rng(1)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in range(3)])
    data = np.clip(150 + 1200 * smooth, 0, 255).astype(np.uint8)
    attrs = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    save_volume(Volume(data, (8, 8, 8), (0, 0, 0), "czyx", "affinities", attrs=attrs), path)
    return path


@pytest.mark.slow
def test_a_worker_that_dies_under_dask_changes_nothing(cluster, tmp_path: Path) -> None:
    aff, out = _affinities(tmp_path / "aff.zarr"), tmp_path / "x.zarr"
    whole = api.segment(aff, **ASK).numpy()
    command = [NEUROPIL, "segment", str(aff), "--out", str(out), "--block", "8,8,16"]
    command += ["--threshold", "0.55", "--set", ASK["set"][0], "--dask", cluster.scheduler_address]
    victims = [worker.pid for worker in cluster.workers.values()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    done = out.with_suffix(".blocks") / "done/fragments"
    deadline = time.monotonic() + 120
    while len(list(done.glob("[0-9]*.json"))) < 5:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(victims[0], signal.SIGKILL)
    at_kill = len(list(done.glob("[0-9]*.json")))
    assert process.wait(timeout=240) == 0, process.communicate()[1]
    assert at_kill < 48 * 64 * 64 // (8 * 8 * 16), "it was killed too late to matter"
    np.testing.assert_array_equal(open_volume(out).numpy(), whole)
