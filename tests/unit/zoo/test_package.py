from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from tests.unit.zoo.made import rewritten, run_of

from neuropil.errors import RunError, VolumeError
from neuropil.training.checkpoint import CARD, CONFIG, WEIGHTS, Run, read_tensors, write_tensors
from neuropil.zoo.card import Said, facts
from neuropil.zoo.package import FACTS, FILES, README, checked, fill, halved, named_code, new_model, sha256


def shared(run: Run, out: Path, *, half_precision: bool = False) -> Path:
    with new_model(out) as folder:
        card = facts(run, out.stem, Said("CC0", None, None, (), None), seeds=[], speed=None)
        fill(folder, run, card, half_precision=half_precision)
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


def test_half_precision_halves_the_file_and_says_so_and_computes_as_ever(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    full, half = shared(run, tmp_path / "f"), shared(run, tmp_path / "h", half_precision=True)
    other = Run.open(checked(half))
    network = other.load_model()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    for name, tensor in run.load_model().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor.half().float()), name
    x_BCZYX = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        difference = (run.load_model()(x_BCZYX).sigmoid() - network(x_BCZYX).sigmoid()).abs().max()
    assert 0 < difference < 1e-2
    sizes = [(folder / WEIGHTS).stat().st_size for folder in (half, full)]
    assert sizes[0] < 0.6 * sizes[1]
    cards = [json.loads((folder / FACTS).read_text())["weights"]["stored_as"] for folder in (half, full)]
    assert cards == ["float16", "float32"]
    assert "stored as float16" in (half / "README.md").read_text()
    again = shared(other, tmp_path / "again")
    assert json.loads((again / FACTS).read_text())["weights"]["stored_as"] == "float16"
    assert other.calibration == run.calibration


def test_half_precision_keeps_whole_numbers_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    counts = torch.tensor([70000])
    assert halved({"n": counts}, "run")["n"].dtype == torch.int64
    run = run_of(tmp_path / "a")
    tensors, state = read_tensors(run.path / WEIGHTS)
    tensors["head.weight"][0] = 1e5
    write_tensors(run.path / WEIGHTS, tensors, state)
    with pytest.raises(RunError, match=r"cannot hold: head\.weight"):
        shared(run, tmp_path / "m", half_precision=True)
    assert not (tmp_path / "m").exists()


def test_a_tensor_that_is_missing_is_met(tmp_path: Path) -> None:
    folder = shared(run_of(tmp_path / "a"), tmp_path / "m", half_precision=True)
    tensors, state = read_tensors(folder / WEIGHTS)
    del tensors["head.weight"]
    write_tensors(folder / WEIGHTS, tensors, state)
    with pytest.raises(RunError, match=r"missing head\.weight"):
        Run.open(folder).load_model()


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


@pytest.mark.parametrize("name", [CARD, CONFIG, WEIGHTS, README])
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
