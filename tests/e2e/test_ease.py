"""Recipes chosen from the data, plans before a run, and what a shell is offered: as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neuropil.auto import recipe as auto_recipe
from neuropil.cli import main
from neuropil.config import load_config
from neuropil.preview import predict as preview_predict
from neuropil.preview import train as preview_train
from neuropil.training.checkpoint import Run

#: What is decided by the data stays open here.
SMALL = (
    "model.channels=[8,8,16]",
    "train.validations=1",
    "train.precision=fp32",
    "train.threads=1",
    "train.log_every=1",
)


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def settings(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def test_a_recipe_chosen_from_the_data_is_one_that_can_be_given(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tmp_path: Path
) -> None:
    pair = ("--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels")
    words = ("train", *pair, "--out", tmp_path / "run", "--recipe", "auto", "--steps", 2, *settings(*SMALL), "--json")
    code, out, err = typed(capsys, *words)
    assert code == 0, err
    assert set(json.loads(out)) >= {"run", "score"}  # nothing but JSON there; the choice is told on stderr
    said = " ".join(err.split())
    assert "data.crop" in said
    assert "em_neurons" in said
    run = Run.open(tmp_path / "run")
    assert run.card["recipe"] == "auto (em_neurons)"
    assert max(run.config.data.crop or ()) < 64  # the usual crop is larger than this volume
    text = (tmp_path / "run" / "recipe.yaml").read_text()
    again = load_config(tmp_path / "run" / "recipe.yaml", [*SMALL, "train.steps=2", "train.budget=null"])
    assert (again.data, again.task, again.segment) == (run.config.data, run.config.task, run.config.segment)
    for line, above in zip(text.splitlines()[1:], text.splitlines(), strict=False):
        if line.strip().startswith(("crop:", "validation:")):
            assert above.strip().startswith("# ")
    code, _, err = typed(capsys, "train", "--resume", "--out", tmp_path / "run")
    assert code == 0, err


def test_what_the_user_says_is_not_decided(phantom_h5: Path) -> None:
    from neuropil import open_volume

    image, words = open_volume(f"{phantom_h5}:raw"), ["data.crop=[16,24,24]", "model.channels=[8,8,16]"]
    choice = auto_recipe.choose_recipe([image], [f"{phantom_h5}:labels"], words)
    assert "data.crop" not in {decision.key for decision in choice.decisions}
    assert choice.config(words).data.crop == (16, 24, 24)
    assert "reason" not in choice.yaml()


@pytest.fixture
def others(phantom_h5: Path, tmp_path: Path) -> Path:
    """The phantom with labels of other kinds, under names that say nothing."""
    path = tmp_path / "x.h5"
    with h5py.File(phantom_h5) as source, h5py.File(path, "w") as file:
        raw, ids = source["raw"][...], source["labels"][...]
        inner = np.zeros_like(ids)
        inner[10:20, 10:20, 10:20], inner[30:40, 40:50, 20:30] = 4, 9
        dyes = np.random.default_rng(0).poisson(5, raw.shape).astype(np.uint8)
        dyes[:, 30:34, 20:40] = 200
        data = {"a": raw, "b": (inner > 0).astype(np.uint32), "c": inner, "d": dyes, "e": ids}
        data["f"] = np.clip(raw.astype(np.float32) ** 6 / 255.0**5, 0, 255).astype(np.uint8)
        for name, values in data.items():
            file[name] = values
            file[name].attrs.update({"resolution": (8, 8, 8), "kind": "image" if name in "adf" else "labels"})
    return path


@pytest.mark.parametrize(
    ("image", "labels", "recipe"),
    [("a", "e", "em_neurons"), ("a", "b", "em_semantic"), ("a", "c", "em_mitochondria"), ("d", "b", "lm_neuron")],
)
def test_the_values_choose_not_the_names(others: Path, image: str, labels: str, recipe: str) -> None:
    from neuropil import open_volume

    choice = auto_recipe.choose_recipe([open_volume(f"{others}:{image}")], [f"{others}:{labels}"], [])
    assert choice.base == recipe
    assert choice.config().task == load_config(recipe).task


def test_trees_choose_the_recipe_of_trees(others: Path, tmp_path: Path) -> None:
    from neuropil import open_volume

    tree = tmp_path / "tree.txt.swc"
    tree.write_text("# unit: nm\n1 2 100 100 100 16 -1\n2 2 300 200 200 16 1\n")
    choice = auto_recipe.choose_recipe([open_volume(f"{others}:a")], [tree], [])
    assert choice.base == "lm_neuron"


def test_pretraining_by_itself(capsys: pytest.CaptureFixture[str], phantom_h5: Path, tmp_path: Path) -> None:
    small = (*SMALL, "pretrain.crops=2", "pretrain.multiscale.dim=16", "data.crop=[16,16,16]", "train.batch=2")
    words = ("pretrain", "--image", f"{phantom_h5}:raw", "--out", tmp_path / "p", "--recipe", "auto", "--steps", 2)
    code, _, err = typed(capsys, *words, *settings(*small))
    assert code == 0, err
    assert Run.open(tmp_path / "p").config.pretrain.method == "multiscale"
    assert "# begins as multiscale" in (tmp_path / "p" / "recipe.yaml").read_text()


def test_what_could_be_two_things_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], others: Path, tmp_path: Path
) -> None:
    pair = ("--image", f"{others}:d", "--labels", f"{others}:c")
    code, out, err = typed(capsys, "train", *pair, "--out", tmp_path / "r", "--recipe", "auto")
    assert (code, out) == (2, "")
    assert err.startswith("error: --recipe auto cannot tell")
    assert "--recipe lm_neuron" in err
    assert not (tmp_path / "r").exists()


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
    code, out, err = typed(capsys, "plan", "segment", *words)
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
        (("plan", "fly"), "train, pretrain, predict or segment"),
        (("plan", "segment"), "neuropil plan segment RUN VOLUME"),
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


def offered(line: str) -> list[str]:
    """What bash is told when tab is pressed at the end of a line: the protocol of environment variables."""
    words = line.split(" ")
    asked = {"_NEUROPIL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    neuropil = Path(sys.executable).with_name("neuropil")
    done = subprocess.run([neuropil], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_shell_is_offered_verbs_recipes_and_settings() -> None:
    assert set(offered("neuropil pre")) == {"predict", "pretrain"}
    assert offered("neuropil train --recipe em_") == ["em_mitochondria", "em_neurons", "em_semantic"]
    assert offered("neuropil train --recipe au") == ["auto"]
    assert offered("neuropil train --set data.augment.fl") == ["data.augment.flip="]
    assert offered("neuropil plan pre") == ["pretrain", "predict"]


def test_completion_is_installed_for_the_shell_that_is_used(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    neuropil = Path(sys.executable).with_name("neuropil")
    done = subprocess.run(
        [neuropil, "--install-completion", "bash"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert "_NEUROPIL_COMPLETE" in written
    assert ".bash_completions/neuropil.sh" in (tmp_path / ".bashrc").read_text()
