"""Mitochondria and masks as a user meets them: train, predict, segment, evaluate, report; resumed; and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.e2e.test_cli import run

from neuropil import open_volume, segment, train
from neuropil.errors import ConfigError, InputError
from neuropil.io.hdf5 import write_hdf5
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.training.checkpoint import CHECKPOINT, Run, read_tensors
from neuropil.volume import Volume


@pytest.fixture(scope="module")
def organelles_h5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom with datasets raw, mitochondria (ids) and mask."""
    path = tmp_path_factory.mktemp("organelles") / "m.h5"
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(48, 64, 64)))
    box, ids = phantom.box, phantom.mitochondria(phantom.box).astype(np.uint64)
    write_hdf5(
        path,
        {
            "raw": Volume(phantom.image(box), box.voxel_size, kind="image"),
            "mitochondria": Volume(ids, box.voxel_size, kind="labels"),
            "mask": Volume((ids > 0).astype(np.uint8), box.voxel_size, kind="mask"),
            "nothing": Volume(np.zeros(ids.shape, np.uint64), box.voxel_size, kind="labels"),
        },
    )
    return path


def _trained(h5: Path, out: Path, tiny: tuple[str, ...], **changes: object) -> Run:
    given = {"recipe": "em_mitochondria", "steps": 8, "set": (*tiny, *changes.pop("set", ()))} | changes  # type: ignore[misc]
    return train(f"{h5}:raw", f"{h5}:{given.pop('labels', 'mitochondria')}", out, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mito_run(organelles_h5: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on mitochondria."""
    return _trained(organelles_h5, tmp_path_factory.mktemp("runs") / "mito", tiny).path


#: A network that has seen a few crops is sure of nothing: take what it gives.
LOOSE = (
    *("--set", "instances.foreground=0.01", "--set", "instances.seed_foreground=0.01"),
    *("--set", "instances.seed_distance=-0.95", "--set", "instances.seed_contour=1"),
)


def test_the_road_from_prediction_to_report(
    capsys: pytest.CaptureFixture[str], organelles_h5: Path, mito_run: Path, tmp_path: Path
) -> None:
    raw, truth = f"{organelles_h5}:raw", f"{organelles_h5}:mitochondria"
    code, stdout, stderr = run(capsys, "predict", mito_run, raw, "--out", tmp_path / "p.zarr", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["channels"] == ["foreground", "contour", "distance"]
    stored = open_volume(tmp_path / "p.zarr")
    assert (stored.kind, stored.axes, stored.shape) == ("prediction", "czyx", (3, 48, 64, 64))
    assert (stored.attrs["task"], stored.attrs["channels"]) == ("mitochondria", ["foreground", "contour", "distance"])
    seg, page = tmp_path / "seg.zarr", tmp_path / "r.html"
    code, stdout, stderr = run(capsys, "segment", mito_run, raw, "--out", seg, *LOOSE, "--report", page, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["objects"] >= 1
    assert "red is foreground, green is contour, blue is distance" in page.read_text()
    code, _, stderr = run(capsys, "segment", tmp_path / "p.zarr", "--out", tmp_path / "again.zarr", *LOOSE)
    assert code == 0, stderr
    assert np.array_equal(open_volume(tmp_path / "again.zarr").numpy(), open_volume(seg).numpy())
    code, stdout, stderr = run(capsys, "evaluate", seg, truth, "--task", "mitochondria", "--json")
    assert code == 0, stderr
    assert {"f1_50", "f1_75", "ap_75", "dice"} <= set(json.loads(stdout))


def test_the_road_of_masks(
    capsys: pytest.CaptureFixture[str], organelles_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    raw, mask = f"{organelles_h5}:raw", f"{organelles_h5}:mask"
    settings = [word for setting in (*tiny, "train.validations=1") for word in ("--set", setting)]
    out = tmp_path / "run"
    train_it = ("train", "--recipe", "em_semantic", "--image", raw, "--labels", mask, "--out", out, "--steps", 2)
    code, _, stderr = run(capsys, *train_it, *settings)
    assert code == 0, stderr
    assert run(capsys, "predict", out, raw, "--out", tmp_path / "p.zarr")[0] == 0
    stored = open_volume(tmp_path / "p.zarr")  # one channel is a channel still
    assert (stored.kind, stored.axes, stored.shape) == ("prediction", "czyx", (1, 48, 64, 64))
    code, _, stderr = run(capsys, "segment", tmp_path / "p.zarr", "--out", tmp_path / "seg.zarr", *LOOSE[:2])
    assert code == 0, stderr
    assert np.unique(open_volume(tmp_path / "seg.zarr").numpy()).tolist() == [1]
    code, stdout, stderr = run(capsys, "evaluate", tmp_path / "seg.zarr", mask, "--task", "semantic", "--json")
    assert code == 0, stderr
    share = float((open_volume(mask).numpy() > 0).mean())
    assert json.loads(stdout)["iou"] == pytest.approx(share)


def test_pieces_of_a_mask_are_learned_as_objects(organelles_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    z, y, x = np.ogrid[:48, :64, :64]
    boxes = (z // 12 % 2 == 0) & (y // 8 % 2 == 0) & (x // 16 % 2 == 0)
    mask = Volume(boxes.astype(np.uint8), (8, 8, 8), kind="mask", name="boxes")
    words = (*tiny, "organelles.components=true", "train.validations=1")
    trained = train(f"{organelles_h5}:raw", mask, tmp_path / "run", recipe="em_mitochondria", steps=1, set=words)
    # held back are the last 16 of y, and in them one row of boxes: two along z, two along x
    assert trained.card["best"]["objects"] == 4


def test_the_run_directory_alone_is_enough(organelles_h5: Path, mito_run: Path, tmp_path: Path) -> None:
    """In another process, in another place, where none of the volumes of the training are."""
    trained = Run.open(mito_run)
    assert set(trained.calibration) == {
        "foreground", "seed_foreground", "seed_contour", "seed_distance", "min_size_um3"
    }  # fmt: skip
    shutil.copytree(mito_run, tmp_path / "run")
    write_hdf5(tmp_path / "x.h5", {"raw": open_volume(f"{organelles_h5}:raw")})
    words = ["segment", "run", "x.h5:raw", "--out", "s.zarr", "--json"]
    code = "import sys; from neuropil.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    used = open_volume(tmp_path / "s.zarr").attrs["provenance"]["config"]["instances"]
    assert used | trained.calibration == used
    text = (mito_run / "README.md").read_text()
    assert "foreground, contour, distance" in text
    assert "| f1 50 |" in text


def test_stopped_and_resumed_equals_never_stopped(organelles_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    whole = _trained(organelles_h5, tmp_path / "whole", tiny, steps=10)
    stopper = threading.Thread(target=_stop_after_rows, args=(tmp_path / "parts", 3))
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        _trained(organelles_h5, tmp_path / "parts", tiny, steps=10)
    stopper.join()
    resumed = train([], [], tmp_path / "parts", resume=True)
    a, b = (read_tensors(r.path / CHECKPOINT)[0] for r in (whole, resumed))
    assert set(a) == set(b)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert whole.calibration == resumed.calibration


def _stop_after_rows(folder: Path, rows: int) -> None:
    for _ in range(600):
        if (folder / "metrics.jsonl").is_file() and len((folder / "metrics.jsonl").read_text().splitlines()) >= rows:
            break
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_what_cannot_be_learned_is_said_before_anything_is_written(
    organelles_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "r"
    with pytest.raises(InputError, match="hold no object"):
        _trained(organelles_h5, out, tiny, labels="nothing")
    ids = open_volume(f"{organelles_h5}:mitochondria").numpy()
    ids[:, 40:] = 0
    half = Volume(ids, (8, 8, 8), kind="labels", name="half")
    with pytest.raises(InputError, match="held back"):
        train(f"{organelles_h5}:raw", half, out, recipe="em_mitochondria", set=(*tiny, "data.validation_axis=y"))
    with pytest.raises(ConfigError, match="unknown task 'mito'"):
        _trained(organelles_h5, out, tiny, set=["task=mito"])
    with pytest.raises(InputError, match="labels"):
        _trained(organelles_h5, out, tiny, labels="raw")
    with pytest.raises(ConfigError, match="sigma_nm"):
        _trained(organelles_h5, out, tiny, set=["organelles.sigma_nm=-3"])
    for word, whom in (
        ("segment.threshold=0.4", "neurons"),
        ("trees.dice=1", "trees"),
    ):
        with pytest.raises(ConfigError, match=f"for {whom} only"):
            _trained(organelles_h5, out, tiny, set=[word])
    assert not out.exists()


def test_what_was_learned_cannot_be_changed_afterwards(
    capsys: pytest.CaptureFixture[str], organelles_h5: Path, mito_run: Path, tmp_path: Path
) -> None:
    raw = f"{organelles_h5}:raw"
    for words in ("organelles.sigma_nm=30", "task=neurons"):
        code, _, stderr = run(capsys, "segment", mito_run, raw, "--out", tmp_path / "s.zarr", "--set", words)
        assert code == 2
        assert "predict. or instances." in stderr
    attrs = {"task": "mitochondria", "channels": ["foreground", "contour", "distance"]}
    stored = Volume(np.zeros((3, 4, 4, 4), np.uint8), (8, 8, 8), axes="czyx", kind="prediction", attrs=attrs)
    with pytest.raises(ConfigError, match="the task it was made for"):
        segment(stored, set=["task=neurons"])
    with pytest.raises(ConfigError, match="--threshold"):
        segment(stored, threshold=0.4)
    assert not segment(stored).numpy().any()
    assert "holds no object" in capsys.readouterr().err
