"""From a name to a folder: pinned, described, atomic, resumed; other people's folders are left alone."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.download import miniatures
from tests.unit.download.server import Server, serving

from neuropil.download import prepare as preparing
from neuropil.download.catalogue import data_set
from neuropil.download.prepare import described, next_command, prepare
from neuropil.errors import InputError, VolumeError
from neuropil.volume import open_volume


@pytest.fixture(scope="module")
def mini() -> miniatures.Miniature:
    return miniatures.snemi3d()


@pytest.fixture
def server(mini: miniatures.Miniature) -> Iterator[Server]:
    with serving(mini.served()) as told:
        yield told


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_set_is_described_and_nothing_else_is_left(mini: Any, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "s"
    prepare(mini.set, out, mirror=server.url + "/")
    assert names(out) == ["data", "dataset.yaml", "download.lock.yaml"]
    assert names(out / "data") == ["test.h5", "train.h5"]
    found = yaml.safe_load((out / "dataset.yaml").read_text())
    assert found["volumes"] == [
        {"name": "train", "split": "train", "image": "data/train.h5:raw", "labels": "data/train.h5:labels"},
        {"name": "test", "split": "test", "image": "data/test.h5:raw"},
    ]
    assert (found["name"], found["recipe"], found["voxel_size"]) == ("snemi3d", "em_neurons", [30, 6, 6])
    assert found["licence"]["name"] == "CC BY 4.0"
    assert "Kasthuri" in found["citation"]
    for volume in found["volumes"]:
        assert open_volume(out / volume["image"]).voxel_size == (30, 6, 6)


def test_the_lock_says_what_came_from_where(mini: Any, server: Server, tmp_path: Path) -> None:
    prepare(mini.set, tmp_path / "s", mirror=server.url)
    lock = yaml.safe_load((tmp_path / "s" / "download.lock.yaml").read_text())
    body = mini.files["snemi.zip"]
    entry = lock["files"]["snemi.zip"]
    assert entry["sha256"] == hashlib.sha256(body).hexdigest()
    assert (entry["bytes"], entry["trusted"]) == (len(body), "first use")
    assert entry["url"] == f"{server.url}/snemi3d/snemi.zip"


def test_what_is_there_is_not_fetched_again(mini: Any, server: Server, tmp_path: Path) -> None:
    first = prepare(mini.set, tmp_path / "s", mirror=server.url)
    assert prepare(mini.set, tmp_path / "s", mirror="http://127.0.0.1:9") == first
    assert len(server.asked) == 1


def test_a_later_file_that_differs_is_refused(mini: Any, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "s"
    prepare(mini.set, out, mirror=server.url)
    shutil.rmtree(out / "data")
    server.files = {path: miniatures.zipped({"other": b"1"}) for path in server.files}
    with pytest.raises(VolumeError, match="another file than expected"):
        prepare(mini.set, out, mirror=server.url)
    assert not (out / "data").exists()
    assert list((out / "source").iterdir()) == []
    server.files = mini.served()
    prepare(mini.set, out, mirror=server.url)
    assert names(out / "data") == ["test.h5", "train.h5"]


def test_a_hash_of_the_table_is_what_counts(mini: Any, server: Server, tmp_path: Path) -> None:
    digest = hashlib.md5(mini.files["snemi.zip"]).hexdigest()
    for number, said in enumerate((f"md5:{digest}", "md5:" + "0" * 32)):
        files = (mini.set.files[0].model_copy(update={"hash": said}),)
        wanted = mini.set.model_copy(update={"files": files})
        if number:
            with pytest.raises(VolumeError, match="another file than expected"):
                prepare(wanted, tmp_path / str(number), mirror=server.url)
            continue
        prepare(wanted, tmp_path / str(number), mirror=server.url)
        lock = yaml.safe_load((tmp_path / str(number) / "download.lock.yaml").read_text())
        assert lock["files"]["snemi.zip"]["trusted"] == "the table"


def test_a_conversion_that_failed_is_done_again_without_fetching(
    mini: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(work: Any) -> None:
        (work.out / "half.h5").write_bytes(b"half")
        raise VolumeError("the disk is full")

    out = tmp_path / "s"
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "convert", fail)
        with pytest.raises(VolumeError, match="disk is full"):
            prepare(mini.set, out, mirror=server.url)
    assert names(out) == ["download.lock.yaml", "source"]
    prepare(mini.set, out, mirror=server.url)
    assert len(server.asked) == 1
    assert names(out) == ["data", "dataset.yaml", "download.lock.yaml"]


def test_a_file_put_there_by_hand_needs_no_network(mini: Any, tmp_path: Path) -> None:
    source = tmp_path / "s" / "source"
    source.mkdir(parents=True)
    (source / "snemi.zip").write_bytes(mini.files["snemi.zip"])
    prepare(mini.set, tmp_path / "s", mirror="http://127.0.0.1:9")
    assert described(tmp_path / "s") is not None


def test_data_that_were_lost_are_made_again(mini: Any, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "s"
    prepare(mini.set, out, mirror=server.url)
    (out / "data" / "test.h5").unlink()
    assert described(out) is None
    prepare(mini.set, out, mirror=server.url)
    assert (out / "data" / "test.h5").exists()
    (out / "dataset.yaml").write_text("name: snemi3d")
    with pytest.raises(VolumeError, match="names no volumes"):
        prepare(mini.set, out, mirror=server.url)


def test_other_peoples_folders_are_left_alone(mini: Any, server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(VolumeError, match=r"holds other things, such as 'data'"):
        prepare(mini.set, tmp_path, mirror=server.url)
    assert names(tmp_path) == ["data"]
    with pytest.raises(VolumeError, match="is a file"):
        prepare(mini.set, tmp_path / "data" / "mine.txt", mirror=server.url)
    prepare(mini.set, tmp_path / "s", mirror=server.url)
    with pytest.raises(VolumeError, match="holds the data set 'snemi3d'"):
        prepare(data_set("cremi"), tmp_path / "s", mirror=server.url)
    (tmp_path / "s" / "download.lock.yaml").write_text("- 1")
    with pytest.raises(VolumeError, match="holds no settings"):
        prepare(mini.set, tmp_path / "s", mirror=server.url)
    (tmp_path / "s" / "download.lock.yaml").write_text("{")
    with pytest.raises(VolumeError, match="cannot be read"):
        prepare(mini.set, tmp_path / "s", mirror=server.url)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    mini: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    files = (mini.set.files[0].model_copy(update={"bytes": 300_000_000}),)
    wanted = mini.set.model_copy(update={"files": files, "room": 4.0})
    with pytest.raises(VolumeError, match=r"needs 1.20 GB in .* where 1.00 GB are free"):
        prepare(wanted, tmp_path / "s", mirror=server.url)
    assert server.asked == []


def test_what_no_program_can_fetch_says_how(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ask for access"):
        prepare(data_set("dinov3"), tmp_path / "s", mirror=None)
    assert not (tmp_path / "s").exists()


def test_a_mirror_is_an_address(mini: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="begins with http"):
        prepare(mini.set, tmp_path / "s", mirror="/srv/mirror")


def test_the_next_command_uses_what_is_for_training() -> None:
    base: dict[str, Any] = {"name": "x", "recipe": "em_neurons", "settings": ["a.b=1"], "voxel_size": [1, 1, 1]}
    known, test = {"split": "train", "image": "a", "labels": "b"}, {"split": "test", "image": "c", "labels": "d"}
    words = shlex.split(next_command({**base, "volumes": [known, test]}, Path("o")))
    assert words == shlex.split("neuropil train --recipe em_neurons --image o/a --labels o/b --set a.b=1 --out runs/x")
    raw = {"split": "test", "image": "c"}
    words = shlex.split(next_command({**base, "recipe": "mae", "volumes": [raw], "voxel_size": None}, Path("o")))
    assert words[:5] == ["neuropil", "pretrain", "--recipe", "mae", "--image"]
    assert words[-4:] == ["--voxel-size", "Z,Y,X", "--out", "runs/x"]
    checkpoint = {"name": "x", "volumes": [{"name": "x", "weights": "data/w.pth"}]}
    assert next_command(checkpoint, Path("o")) == "neuropil inflate o/data/w.pth --out runs/x"
