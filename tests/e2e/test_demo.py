"""The demo at a small scale: every part of the road is there at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

import neuropil.demo
from neuropil import api, open_volume
from neuropil.errors import InputError
from neuropil.training.checkpoint import Run


def test_demo_leaves_tissue_run_segmentation_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuropil.demo, "TRAIN_SHAPE", (80, 96, 96))
    monkeypatch.setattr(neuropil.demo, "TEST_SHAPE", (32, 64, 64))
    out = tmp_path / "demo"
    found = api.demo(out, budget="8s")
    assert Path(found["report"]).stat().st_size > 50_000
    assert Run.open(out / "run").card["status"] == "complete"
    assert open_volume(out / "segmentation.zarr").shape == (32, 64, 64)
    assert found["voi_sum"] == pytest.approx(found["voi_split"] + found["voi_merge"])
    with pytest.raises(InputError, match="is not empty"):
        api.demo(out)
    with pytest.raises(InputError, match="a time such as"):
        api.demo(tmp_path / "other", budget="soon")
