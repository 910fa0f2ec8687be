"""Recipes chosen from the data, and what a shell is offered: as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuropil.auto import recipe as auto_recipe
from neuropil.cli import main
from neuropil.config import load_config
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
