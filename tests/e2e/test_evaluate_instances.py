"""`neuropil evaluate` for tasks other than neurons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from neuropil import cli
from neuropil.io import save_volume
from neuropil.io.hdf5 import write_hdf5
from neuropil.volume import Volume

VOXEL = (30.0, 8.0, 8.0)


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """Two cubes in the truth; the second is cut to 0.6 in the prediction; the truth again as a mask."""
    truth = np.zeros((8, 40, 40), np.uint64)
    truth[:, :10, :10], truth[:, 20:30, 20:30] = 1, 2
    pred = truth.copy()
    pred[:, 26:] = 0
    path = tmp_path / "a.h5"
    write_hdf5(
        path,
        {
            "truth": Volume(truth, VOXEL, kind="labels"),
            "pred": Volume(pred, VOXEL, kind="labels"),
            "mask": Volume((truth > 0).astype(np.uint8), VOXEL, kind="mask"),
        },
    )
    return path


def scored(*words: str) -> dict[str, float]:
    found = CliRunner().invoke(cli.app, ["evaluate", *words, "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_mitochondria_are_matched_as_instances(h5: Path) -> None:
    got = scored(f"{h5}:pred", f"{h5}:truth", "--task", "mitochondria")
    assert (got["task"], got["num_truth"], got["num_pred"]) == ("mitochondria", 2, 2)
    assert (got["f1_50"], got["f1_75"], got["accuracy_75"]) == pytest.approx((1, 1 / 2, 1 / 3))
    assert got["pq_50"] == pytest.approx(0.8)
    assert got["dice"] == pytest.approx(2 * 1280 / (1600 + 1280))


@pytest.mark.parametrize("truth", ["truth", "mask"])
def test_semantic_takes_labels_and_masks(h5: Path, truth: str) -> None:
    got = scored(f"{h5}:pred", f"{h5}:{truth}", "--task", "semantic")
    assert got["iou"] == pytest.approx(0.8)
    assert "f1_50" not in got


def test_conventions_are_for_neurons(h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", f"{h5}:pred", f"{h5}:truth", "--task", "mitochondria", "--convention", "cremi"]
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert "conventions are for neurons" in capsys.readouterr().err


def test_a_prediction_ranks_objects(h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A false object larger than all true ones: it comes first by size, and last by what the network thought of it."""
    truth = np.zeros((8, 40, 40), np.uint64)
    truth[:, :10, :10], truth[:, 20:30, 20:30] = 1, 2
    pred = truth.copy()
    pred[:, :, 32:] = 9
    evidence = np.zeros((3, *truth.shape), np.uint8)
    evidence[0][truth > 0], evidence[0][pred == 9] = 250, 130
    attrs = {"channels": ["foreground", "contour", "distance"], "task": "mitochondria"}
    names = {"truth": Volume(truth, VOXEL, kind="labels"), "pred": Volume(pred, VOXEL, kind="labels")}
    write_hdf5(tmp_path / "b.h5", names)
    save_volume(Volume(evidence, VOXEL, axes="czyx", kind="prediction", attrs=attrs), tmp_path / "p.zarr")
    words = (f"{tmp_path}/b.h5:pred", f"{tmp_path}/b.h5:truth", "--task", "mitochondria")
    by_size, ranked = scored(*words), scored(*words, "--scores", f"{tmp_path}/p.zarr")
    assert ranked["ap_50"] == 1.0 > by_size["ap_50"] == ranked["ap_50_voxels"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", *words[:3], "semantic", "--scores", f"{tmp_path}/p.zarr"])
    assert ended.value.code == 2
    assert "--task mitochondria" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["evaluate", *words, "--scores", f"{tmp_path}/b.h5:truth"])
    assert "a channel 'foreground'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["evaluate", words[0], "--task", "mitochondria", "--scores", f"{tmp_path}/p.zarr"])
    assert "--scores without a truth" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["mitochondria", "semantic"])
def test_what_was_not_annotated_is_not_scored(tmp_path: Path, task: str) -> None:
    truth = np.zeros((8, 40, 40), np.int64)
    truth[:, :10, :10], truth[:, 20:30, 20:30] = 1, 2
    pred = truth.copy()
    truth[:, 15:] = -1
    names = {"truth": Volume(truth, VOXEL, kind="labels"), "pred": Volume(pred.astype(np.uint64), VOXEL, kind="labels")}
    write_hdf5(tmp_path / "c.h5", names)
    got = scored(f"{tmp_path}/c.h5:pred", f"{tmp_path}/c.h5:truth", "--task", task)
    assert got["iou"] == 1.0
    assert got.get("num_pred", 1) == 1
