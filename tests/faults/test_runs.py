"""Runs that are killed, interrupted or starved of disk: nothing half-written passes for whole, and work goes on."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from neuropil import open_volume
from neuropil.errors import IncompleteError, RunError
from neuropil.training.checkpoint import CHECKPOINT, METRICS, Run, read_tensors

NEUROPIL = str(Path(sys.executable).with_name("neuropil"))


def _train_words(h5: Path, out: Path, tiny: tuple[str, ...], steps: int) -> list[str]:
    settings = [word for setting in tiny for word in ("--set", setting)]
    return [
        NEUROPIL, "train", "--image", f"{h5}:raw", "--labels", f"{h5}:labels", "--out", str(out), "--steps", str(steps),
        *settings,
    ]  # fmt: skip


def _wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    for _ in range(2000):
        if condition():  # type: ignore[operator]
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.03)
    raise AssertionError("it never came so far")


def _rows(out: Path) -> int:
    path = out / METRICS
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_killed_at_any_moment_a_run_goes_on_to_the_same_weights(
    phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    often = (*tiny, "train.checkpoint_minutes=1e-6")  # after every step
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(_train_words(phantom_h5, whole, often, 8), check=True, capture_output=True)
    process = subprocess.Popen(_train_words(phantom_h5, parts, often, 8), stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: (parts / CHECKPOINT).is_file() and _rows(parts) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Run.open(parts).card["status"] == "training"
    subprocess.run([NEUROPIL, "train", "--resume", "--out", str(parts)], check=True, capture_output=True)
    a, b = read_tensors(whole / CHECKPOINT)[0], read_tensors(parts / CHECKPOINT)[0]
    assert all(torch.equal(a[k], b[k]) for k in a)
    steps = [row["step"] for row in Run.open(parts).rows("train")]
    assert steps == sorted(set(steps))


def test_ctrl_c_while_training_is_130_and_resumable(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "r"
    process = subprocess.Popen(_train_words(phantom_h5, out, tiny, 100_000), stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: _rows(out) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert Run.open(out).card["status"] == "interrupted"
    assert read_tensors(out / CHECKPOINT)[1]["schedule"]["step"] > 0


def test_ctrl_c_while_writing_leaves_nothing_that_looks_whole(phantom_h5: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    small = ["--set", "predict.tile=[8,8,8]", "--set", "predict.overlap=[4,4,4]", "--set", "predict.block=[16,16,16]"]
    process = subprocess.Popen(
        [NEUROPIL, "predict", str(tiny_run), f"{phantom_h5}:raw", "--out", str(out), *small],
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for(out.exists, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    with pytest.raises(IncompleteError, match=r"a\.zarr"):
        open_volume(out)
    subprocess.run(
        [NEUROPIL, "predict", str(tiny_run), f"{phantom_h5}:raw", "--out", str(out)], check=True, capture_output=True
    )
    assert open_volume(out).shape == (9, 48, 64, 64)


def test_ctrl_c_while_overwriting_leaves_the_old_output(phantom_h5: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    words = [NEUROPIL, "predict", str(tiny_run), f"{phantom_h5}:raw", "--out", str(out), "--overwrite"]
    subprocess.run(words, check=True, capture_output=True)
    before = open_volume(out).attrs["provenance"]
    small = ["--set", "predict.tile=[8,8,8]", "--set", "predict.overlap=[4,4,4]", "--set", "predict.block=[16,16,16]"]
    process = subprocess.Popen([*words, *small], stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: list(tmp_path.glob(".a.zarr.*.partial/a.zarr/s0/c/*")), process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"'{out}' is as it was before" in stderr
    assert open_volume(out).attrs["provenance"] == before
    assert open_volume(out).numpy().shape == (9, 48, 64, 64)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def _little_disk() -> None:
    """Files of this process end at 2 MB, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))


def test_a_full_disk_is_one_clear_error(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "r"
    wide = (*tiny, "model.channels=[32,64,128]")
    ended = subprocess.run(
        _train_words(phantom_h5, out, wide, 2),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_little_disk,
    )
    assert ended.returncode == 2, ended.stderr
    assert "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(out.glob("*.safetensors"))
    assert not list(out.glob(".*partial"))


def test_a_damaged_checkpoint_says_so_when_resumed(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    from neuropil import train

    out = tmp_path / "r"
    train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], out, steps=2, set=tiny)
    checkpoint = out / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], out, resume=True)
    (out / "run.json").write_text(json.dumps(json.loads((out / "run.json").read_text()) | {"format": 0}))
    with pytest.raises(RunError, match="run format 0"):
        train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], out, resume=True)
