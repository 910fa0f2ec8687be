"""The models that come with neuropil: whole, small, described, and of use with no training and no network."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from neuropil.api import zoo
from neuropil.cli import main
from neuropil.io import save_volume
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume, open_volume
from neuropil.zoo.package import FILES, checked
from neuropil.zoo.store import model_folder, shipped

NAMES = sorted(path.name for path in shipped().iterdir() if path.is_dir())
NETWORKS = [name for name in NAMES if Run.open(shipped() / name).card.get("kind") != "encoder"]
#: MB that the files of one model may have.
LARGEST = 16.0


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no zoo, and a cache that cannot be made."""

    def refused(*_: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.delenv("NEUROPIL_ZOO", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUROPIL_CACHE", str(tmp_path / "file" / "cache"))


def command(*words: object) -> None:
    """A command that must succeed."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code in (0, None)


def test_there_are_models() -> None:
    assert "em-neurons-fib25" in NETWORKS


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_what_was_shared_small_and_from_nowhere(name: str) -> None:
    folder = checked(shipped() / name)
    assert model_folder(f"zoo:{name}") == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST * 1e6
    for path in folder.iterdir():
        assert not re.search(rb"/(work|root|home|tmp|srv)/", path.read_bytes()), path.name


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_all_that_a_stranger_must_know(name: str) -> None:
    card = zoo(name)
    told: dict[str, Any] = {
        key: card[key] for key in ("kind", "voxel_size_nm", "licence", "authors", "cite", "parameters", "normalise")
    }
    told |= {f"data {key}": card["data"][key] for key in ("volumes", "licence", "where")}
    told |= {
        "scores": card["scores"]["held_back"],
        "minutes": card["cost"]["train_minutes"],
        "steps": card["cost"]["steps"],
    }
    told |= {"machine": card["cost"]["machine"], "weights": card["weights"]["bytes"], "made with": card["versions"]}
    if card["kind"] == "network":
        told |= {"task": card["task"], "channels": card["channels"], "speed": card["speed"]["voxels_per_second"]}
    assert [key for key, value in told.items() if not value] == []
    over = card["scores"]["spread"]["over"]
    assert re.fullmatch(r"\d+ seeds|the last \d+ validations of one seed", over), "how far scores spread"
    assert (card["name"], card["zoo"]) == (name, "neuropil")
    assert "non-commercial" not in card["data"]["licence"].lower()


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_finite_and_all_there(name: str) -> None:
    run = Run.open(model_folder(f"zoo:{name}"))
    tensors, _ = run._weights()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    if name in NETWORKS:
        network = run.load_model()
        assert sum(p.numel() for p in network.parameters()) == run.card["parameters"]


@pytest.mark.parametrize("name", NETWORKS)
def test_it_segments_with_no_training_and_no_network(name: str, tmp_path: Path) -> None:
    run = Run.open(shipped() / name)
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(24, 32, 32)))
    image = Volume(phantom.image(phantom.box), run.voxel_size, kind="image")
    save_volume(image, tmp_path / "raw.zarr")
    command("segment", f"zoo:{name}", tmp_path / "raw.zarr", "--out", tmp_path / "seg.zarr")
    labels = open_volume(tmp_path / "seg.zarr")
    assert (labels.kind, labels.box) == ("labels", image.box)


@pytest.mark.parametrize("name", NETWORKS)
def test_who_trains_the_same_is_told_of_it_and_can_begin_with_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.open(shipped() / name)
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=(24, 64, 64)))
    truth = phantom.neurons(phantom.box)  # for a network of organelles too: here nobody asks how good it is
    for file, array, kind in (("raw", phantom.image(phantom.box), "image"), ("truth", truth, "labels")):
        save_volume(Volume(array, run.voxel_size, kind=kind), tmp_path / f"{file}.zarr")  # type: ignore[arg-type]
    words = ("--recipe", f"em_{run.task}", "--image", tmp_path / "raw.zarr", "--labels", tmp_path / "truth.zarr")
    few = ("--steps", 1, "--set", "data.crop=[8,32,32]", "--set", "train.validations=1")
    command("train", *words, *few, "--out", tmp_path / "scratch")
    assert f"--init zoo:{name} begins there" in capsys.readouterr().err
    command("train", *words, *few, "--out", tmp_path / "on", "--init", f"zoo:{name}")
    told = capsys.readouterr().err
    assert "100.0% of what was asked" in told
    assert "begins there" not in told
    begun = Run.open(tmp_path / "on").card["init"]["account"]
    assert begun["missing"] == begun["unused"] == []
