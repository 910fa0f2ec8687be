"""Bad files: every one is refused with one clear error, and none is executed."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from neuropil.errors import RunError
from neuropil.models.checkpoints2d.files import open_weights

WEIGHTS = {"a.weight": torch.randn(40, 30), "b": torch.arange(3.0)}


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("bomb-went-off"),))


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x.pt", "old.pth"])
def test_both_formats_and_any_name(name: str, tmp_path: Path) -> None:
    if name.endswith("safetensors"):
        save_file(WEIGHTS, tmp_path / name)
    else:
        torch.save(WEIGHTS, tmp_path / name, _use_new_zipfile_serialization=name != "old.pth")
    (tmp_path / name).rename(tmp_path / "nameless")
    found = open_weights(tmp_path / "nameless")
    assert set(found.tensors) == set(WEIGHTS)
    assert all(torch.equal(found.tensors[k], t) for k, t in WEIGHTS.items())
    assert (found.entry, found.others, found.config) == ("", (), {})


def test_a_file_that_would_execute_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": WEIGHTS, "evil": _Bomb()}, "zip.pth")
    torch.save({"model": WEIGHTS, "evil": _Bomb()}, "old.pth", _use_new_zipfile_serialization=False)
    Path("plain.pkl").write_bytes(pickle.dumps(_Bomb()))
    for name in ("zip.pth", "old.pth", "plain.pkl"):
        with pytest.raises(RunError, match=r"execute code[\s\S]*weights only[\s\S]*safetensors"):
            open_weights(Path(name))
    assert not Path("bomb-went-off").exists()


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_files_that_were_cut_short(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "zip")
    _cut(path, share)
    with pytest.raises(RunError, match=r"(cut short|not a whole)[\s\S]*get it again"):
        open_weights(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (
            b"<!DOCTYPE html><html>Access to this model is restricted",
            "is a web page[\\s\\S]*login or an accepted licence",
        ),
        (b"\n <html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "pointer to a large file"),
        (b"\xef\xbb\xbf<head><title>Sign in", "is a web page, not weights"),
        (
            b'{"error": "Access to model facebook/dinov3 is restricted. You must have access to it"}',
            "is JSON text, not weights: [\\s\\S]*Access to model facebook/dinov3[\\s\\S]*licence[\\s\\S]*a token",
        ),
        # here the ninth letter is that of safetensors
        (b'{"fail":{"message": "' + b"words " * 200 + b'"}}', "is JSON text, not weights: [^\n]* words \u2026\n"),
        (b'["' + "\u00e9".encode() * 400, "is JSON text"),
        (b"Access to this resource is denied", "is text, not weights: Access to this resource is denied\n"),
        (bytes(range(256)) * 4, "cut short or no file of weights"),
    ],
)
def test_what_is_no_model(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(RunError, match=words):
        open_weights(tmp_path / "x.pth")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        open_weights(tmp_path / "none.pth")
    with pytest.raises(RunError, match=r"holds no model\.safetensors"):
        open_weights(tmp_path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.zeros(3), {"model": {"epoch": 3}}])
def test_files_without_named_weights(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(RunError, match="holds no named weights"):
        open_weights(tmp_path / "x.pth")


WRAPPED: list[tuple[Callable[[], dict[str, object]], str, set[str]]] = [
    (lambda: {"model": WEIGHTS, "epoch": 1}, "model.", {"epoch"}),
    (lambda: {"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1)}, "state_dict.", {"args"}),
    (lambda: {"student": {}, "teacher": WEIGHTS}, "teacher.", {"student"}),
    (lambda: {"model": {"teacher": WEIGHTS, "student": {}}}, "model.teacher.", {"model.student"}),
    (lambda: {**WEIGHTS, "epoch": 1}, "", {"epoch"}),
]


@pytest.mark.parametrize(("content", "entry", "others"), WRAPPED)
def test_weights_within_a_training_file(
    content: Callable[[], dict[str, object]], entry: str, others: set[str], tmp_path: Path
) -> None:
    torch.save(content(), tmp_path / "x.pth")
    found = open_weights(tmp_path / "x.pth")
    assert (set(found.tensors), found.entry, set(found.others)) == (set(WEIGHTS), entry, others)


def test_a_config_beside_must_be_json(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')
    assert open_weights(tmp_path).config == {"hidden_size": 3}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="is not JSON"):
        open_weights(tmp_path)
