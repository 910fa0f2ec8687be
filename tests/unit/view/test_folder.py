"""Exported folders hold the volumes, whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuropil.config.view import ViewConfig
from neuropil.errors import InputError, VolumeError
from neuropil.view import Shown, export, exported, layers_of
from neuropil.view.skeletons import skeleton_files
from neuropil.volume import open_volume

WHERE = {"title": "t", "host": "10.0.0.1", "port": 8000, "meshes": 3}


@pytest.fixture
def folder(tmp_path, image, truth, labels, tree):
    layers = layers_of(Shown(image=image, labels=labels, truth=truth, skeletons={"a": tree}), ViewConfig())
    return export(layers, tmp_path / "seen", **WHERE)


def test_volumes_come_back(folder, image, truth):
    back = open_volume(folder / "image")
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    assert (back.box, back.voxel_size) == (image.box, image.voxel_size)
    ids = open_volume(folder / "truth").numpy()
    assert ids[0, 0, 0] == 0  # what CREMI calls background
    np.testing.assert_array_equal(ids[2:], truth.numpy()[2:])
    assert set(np.unique(open_volume(folder / "mistakes").numpy())) == {0, 1, 2, 3, 5}


def test_meshes_of_the_largest_and_skeletons_are_there(folder, tree):
    assert json.loads((folder / "labels" / "info").read_text())["mesh"] == "mesh"
    assert len(list((folder / "labels" / "mesh").glob("*.mesh"))) == 3
    assert (folder / "labels" / "mesh" / "5:0").is_file()
    assert (folder / "skeletons" / "1").read_bytes() == skeleton_files({"a": tree})["1"]


def test_the_link_and_the_state_name_the_server(folder):
    assert (folder / "link.txt").read_text() == "http://10.0.0.1:8000/v/view/#!http://10.0.0.1:8000/data/state.json\n"
    found = exported(folder)
    assert (found["host"], found["port"]) == ("10.0.0.1", 8000)
    assert [x["source"].rpartition("/")[2] for x in found["state"]["layers"]] == [
        "image",
        "truth",
        "labels",
        "mistakes",
        "skeletons",
    ]
    assert all((folder / x["source"].rpartition("/")[2] / "info").is_file() for x in found["state"]["layers"])


def test_nothing_is_written_over(folder, image):
    with pytest.raises(VolumeError, match="exists already"):
        export(layers_of(Shown(image=image), ViewConfig()), folder, **WHERE)


def test_a_failure_leaves_nothing(tmp_path, image, monkeypatch):
    def broken(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("neuropil.view.folder.FORMAT.save", broken)
    with pytest.raises(VolumeError, match="the disk is full"):
        export(layers_of(Shown(image=image), ViewConfig()), tmp_path / "seen", **WHERE)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_copied(tmp_path, tree):
    (tmp_path / "given" / "names").mkdir(parents=True)
    for name, content in skeleton_files({"a": tree}).items():
        (tmp_path / "given" / name).write_bytes(content)
    folder = export(layers_of(Shown(skeletons=tmp_path / "given"), ViewConfig()), tmp_path / "seen", **WHERE)
    assert (folder / "skeletons" / "names" / "info").is_file()


def test_a_view_of_another_version(folder):
    (folder / "view.json").write_text('{"neuropil_view": 99}')
    with pytest.raises(InputError, match="format 99"):
        exported(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [("view.json", '{"neuropil_view": 1}'), ("state.json", "{}"), ("state.json", '{"layers": [{"name": "a"}]}')],
)
def test_a_view_that_was_changed_by_hand_is_one_clear_error(folder, file, content):
    (folder / file).write_text(content)
    with pytest.raises(InputError, match="export it again"):
        exported(folder)
