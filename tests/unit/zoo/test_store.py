from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.download.server import Server, serving
from tests.unit.zoo.made import run_of
from tests.unit.zoo.test_package import shared

from neuropil.config import override
from neuropil.download import fetch
from neuropil.errors import InputError, RunError, VolumeError
from neuropil.training.checkpoint import Run
from neuropil.zoo import store
from neuropil.zoo.store import beginnings, find, model_folder, models, write_index


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a neuropil that one model comes with, called ours."""
    (tmp_path / "with_neuropil").mkdir()
    shared(run_of(tmp_path / "o", seed=7), tmp_path / "with_neuropil" / "ours")
    monkeypatch.setattr(store, "shipped", lambda: tmp_path / "with_neuropil")
    monkeypatch.setenv("NEUROPIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEUROPIL_ZOO", raising=False)
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A zoo with a packed and an unpacked model."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    shared(run_of(tmp_path / "a"), zoo / "packed.zip")
    shared(run_of(tmp_path / "b", seed=1), zoo / "open")
    return zoo


@pytest.fixture
def web(folder: Path) -> Iterator[Server]:
    """The same, offered by a web server with its index."""
    write_index(folder)
    with serving({f"/lab/{p.name}": p.read_bytes() for p in folder.iterdir() if p.is_file()}) as server:
        yield server


def test_a_folder_is_a_zoo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROPIL_ZOO", str(folder))
    assert [(m.name, m.where) for m in models(None)] == [
        ("ours", "neuropil"),
        ("open", str(folder)),
        ("packed", str(folder)),
    ]
    assert Run.open(model_folder("zoo:packed")).load_model() is not None
    assert model_folder("zoo:open") == folder / "open"


def test_models_that_come_with_neuropil_need_no_zoo_and_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    assert model_folder("zoo:ours") == tmp_path / "with_neuropil" / "ours"
    assert Run.open(model_folder("zoo:ours")).card["seed"] == 7
    assert not cache.exists()
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    shared(run_of(tmp_path / "a", seed=8), zoo / "ours")
    monkeypatch.setenv("NEUROPIL_ZOO", str(zoo))
    assert [(m.name, m.where) for m in models(None)] == [("ours", str(zoo))], "who has a zoo of his own means it"


def test_a_name_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'zoo:packed'"):
        find("zoo:pakced", folder)
    with pytest.raises(InputError, match="one of ours"):
        model_folder("zoo:a")
    with pytest.raises(InputError, match="is not there"):
        models(folder / "none")


def test_a_bad_file_does_not_close_the_zoo(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.zip").write_bytes(b"PK nonsense")
    assert [m.name for m in models(folder)] == ["ours", "open", "packed"]
    assert "bad.zip" in capsys.readouterr().err


def test_a_changed_file_is_met_when_a_model_is_used(folder: Path) -> None:
    (folder / "open" / "run.json").write_text("{}")
    with pytest.raises(RunError, match="not the file of its card"):
        find("open", folder).folder()


def test_a_web_server_is_a_zoo_and_is_asked_for_a_model_once(web: Server) -> None:
    address = f"{web.url}/lab/"
    assert [m.name for m in models(address)] == ["ours", "packed"]
    first = find("packed", address).folder()
    assert Run.open(first).offsets
    assert find("packed", address).folder() == first
    assert [path for path, _ in web.asked].count("/lab/packed.zip") == 1


def test_an_archive_that_is_not_the_one_of_the_index_is_refused(web: Server, cache: Path) -> None:
    body = web.files["/lab/packed.zip"]
    web.files["/lab/packed.zip"] = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(VolumeError, match="hash"):
        find("packed", f"{web.url}/lab").folder()
    assert not (cache / "models").exists()


def test_a_newer_model_takes_the_place_of_the_old(web: Server, folder: Path, tmp_path: Path) -> None:
    first = find("packed", f"{web.url}/lab").folder()
    (folder / "packed.zip").unlink()
    shared(run_of(tmp_path / "c", seed=3), folder / "packed.zip")
    write_index(folder)
    web.files |= {f"/lab/{p.name}": p.read_bytes() for p in folder.iterdir() if p.is_file()}
    second = find("packed", f"{web.url}/lab").folder()
    assert second != first
    assert Run.open(second).card["seed"] == 3


def test_without_the_server_what_was_fetched_still_serves(web: Server, capsys: pytest.CaptureFixture[str]) -> None:
    first = find("packed", f"{web.url}/lab").folder()
    web.files.clear()
    assert find("packed", f"{web.url}/lab").folder() == first
    assert "when it last answered" in capsys.readouterr().err


def test_a_server_that_never_answered_is_an_error(web: Server) -> None:
    web.files.clear()
    with pytest.raises(VolumeError, match=r"index\.json"):
        models(f"{web.url}/lab")


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../packed.zip"},
        {"file": "http://elsewhere/packed.zip"},
        {"sha256": ""},
        {"name": "../../out", "file": "../../out.zip"},
    ],
)
def test_an_index_may_name_plain_files_only(web: Server, change: dict[str, str]) -> None:
    index = json.loads(web.files["/lab/index.json"])
    index["models"][0] |= change
    web.files["/lab/index.json"] = json.dumps(index).encode()
    with pytest.raises((VolumeError, InputError)):
        models(f"{web.url}/lab")


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 2, "models": []}'])
def test_indexes_that_are_none(web: Server, text: bytes) -> None:
    web.files["/lab/index.json"] = text
    with pytest.raises(VolumeError, match="index"):
        models(f"{web.url}/lab")


def test_an_index_is_of_a_folder_with_archives(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        write_index(tmp_path / "none")
    with pytest.raises(InputError, match=r"no model in a \.zip"):
        write_index(tmp_path)


def test_models_that_a_training_could_begin_with_fit_in_task_network_and_voxels(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "with_neuropil" / "ours")
    ours = run.config
    near = tuple(1.2 * size for size in run.voxel_size)
    assert beginnings(ours, run.voxel_size) == ["zoo:ours"]
    assert beginnings(ours, near) == ["zoo:ours"]  # type: ignore[arg-type]
    assert beginnings(ours, (100.0, 4.0, 4.0)) == []
    assert beginnings(ours.model_copy(update={"task": "mitochondria"}), run.voxel_size) == []
    assert beginnings(override(ours, ["model.channels=[8,8,8]"]), run.voxel_size) == []
    # steps of affinities are brought along; they do not make another network
    assert beginnings(ours.model_copy(update={"model": ours.model.model_copy(update={"offsets": None})}), near) == [
        "zoo:ours"
    ]  # type: ignore[arg-type]
