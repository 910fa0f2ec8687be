"""Archives: what is wanted comes out, byte for byte; what is hostile or damaged is refused before anything is written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.download.miniatures import tarred, zipped

from neuropil.download.archive import unpack
from neuropil.errors import VolumeError

MEMBERS = {"a/one.png": b"1" * 5000, "a/two.txt": b"2", "b/three.png": b"3"}


def wanted(name: str) -> str | None:
    return name if name.endswith(".png") else None


def written(tmp_path: Path, body: bytes) -> Path:
    path = tmp_path / "x.archive"
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("make", [zipped, tarred, lambda m: tarred(m, "w:xz"), lambda m: tarred(m, "w")])
def test_what_is_wanted_comes_out(make: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    found = unpack(written(tmp_path, make(MEMBERS)), tmp_path / "out", wanted)
    assert [p.relative_to(tmp_path / "out").as_posix() for p in found] == ["a/one.png", "b/three.png"]
    assert found[0].read_bytes() == MEMBERS["a/one.png"]
    assert sum(1 for p in tmp_path.rglob("*") if p.is_file()) == 3


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
def test_names_that_lead_out_of_the_folder_are_refused(
    make: Callable[[dict[str, bytes]], bytes], name: str, tmp_path: Path
) -> None:
    archive = written(tmp_path, make({"a/one.png": b"1", name: b"2"}))
    with pytest.raises(VolumeError, match="leads out of the folder"):
        unpack(archive, tmp_path / "out", wanted)
    assert list(tmp_path.rglob("*.png")) == []


def test_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="leads out of the folder"):
        unpack(written(tmp_path, zipped({".": b"1"})), tmp_path / "out", lambda name: "one.png")


def test_links_are_refused(tmp_path: Path) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        link = tarfile.TarInfo("a/one.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(VolumeError, match="is a link"):
        unpack(written(tmp_path, held.getvalue()), tmp_path / "out", wanted)


def flipped(body: bytes) -> bytes:
    """The same with bits changed in the middle of the first file."""
    at = 60
    return body[:at] + bytes(b ^ 255 for b in body[at : at + 4]) + body[at + 4 :]


@pytest.mark.parametrize(
    "body",
    [
        zipped(MEMBERS)[:-40],
        tarred(MEMBERS)[:-40],
        flipped(tarred(MEMBERS)),
        flipped(zipped({"a/one.png": bytes(range(256)) * 9})),
        b"",
        b"<html>",
    ],
    ids=["zip cut", "tar.gz cut", "tar.gz changed", "zip changed", "empty", "page"],
)
def test_a_damaged_archive_is_one_clear_error(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"x\.archive|one\.png"):
        unpack(written(tmp_path, body), tmp_path / "out", wanted)


def test_a_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    archive = written(tmp_path, zipped(MEMBERS))
    # what the archive says of its sizes is what is asked of the disk
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        info = zipfile.ZipInfo("a/huge.png")
        packed.writestr(info, b"0")
        info.file_size = 2**60
    with pytest.raises(VolumeError, match="are free"):
        unpack(archive, tmp_path / "out", wanted)
    assert not (tmp_path / "out").exists()
