"""One file over HTTP: resumed, checked, whole or not there; each fault is one clear error."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.download.server import Server, serving

from neuropil.download import fetch
from neuropil.download.fetch import fetched
from neuropil.errors import IncompleteError, VolumeError

BODY = bytes(range(256)) * 8000
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "PAUSE", 0.001)
    with serving({"/a.h5": BODY}) as told:
        yield told


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_comes_whole_with_its_hash(server: Server, tmp_path: Path) -> None:
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", f"sha256:{SHA}") == SHA
    assert (tmp_path / "b.h5").read_bytes() == BODY
    assert names(tmp_path) == ["b.h5"]
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA
    assert len(server.asked) == 1


def test_a_file_of_unknown_length_comes_whole(server: Server, tmp_path: Path) -> None:
    server.length = False
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA


def test_a_broken_transfer_is_resumed_at_once_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut, server.cuts = 655_360, 2
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA
    assert [asked for _, asked in server.asked] == [None, "bytes=655360-", "bytes=1310720-"]


def test_many_breaks_are_borne_as_long_as_bytes_come(server: Server, tmp_path: Path) -> None:
    server.cut, server.cuts = 200_000, 99
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA
    assert len(server.asked) > fetch.TRIES + 2


def test_what_was_given_up_goes_on_in_a_later_run(server: Server, tmp_path: Path) -> None:
    server.cut, server.cuts, server.codes = 655_360, 1, [200, 503, 503, 503, 503]
    with pytest.raises(IncompleteError, match=r"broke off after 0.7 MB of 2.0 MB.*503(.|\n)*goes on from there"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert names(tmp_path) == ["b.h5.part", "b.h5.part.json"]
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA
    assert server.asked[-1][1] == "bytes=655360-"
    assert names(tmp_path) == ["b.h5"]


def test_a_part_that_is_already_whole_is_taken(server: Server, tmp_path: Path) -> None:
    server.cut, server.cuts, server.codes = 655_360, 1, [200, 503, 503, 503, 503]
    with pytest.raises(IncompleteError):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    (tmp_path / "b.h5.part").write_bytes(BODY)
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA


@pytest.mark.parametrize("marks", [True, False])
def test_a_file_that_changed_in_between_is_never_mixed(server: Server, tmp_path: Path, marks: bool) -> None:
    server.marks = marks
    server.cut, server.cuts, server.codes = 655_360, 1, [200, 503, 503, 503, 503]
    with pytest.raises(IncompleteError):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    # without a mark of the version, only another length tells
    other = BODY[::-1] if marks else BODY[::-1][:-5]
    server.files["/a.h5"] = other
    fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert (tmp_path / "b.h5").read_bytes() == other


def test_without_a_mark_another_address_is_no_continuation(server: Server, tmp_path: Path) -> None:
    server.marks = False
    server.cut, server.cuts, server.codes = 655_360, 1, [200, 503, 503, 503, 503]
    with pytest.raises(IncompleteError):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    server.files["/other.h5"] = BODY[::-1]
    fetched(f"{server.url}/other.h5", tmp_path / "b.h5", None)
    assert (tmp_path / "b.h5").read_bytes() == BODY[::-1]


def test_a_server_without_ranges_is_asked_for_all_of_it_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut, server.cuts = False, 655_360, 2
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None) == SHA
    assert (tmp_path / "b.h5").read_bytes() == BODY


def test_a_server_without_ranges_that_always_breaks_is_given_up(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut, server.cuts = False, 655_360, 99
    with pytest.raises(IncompleteError, match="broke off"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert not (tmp_path / "b.h5").exists()


def test_a_wrong_hash_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="another file than expected"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", "sha256:" + "0" * 64)
    assert names(tmp_path) == []


def test_a_file_put_there_by_hand_is_checked_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "b.h5").write_bytes(BODY)
    assert fetched(f"{server.url}/a.h5", tmp_path / "b.h5", f"md5:{hashlib.md5(BODY).hexdigest()}") == SHA
    (tmp_path / "b.h5").write_bytes(b"mine")
    with pytest.raises(VolumeError, match=r"another file than expected(.|\n)*remove"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", f"sha256:{SHA}")
    assert (tmp_path / "b.h5").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize(
    ("code", "message"),
    [(404, "is not there"), (403, "may not be read"), (401, "ask for access"), (500, "answers 500"), (418, "418")],
)
def test_each_refusal_is_one_clear_error_and_leaves_nothing(
    server: Server, tmp_path: Path, code: int, message: str
) -> None:
    server.codes = [code] * 9
    with pytest.raises(VolumeError, match=message):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert names(tmp_path) == []
    assert len(server.asked) == (fetch.TRIES if code == 500 else 1)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_data(server: Server, tmp_path: Path, kind: str) -> None:
    server.kind = kind
    server.files["/a.h5"] = b"\n <!DOCTYPE html><html><body>Please log in</body></html>"
    with pytest.raises(VolumeError, match="web page instead of the file"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert names(tmp_path) == []


def test_no_server_at_all_is_one_clear_error(server: Server, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="cannot be fetched"):
        fetched("http://127.0.0.1:9/a.h5", tmp_path / "b.h5", None)
    with pytest.raises(VolumeError, match=r"an http\(s\) address"):
        fetched("http://", tmp_path / "b.h5", None)


def test_a_full_disk_is_told_before_anything_is_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(VolumeError, match=r"needs 2.0 MB in .* where 1.0 MB are free"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert names(tmp_path) == []


def test_a_disk_that_refuses_keeps_what_is_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "_pour", refuse)
    with pytest.raises(VolumeError, match=r"No space left(.|\n)*make room"):
        fetched(f"{server.url}/a.h5", tmp_path / "b.h5", None)
    assert not (tmp_path / "b.h5").exists()
