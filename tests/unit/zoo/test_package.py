from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from tests.unit.zoo.made import rewritten, run_of

from neuropil.errors import RunError, VolumeError
from neuropil.training.checkpoint import CARD, CONFIG, WEIGHTS, Run
from neuropil.zoo.card import Said, facts
from neuropil.zoo.package import FACTS, FILES, checked, fill, named_code, new_model, sha256


def shared(run: Run, out: Path) -> Path:
    with new_model(out) as folder:
        fill(folder, run, facts(run, out.stem, Said("CC0", None, None, (), None), seeds=[], speed=None))
    return out


def test_a_shared_run_is_a_run_that_answers_the_same(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    other = Run.open(checked(shared(run, tmp_path / "m")))
    x_BCZYX = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(run.load_model()(x_BCZYX), other.load_model()(x_BCZYX))
    assert other.calibration == run.calibration
    assert other.offsets == run.offsets
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == sorted(FILES)


def test_no_file_says_where_it_was_made(tmp_path: Path) -> None:
    image = str(tmp_path / "secret folder" / "x.h5:raw")
    init = {"path": str(tmp_path / "secret" / "model.safetensors"), "sha256": "0"}
    run = run_of(tmp_path / "a", image=image, init=init, notes=f"trained in {tmp_path}/secret/here")
    folder = shared(run, tmp_path / "m")
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
        assert b"secret" not in path.read_bytes(), path.name
    assert Run.open(folder).card["sources"][0]["image"] == "x.h5:raw"


def test_an_archive_is_the_same_every_time(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = shared(run, tmp_path / "one" / "m.zip"), shared(run, tmp_path / "two" / "m.zip")
    assert sha256(first) == sha256(second)
    with zipfile.ZipFile(first) as packed:
        assert sorted(packed.namelist()) == sorted(FILES)


def test_what_is_there_is_kept_and_what_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(VolumeError, match="exists already"), new_model(tmp_path / "m"):
        pass
    with pytest.raises(FileNotFoundError), new_model(tmp_path / "n.zip") as folder:
        (folder / "half" / "way").write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("name", [CARD, CONFIG, WEIGHTS])
def test_a_file_that_changed_or_went_is_met(tmp_path: Path, name: str) -> None:
    folder = shared(run_of(tmp_path / "a"), tmp_path / "m")
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RunError, match="not the file of its card"):
        checked(folder)
    path.unlink()
    with pytest.raises(RunError, match="missing"):
        checked(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "os:system"}},
        {"model": {"encoder": "os.path:join"}},
        {"task": "subprocess:run"},
        {"segment": {"method": "builtins:eval"}},
        {"train": {"sinks": ["os:abort"]}},
    ],
)
def test_a_model_that_names_code_is_refused_on_both_sides(tmp_path: Path, change: dict[str, object]) -> None:
    run = run_of(tmp_path / "a")
    rewritten(run.path, **change)
    with pytest.raises(RunError, match="code of yours"):
        shared(Run.open(run.path), tmp_path / "n")
    folder = shared(run_of(tmp_path / "b"), tmp_path / "m")
    rewritten(folder, **change)
    card = json.loads((folder / FACTS).read_text())
    card["files"][CONFIG] = sha256(folder / CONFIG)  # who makes a model makes its hashes
    (folder / FACTS).write_text(json.dumps(card))
    with pytest.raises(RunError, match="names code"):
        checked(folder)


def test_names_of_code_are_told_from_other_texts() -> None:
    assert named_code({"a": ["m.n:f", "tcp://host:80", "8:30", "x.h5:a/b", {"b": "m:g"}]}) == ["m.n:f", "m:g"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}'])
def test_cards_that_are_none(tmp_path: Path, text: str) -> None:
    folder = shared(run_of(tmp_path / "a"), tmp_path / "m")
    (folder / FACTS).write_text(text)
    with pytest.raises(RunError, match="the card of"):
        checked(folder)
