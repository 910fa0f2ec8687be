"""Sinks are told what metrics.jsonl is told, no more and no less, also across a resume; and say what is missing."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from neuropil.config import load_config
from neuropil.errors import ConfigError
from neuropil.training.checkpoint import Run
from neuropil.training.sinks import begun, check_sinks, scalars


def _run(folder: Path, *sinks: str) -> Run:
    config = load_config("em_neurons", [f"train.sinks=[{','.join(sinks)}]"])
    return Run.create(folder, config, {})


def _read_back(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard itself finds: name → step → value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}


def test_a_training_shows_in_tensorboard_what_its_rows_say(
    phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    from neuropil import train

    words = [*tiny, "train.sinks=[tensorboard]", "train.validations=1"]
    run = train(f"{phantom_h5}:raw", f"{phantom_h5}:labels", tmp_path / "run", steps=4, set=words)
    found = _read_back(run.path / "tensorboard")
    rows = run.rows("train")
    assert found["train/loss"] == pytest.approx({r["step"]: r["loss"] for r in rows}, rel=1e-5)
    assert list(found["train/loss"]) == [2, 4]
    (validation,) = run.rows("validation")
    assert found["validation/voi_sum"] == pytest.approx({4: validation["voi_sum"]}, rel=1e-5)


def test_what_a_resumed_run_repeats_is_told_once(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", "tensorboard")
    first = begun(run, 0)
    for step in (10, 20, 30):
        first.log(kind="train", step=step, loss=1.0)
    first.close()
    run.forget_rows_after(20)  # the checkpoint was made there
    second = begun(run, 20)
    for step in (30, 40):
        second.log(kind="train", step=step, loss=2.0)
    second.close()
    expected = {10: 1.0, 20: 1.0, 30: 2.0, 40: 2.0}
    assert _read_back(run.path / "tensorboard")["train/loss"] == expected
    assert {r["step"]: r["loss"] for r in run.rows()} == expected


def test_only_finite_numbers_are_scalars() -> None:
    row = {"kind": "validation", "step": 3, "score": 1.5, "bad": float("nan"), "sweep": [1], "note": "x", "slabs": 2}
    assert scalars(row) == {"validation/score": 1.5, "validation/slabs": 2.0}
    assert scalars({"kind": "event", "event": "plan", "step": 40, "total": 900}) == {"plan/total": 900.0}


class _Calls(types.ModuleType):
    """A wandb that remembers what it is asked."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.calls: list[tuple[str, Any]] = []
        self.id = "a1b2"

    def init(self, **words: Any) -> _Calls:
        self.calls.append(("init", words))
        return self

    def define_metric(self, name: str, **words: Any) -> None:
        self.calls.append(("define_metric", (name, words)))

    def log(self, values: dict[str, float]) -> None:
        self.calls.append(("log", values))

    def finish(self) -> None:
        self.calls.append(("finish", None))


def test_wandb_goes_on_as_the_same_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wandb = _Calls()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run = _run(tmp_path / "run", "wandb")
    check_sinks(run.config)
    for first_step in (0, 2):
        journal = begun(run, first_step)
        journal.log(kind="train", step=first_step + 2, loss=0.5)
        journal.log(kind="event", event="resumed", step=first_step)  # nothing to draw
        journal.close()
    named = [name for name, _ in wandb.calls]
    assert named == ["init", "define_metric", "log", "finish"] * 2
    inits = [words for name, words in wandb.calls if name == "init"]
    assert [words["id"] for words in inits] == [None, "a1b2"]
    assert all(words["resume"] == "allow" and words["dir"] == str(run.path) for words in inits)
    assert inits[0]["config"]["train"]["sinks"] == ["wandb"]
    assert [v for name, v in wandb.calls if name == "log"] == [
        {"train/loss": 0.5, "step": 2},
        {"train/loss": 0.5, "step": 4},
    ]
    # steps may go back after a resume, which only an axis of our own allows
    assert ("define_metric", ("*", {"step_metric": "step"})) in wandb.calls
    assert json.loads((run.path / "wandb.json").read_text()) == {"id": "a1b2"}


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_said_before_the_run(
    name: str, monkeypatch: pytest.MonkeyPatch, phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    from neuropil import train

    monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    with pytest.raises(ConfigError, match=rf"pip install 'neuropil\[{name}\]'"):
        train(
            f"{phantom_h5}:raw", f"{phantom_h5}:labels", tmp_path / "run", steps=2, set=[*tiny, f"train.sinks=[{name}]"]
        )
    assert not (tmp_path / "run").exists()


def test_an_unknown_sink_names_the_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        check_sinks(load_config("em_neurons", ["train.sinks=[tensorbord]"]))


def test_a_sink_of_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Any] = []
    theirs = types.ModuleType("their_sinks")

    class Theirs:
        def __init__(self, folder: Path, config: object, first_step: int) -> None:
            told.append((folder, first_step))

        def __call__(self, row: dict[str, Any]) -> None:
            told.append(row)

        def close(self) -> None:
            told.append("closed")

    theirs.Sink = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_sinks", theirs)
    run = _run(tmp_path / "run", "their_sinks:Sink")
    journal = begun(run, 7)
    journal.log(kind="train", step=8, loss=1.0)
    journal.close()
    assert told == [(run.path, 7), {"kind": "train", "step": 8, "loss": 1.0}, "closed"]
