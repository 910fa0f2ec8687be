from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from neuropil.errors import VolumeError
from neuropil.zoo.cache import unpacked


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEUROPIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def archive(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return path


def test_the_same_archive_is_unpacked_once_and_another_beside_it(tmp_path: Path) -> None:
    first = unpacked(archive(tmp_path / "m.zip", a="1"), {"a"}.__contains__)
    (first / "a").write_text("kept")
    assert unpacked(tmp_path / "m.zip", {"a"}.__contains__) == first
    assert (first / "a").read_text() == "kept"
    second = unpacked(archive(tmp_path / "m.zip", a="2"), {"a"}.__contains__)
    assert (second / "a").read_text() == "2"


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "C:\\out", "b"])
def test_names_that_lead_out_or_do_not_belong_are_refused(tmp_path: Path, cache: Path, name: str) -> None:
    with pytest.raises(VolumeError, match="do not use this archive"):
        unpacked(archive(tmp_path / "m.zip", a="1", **{name: "x"}), {"a"}.__contains__)
    assert not (tmp_path / "out").exists()
    assert list((cache / "models").iterdir()) == []


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "m.zip", "w") as tar:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(VolumeError, match="link"):
        unpacked(tmp_path / "m.zip", {"a"}.__contains__)


def test_a_damaged_archive_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    whole = archive(tmp_path / "m.zip", a="1" * 999).read_bytes()
    (tmp_path / "m.zip").write_bytes(whole[:40])
    with pytest.raises(VolumeError, match="damaged"):
        unpacked(tmp_path / "m.zip", {"a"}.__contains__)
    assert list((cache / "models").iterdir()) == []
