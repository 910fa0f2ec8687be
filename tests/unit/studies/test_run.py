"""A study's course, with verbs that train nothing; studies on several machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuropil.config import load_config
from neuropil.errors import ConfigError
from neuropil.io.hdf5 import write_hdf5
from neuropil.studies.design import Cell, Design
from neuropil.studies.run import dealt, run_study
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

CELLS = [
    Cell(arm, budget, seed) for seed in (0, 1, 2) for budget in (0.05, 0.25, 1.0) for arm in ("scratch", "mae", "mix")
]
SCORES = ("voi_sum", "arand", "voi_split", "voi_merge")


def test_shards_share_out_all_cells_and_no_encoder_twice() -> None:
    for n in (1, 2, 4, 5):
        parts = [dealt(CELLS, f"{i}/{n}") for i in range(n)]
        assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in CELLS)
        encoders = [(c.arm, c.seed) for part in parts for c in {(c.arm, c.seed): c for c in part}.values()]
        assert len(encoders) == len(set(encoders)) == 9
    assert list(dealt(CELLS, None)) == CELLS


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64³ voxels of nothing."""
    path = tmp_path_factory.mktemp("cube") / "cube.h5"
    raw, labels = np.zeros((64, 64, 64), np.uint8), np.ones((64, 64, 64), np.uint64)
    size = (8.0, 8.0, 8.0)
    write_hdf5(path, {"raw": Volume(raw, size, kind="image"), "labels": Volume(labels, size, kind="labels")})
    return path


def _design(cube: Path, *budgets: float) -> Design:
    pair = {"image": f"{cube}:raw", "labels": f"{cube}:labels"}
    arms = {"scratch": {}, "mae": {"pretrain": "mae"}, "other": {"init": "elsewhere"}}
    both = {"train": [pair], "test": [pair], "unlabelled": [pair["image"]], "seeds": [0], "arms": arms}
    return Design.model_validate({"name": "few", "budgets": budgets, **both})


class Verbs(dict[str, Any]):
    """Verbs that write what a run of `seconds` leaves, and remember what was asked of them."""

    def __init__(self) -> None:
        super().__init__(pretrain=self._pretrain, train=self._train, segment=lambda *_: None, evaluate=self._evaluate)
        self.trained: list[str] = []

    def _pretrain(self, images: Any, out: Path, **_: Any) -> None:
        self._run(out, seconds=90.5, steps=700)

    def _train(self, images: Any, labels: Any, out: Path, **_: Any) -> None:
        self.trained.append(out.name)
        self._run(out, seconds=40.0, steps=30)

    def _run(self, out: Path, *, seconds: float, steps: int) -> None:
        run = Run.create(out, load_config("em_neurons"), {})
        run.log(kind="train", step=steps // 2, elapsed=seconds / 2)
        run.log(kind="validation", step=steps, elapsed=seconds)
        run.updated(status="complete", best={"score": 1.0})

    def _evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        return dict.fromkeys(SCORES, 1.0)


def _row(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / "results" / f"{name}.json").read_text()))


def test_budgets_that_label_the_same_are_refused_before_anything_is_done(cube: Path, tmp_path: Path) -> None:
    verbs, out = Verbs(), tmp_path / "out"
    with pytest.raises(ConfigError, match="budgets 5% and 25% come to the same 110,592 of 262,144 voxels"):
        run_study(_design(cube, 0.05, 0.25, 1.0), out, verbs, shard=None)
    assert not out.exists()
    # nor may the second of them be added to what was begun with the first
    run_study(_design(cube, 0.05), out, verbs, shard=None)
    before = (out / "study.json").read_text()
    with pytest.raises(ConfigError, match="budgets 5% and 25% come to the same"):
        run_study(_design(cube, 0.25), out, verbs, shard=None)
    assert (out / "study.json").read_text() == before
    assert len(verbs.trained) == 3


def test_a_budget_that_is_lifted_is_noted_and_headed_so(
    cube: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(_design(cube, 0.05), tmp_path / "out", Verbs(), shard=None)
    assert "study few: note: 5% of the labels comes to 110,592 of 262,144 voxels, 42.2%" in capsys.readouterr().err
    assert "| arm | 42.2% of the labels (5% asked) |" in (tmp_path / "out" / "table.md").read_text()


def test_rows_know_what_the_encoder_cost(cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(_design(cube, 0.5, 1.0), out, Verbs(), shard=None)
    for budget in ("0.5", "1"):
        row = _row(out, f"mae_{budget}_s0")
        assert (row["pretrain_seconds"], row["pretrain_steps"]) == (90.5, 700)
    for arm in ("scratch", "other"):
        row = _row(out, f"{arm}_1_s0")
        assert (row["pretrain_seconds"], row["pretrain_steps"]) == (None, None)
    cost = (out / "table.md").read_text().partition("## Cost")[2]
    assert "| scratch | none | 40 |" in cost
    assert "| mae | 90 | 40 |" in cost
    assert "| other | – | 40 |" in cost


def test_a_study_whose_older_rows_know_less_goes_on(cube: Path, tmp_path: Path) -> None:
    out, verbs = tmp_path / "out", Verbs()
    run_study(_design(cube, 1.0), out, verbs, shard=None)
    for file in (out / "results").iterdir():
        row = json.loads(file.read_text())
        for key in ("pretrain_seconds", "pretrain_steps", "all_voxels", "train_seconds"):
            del row[key]
        file.write_text(json.dumps(row))
    (out / "runs" / "mae_encoder_s0" / "metrics.jsonl").unlink()
    found = run_study(_design(cube, 0.05, 1.0), out, verbs, shard=None)
    assert (found["done"], found["of"]) == (6, 6)
    assert len(verbs.trained) == 6
    row = _row(out, "mae_0.05_s0")
    assert (row["pretrain_seconds"], row["pretrain_steps"]) == (None, None)
    assert "| mae | – | 40 |" in (out / "table.md").read_text()


def test_a_training_that_was_gone_on_with_counts_all_its_sessions(cube: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(_design(cube, 1.0), out, Verbs(), shard=None)
    (out / "results" / "mae_1_s0.json").unlink()  # stopped between the training and its test
    run_study(_design(cube, 1.0), out, Verbs(), shard=None)
    assert _row(out, "mae_1_s0")["train_seconds"] == 40.0
