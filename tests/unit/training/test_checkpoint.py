from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml

from neuropil.config import load_config
from neuropil.errors import ConfigError, RunError
from neuropil.models import build_model
from neuropil.training.checkpoint import CARD, Run, load_exactly, read_tensors, write_atomic, write_tensors


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("bomb-went-off"),))


def test_tensors_round_trip_with_their_state(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b.c": torch.arange(5)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"step": 3, "nested": {"a": [1, 2]}})
    found, state = read_tensors(tmp_path / "x.safetensors")
    assert state == {"step": 3, "nested": {"a": [1, 2]}}
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = tmp_path / "evil.safetensors"
    hostile.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(RunError, match="can execute code"):
        read_tensors(hostile)
    torch.save({"x": torch.zeros(1)}, tmp_path / "plain.pth")
    with pytest.raises(RunError, match="can execute code"):
        read_tensors(tmp_path / "plain.pth")
    assert not (tmp_path / "bomb-went-off").exists()


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.randn(100)}, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        read_tensors(path)
    with pytest.raises(RunError, match="does not exist"):
        read_tensors(tmp_path / "none.safetensors")


def test_weights_load_wholly_or_not_at_all() -> None:
    config = load_config("em_neurons", ["model.channels=[8,8]"])
    model = build_model(config.model, (8, 8, 8), 3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    good = {k: torch.randn_like(v) for k, v in before.items()}
    missing = dict(list(good.items())[1:])
    extra = {**good, "other": torch.zeros(1)}
    reshaped = {**good, "head.weight": torch.zeros(4, 8, 1, 1, 1)}
    for bad, words in ((missing, "missing"), (extra, "unexpected other"), (reshaped, "has shape")):
        with pytest.raises(RunError, match=words):
            load_exactly(model, bad, "here")
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    load_exactly(model, good, "here")
    assert all(torch.equal(v, good[k]) for k, v in model.state_dict().items())


def test_a_run_of_another_version_says_so(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", load_config("em_neurons"), {"voxel_size": [8, 8, 8], "offsets": [[-1, 0, 0]]})
    card = json.loads((run.path / CARD).read_text())
    (run.path / CARD).write_text(json.dumps(card | {"format": 99, "versions": {"neuropil": "9.9"}}))
    with pytest.raises(RunError, match=r"run format 99 \(written by neuropil 9.9\)"):
        Run.open(run.path)


def test_settings_of_an_earlier_version_are_read_and_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", load_config("em_neurons"), {"voxel_size": [8, 8, 8], "offsets": [[-1, 0, 0]]})
    values = yaml.safe_load((run.path / "config.yaml").read_text())
    values["pretrain"]["agents"]["kl_rate"] = 0.5
    (run.path / "config.yaml").write_text(yaml.safe_dump(values))
    assert Run.open(run.path).config == run.config
    with pytest.raises(ConfigError, match="kl_rate") as refused:
        load_config("em_neurons", ["pretrain.agents.kl_rate=0.5"])
    assert "leave it out" in str(refused.value)
    with pytest.raises(ConfigError, match="enough_objects, which counts objects"):
        load_config("em_neurons", ["segment.enough=5"])


def test_a_run_says_where_its_decoding_comes_from(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", load_config("em_neurons"), {"voxel_size": [8, 8, 8], "offsets": [[-1, 0, 0]]})
    assert run.decoding_from == "calibrated in training"
    few = run.updated(best={"decoding": "calibrated on all labelled voxels", "raised": 0.075})
    assert few.decoding_from == "calibrated on all labelled voxels, the threshold raised by 0.075"
    assert few.updated(best={**few.card["best"], "raised": 0.0}).decoding_from == "calibrated on all labelled voxels"


def test_run_directories_are_not_overwritten_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="not empty"):
        Run.create(tmp_path / "full", load_config("em_neurons"), {})
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    with pytest.raises(RunError, match=r"holds no run\.json"):
        Run.open(tmp_path)
    broken = Run.create(tmp_path / "broken", load_config("em_neurons"), {})
    (broken.path / CARD).write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        Run.open(broken.path)
    unfinished = Run.create(tmp_path / "young", load_config("em_neurons"), {"voxel_size": [8, 8, 8], "offsets": []})
    with pytest.raises(RunError, match="has no model"):
        unfinished.load_model()


def test_metrics_survive_half_a_last_line_and_forget_what_is_repeated(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", load_config("em_neurons"), {})
    for step in (1, 2, 3):
        run.log(kind="train", step=step, loss=1.0)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert [row["step"] for row in run.rows("train")] == [1, 2, 3]
    run.forget_rows_after(2)
    assert [row["step"] for row in run.rows()] == [1, 2]


def test_writing_to_an_impossible_place_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written"):
        write_atomic(tmp_path / "no" / "such" / "folder.json", b"x")
