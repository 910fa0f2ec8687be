"""`neuropil evaluate --report` for organelles and masks, and for long thin volumes, as typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from neuropil import cli
from neuropil.errors import ConfigError
from neuropil.io.hdf5 import write_hdf5
from neuropil.volume import Volume

VOXEL = (30.0, 8.0, 8.0)


def written(path: Path, **arrays: np.ndarray) -> Path:
    write_hdf5(path, {name: Volume(array, VOXEL, kind="labels") for name, array in arrays.items()})
    return path


def page_of(h5: Path, task: str) -> str:
    page = h5.with_suffix(".html")
    words = ["evaluate", f"{h5}:pred", f"{h5}:truth", "--task", task, "--report", str(page)]
    found = CliRunner().invoke(cli.app, words)
    assert found.exit_code == 0, found.output
    return page.read_text().partition("<body>")[2].partition("<script>")[0]


@pytest.mark.parametrize("task", ["mitochondria", "semantic"])
def test_organelles_and_masks_have_a_page_of_their_own(tmp_path: Path, task: str) -> None:
    truth = np.zeros((8, 40, 40), np.uint64)
    truth[:, :10, :10], truth[:, 20:30, 20:30] = 1, 2
    pred = np.zeros_like(truth)
    pred[:, :10, :10], pred[:, 30:38, 2:12] = 1, 9
    body = page_of(written(tmp_path / "a.h5", truth=truth, pred=pred), task)
    assert "euron" not in body
    if task == "mitochondria":
        assert "In all: 1 missed, 1 false." in body
        assert "True objects" in body
    else:
        assert "worst mistakes" not in body


def test_long_thin_volumes_have_a_page(tmp_path: Path) -> None:
    truth = np.ones((3000, 8, 8), np.uint64)
    truth[:, 4:] = 2
    assert "Three planes" in page_of(written(tmp_path / "long.h5", truth=truth, pred=truth), "neurons")


def test_a_report_without_a_run_is_told_the_task(tmp_path: Path) -> None:
    truth = np.zeros((8, 40, 40), np.uint64)
    truth[:, :10, :10], truth[:, 20:30, 20:30] = 1, 2
    pred = np.where(truth == 1, truth, 0)
    h5, page = written(tmp_path / "a.h5", truth=truth, pred=pred), tmp_path / "page.html"
    words = ["report", "--segmentation", f"{h5}:pred", "--truth", f"{h5}:truth", "--out", str(page)]
    found = CliRunner().invoke(cli.app, [*words, "--task", "mitochondria"])
    assert found.exit_code == 0, found.output
    assert "In all: 1 missed." in page.read_text()
    found = CliRunner().invoke(cli.app, [*words, "--task", "axons"])
    assert isinstance(found.exception, ConfigError)
