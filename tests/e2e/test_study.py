"""A study from the command line, stopped and gone on with, on a phantom that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from neuropil import api
from neuropil.cli import main
from neuropil.errors import ConfigError, RunError

SMALL = [
    "data.crop=[16,16,16]",
    "model.name=unetr",
    "model.norm=standardised",
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.decoder=[8,8,16]",
    "train.precision=fp32",
    "train.threads=1",
    "train.validations=1",
]


@pytest.fixture
def study(phantom_h5: Path, tmp_path: Path) -> Path:
    pair = {"image": f"{phantom_h5}:raw", "labels": f"{phantom_h5}:labels"}
    design = {
        "name": "tiny",
        "train": [pair],
        "test": [pair],
        "unlabelled": [pair["image"]],
        "budgets": [1.0],
        "seeds": [0],
        "pretrain_steps": 2,
        "train_steps": 2,
        "pretrain_set": [*SMALL, "pretrain.decoder_dim=24", "pretrain.decoder_heads=2", "pretrain.crops=2"],
        "train_set": [*SMALL, "data.validation=0.35", "predict.tile=[32,32,32]", "predict.overlap=[8,8,8]"],
        "arms": {"scratch": {}, "mae": {"pretrain": "mae"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(design, sort_keys=False))
    return path


def test_a_study_goes_on_where_it_stopped(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main_done = api.bench("label-efficiency", study, out, shard="0/2")
    assert (main_done["done"], main_done["of"]) == (1, 2)
    first = (out / "results" / "scratch_1_s0.json").stat().st_mtime_ns
    with pytest.raises(SystemExit) as stop:
        main(["bench", "label-efficiency", str(study), "--out", str(out), "--json"])
    assert stop.value.code in (0, None)
    found = json.loads(capsys.readouterr().out)
    assert (found["done"], found["of"]) == (2, 2)
    assert (out / "results" / "scratch_1_s0.json").stat().st_mtime_ns == first
    row = json.loads((out / "results" / "mae_1_s0.json").read_text())
    assert row["test"]["voi_sum"] > 0
    assert row["pretrain_steps"] == 2
    assert row["pretrain_seconds"] is not None
    assert row["all_voxels"] == row["labelled_voxels"] == 48 * 64 * 64
    account = json.loads((out / "runs" / "mae_1_s0" / "run.json").read_text())["init"]["account"]
    assert account["share"] == 1
    assert "2 of 2 trainings done" in (out / "table.md").read_text()
    assert "<svg" in (out / "plot.svg").read_text()


def test_another_study_is_not_mixed_in(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.bench("label-efficiency", study, out, shard="0/2")
    study.write_text(study.read_text().replace("train_steps: 2", "train_steps: 3", 1))
    with pytest.raises(RunError, match="other volumes, steps or settings"):
        api.bench("label-efficiency", study, out)


def test_arms_may_be_added_but_keep_their_meaning(study: Path, tmp_path: Path) -> None:
    out, design = tmp_path / "out", yaml.safe_load(study.read_text())
    api.bench("label-efficiency", study, out, shard="0/2")
    design["arms"]["scratch"] = {"train_set": ["train.lr=0.5"]}
    study.write_text(yaml.safe_dump(design, sort_keys=False))
    with pytest.raises(RunError, match="knows arm 'scratch' with no settings of its own; it has train_set"):
        api.bench("label-efficiency", study, out)
    del design["arms"]["scratch"], design["arms"]["mae"]
    design |= {"reference": "slow", "arms": {"slow": {"train_set": ["train.lr=0.0001"]}, "fast": {}}}
    study.write_text(yaml.safe_dump(design, sort_keys=False))
    assert api.bench("label-efficiency", study, out, shard="1/2")["done"] == 1
    known = json.loads((out / "study.json").read_text())["design"]
    assert list(known["arms"]) == ["scratch", "mae", "slow", "fast"]


@pytest.mark.parametrize("shard", ["2/2", "3/2", "x"])
def test_bad_shards_and_studies_are_refused(study: Path, tmp_path: Path, shard: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        api.bench("label-efficiency", study, tmp_path / "out", shard=shard)
    with pytest.raises(ConfigError, match="label-efficiency"):
        api.bench("nothing", study, tmp_path / "out")
