"""Plans before a run, and the page about them: what it says to type is typed in."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.docs.typed import ROOT, blocks, type_in

from neuropil.cli import main
from neuropil.config import load_config
from neuropil.preview import predict as preview_predict
from neuropil.preview import train as preview_train
from neuropil.training.checkpoint import Run


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def settings(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def test_the_page_as_it_stands(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(phantom_h5, "em.h5")
    for _, text in blocks(ROOT / "docs" / "howto" / "plan.md", "console"):
        said = type_in(text, capsys)
    assert load_config("runs/a/recipe.yaml").task == "neurons"
    assert '"plan": "predict"' in said
    assert {path.name for path in tmp_path.iterdir()} == {"em.h5", "runs"}


def test_a_training_is_planned_and_nothing_is_kept(
    capsys: pytest.CaptureFixture[str],
    phantom_h5: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    pair = ("--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels")
    words = ("plan", "train", *pair, "--out", tmp_path / "run", *settings(*tiny))
    code, out, err = typed(capsys, *words, "--steps", 5000, "--json")
    assert code == 0, err
    assert list(tmp_path.iterdir()) == []
    told = json.loads(out)
    train, validate = told["stages"]
    assert train["amount"].startswith("5000 steps of 1 x 16 x 24 x 24")
    assert validate["amount"] == "2 times"
    assert told["seconds"] == pytest.approx(train["seconds"] + validate["seconds"], abs=0.2)
    assert train["seconds"] > 1
    assert 0.1 < told["memory_gib"] < 10


def test_a_budget_is_shared_by_steps_and_validations(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    from neuropil import api

    pair: dict[str, Any] = {"image": f"{phantom_h5}:raw", "labels": f"{phantom_h5}:labels"}
    told = api.plan("train", **pair, out=tmp_path / "run", budget="10m", set=tiny)
    steps = int(told["stages"][0]["amount"].split()[0])
    assert steps > 1
    assert told["seconds"] == pytest.approx(600, rel=0.05)


def test_a_step_that_cannot_fit_is_refused_before_it_is_taken(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_train, "available_bytes", lambda: 2**20)
    monkeypatch.setattr(preview_train, "_measured", lambda work: pytest.fail("it was tried"))
    pair = ("--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels")
    code, out, err = typed(capsys, "plan", "train", *pair, *settings(*tiny, "train.batch=2"))
    assert (code, out) == (2, "")
    assert "a step of training takes about" in err
    assert "fix: a smaller batch (--set train.batch=…, now 2); or a smaller crop" in err


def test_prediction_and_segmentation_are_planned(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny_run: Path, tmp_path: Path
) -> None:
    words = (tiny_run, f"{phantom_h5}:raw", "--out", tmp_path / "s.zarr")
    code, out, err = typed(capsys, "plan", "predict", *words, "--json")
    assert code == 0, err
    (stage,) = json.loads(out)["stages"]
    tiles = int(stage["amount"].split()[0])
    from neuropil.decoding import prediction
    from neuropil.infer.predict import volume_plan
    from neuropil.volume import open_volume

    image = open_volume(f"{phantom_h5}:raw")
    assert tiles == len(volume_plan(image, prediction(Run.open(tiny_run), image, []).settings))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a user would see them
        code, out, err = typed(capsys, "plan", "segment", *words[:2])
    assert code == 0, err
    assert "the whole volume at once" in out
    code, out, err = typed(capsys, "plan", "segment", *words, "--block", "16,32,32", "--workers", 2, "--json")
    assert code == 0, err
    assert "12 blocks of 16 x 32 x 32 voxels, 2 workers" in json.loads(out)["stages"][1]["amount"]
    assert list(tmp_path.iterdir()) == []


def test_a_segmentation_that_cannot_fit_names_the_way_out(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_predict, "available_bytes", lambda: 2**20)
    code, out, err = typed(capsys, "plan", "predict", tiny_run, f"{phantom_h5}:raw")
    assert (code, out) == (2, "")
    assert "fix: a smaller --set predict.tile" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", "fly"), "one of train, pretrain, predict, segment"),
        (("plan", "segment"), "neuropil plan segment RUN VOLUME"),
        (("plan", "segment", "r", "v", "--image", "v", "--budget", "4m"), "leave out --image and --budget"),
        (("plan", "train", "r", "v"), "leave out RUN and VOLUME"),
        (("plan", "pretrain", "--labels", "v", "--workers", "2"), "leave out --labels and --workers"),
        (("plan", "train"), "no training volumes"),
        (("plan", "train", "--recipe", "auto"), "at least one image"),
        (("plan", "train", "--image", "no.h5:raw", "--labels", "no.h5:l", "--recipe", "auto"), "does not exist"),
    ],
)
def test_wrong_plans_are_one_clear_error(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, out, err = typed(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err
