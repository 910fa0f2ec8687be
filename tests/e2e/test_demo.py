"""The demo at a small scale: every part of the road is there at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

import neuropil.demo
from neuropil import api, open_volume
from neuropil.errors import InputError, VolumeError
from neuropil.io.swc import read_swc
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import Run


def test_demo_leaves_tissue_run_segmentation_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuropil.demo, "TRAIN_SHAPE", (80, 96, 96))
    monkeypatch.setattr(neuropil.demo, "TEST_SHAPE", (32, 64, 64))
    out = tmp_path / "demo"
    found = api.demo(out, budget="8s")
    assert Path(found["report"]).stat().st_size > 50_000
    assert Run.open(out / "run").card["status"] == "complete"
    assert open_volume(out / "segmentation.zarr").shape == (32, 64, 64)
    assert 0 < found["untrained_voi_sum"] < 1.5
    assert "em-neurons-fib25" in Run.open(out / "run").card["init"]["path"]
    assert found["voi_sum"] == pytest.approx(found["voi_split"] + found["voi_merge"])
    with pytest.raises(InputError, match="is not empty"):
        api.demo(out)
    with pytest.raises(InputError, match="a time such as"):
        api.demo(tmp_path / "other", budget="soon")
    (tmp_path / "file").touch()
    with pytest.raises(VolumeError, match=r"file/demo"):
        api.demo(tmp_path / "file" / "demo")


def test_lm_demo_leaves_a_stack_two_trees_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = LMPhantomConfig.confocal(shape=(24, 96, 96), cable_um=120.0, crossings=0.0)
    monkeypatch.setattr(neuropil.demo, "NEURON", small)
    out = tmp_path / "demo"
    found = api.demo(out, lm=True, seed=3)
    assert Path(found["report"]).stat().st_size > 50_000
    assert open_volume(f"{out / 'stack.h5'}:raw").shape == small.shape
    true, traced = read_swc(out / "true.swc"), read_swc(out / "traced.swc")
    assert true.length_nm() == pytest.approx(120_000, rel=0.1)
    assert found["length_ratio"] == pytest.approx(traced.length_nm() / true.length_nm(), rel=0.02)
    assert found["f1"] > 0.8
    assert found["trace_seconds"] >= 0
    with pytest.raises(InputError, match="is not empty"):
        api.demo(out, lm=True)
