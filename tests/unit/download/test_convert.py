"""Each set in miniature, in its real layout: every voxel arrives, at the right size, paired and split as published."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.download.miniatures import MAKERS, Miniature, bigneuron, hdf5, png, snemi3d, tarred, tif, zipped

from neuropil.download import convert as layouts
from neuropil.download.convert import Entry, Work, convert
from neuropil.errors import NeuropilError, VolumeError
from neuropil.io.swc import read_swc
from neuropil.volume import open_volume, require_kind, require_same_grid


def converted(mini: Miniature, folder: Path) -> list[Entry]:
    source, out = folder / "source", folder / "out"
    for place in (source, out):
        place.mkdir()
    for name, body in mini.files.items():
        (source / name).write_bytes(body)
    return convert(Work(mini.set, source, out, folder / "scratch"))


@pytest.mark.parametrize("name", MAKERS)
def test_every_voxel_arrives_with_its_size_and_kind(name: str, tmp_path: Path) -> None:
    mini = MAKERS[name]()
    entries = converted(mini, tmp_path)
    met = set()
    for entry in entries:
        volumes = []
        for kind in ("image", "labels"):
            if kind not in entry:
                continue
            volume = require_kind(open_volume(tmp_path / "out" / entry[kind]), kind)
            assert volume.voxel_size == mini.set.voxel_size
            np.testing.assert_array_equal(volume.numpy(), mini.arrays[f"{entry['name']}/{kind}"])
            met.add(f"{entry['name']}/{kind}")
            volumes.append(volume)
        if len(volumes) == 2:
            require_same_grid(*volumes)
    assert met == set(mini.arrays)


def test_splits_are_those_that_are_published(tmp_path: Path) -> None:
    found = {}
    for name, make in MAKERS.items():
        (tmp_path / name).mkdir()
        found[name] = [(e["name"], e["split"], "labels" in e) for e in converted(make(), tmp_path / name)]
    assert found["cremi"] == [("A", "train", True), ("B", "train", True), ("C", "train", True)]
    assert found["cremi_test"] == [("A+", "test", False), ("B+", "test", False), ("C+", "test", False)]
    assert found["snemi3d"] == [("train", "train", True), ("test", "test", False)]
    assert found["mitoem"] == [("train", "train", True), ("val", "val", True), ("test", "test", False)]
    assert found["lucchi"] == [("train", "train", True), ("test", "test", True)]
    assert [(n, s) for n, s, _ in found["fib25"]][-1] == ("tstvol-520-1", "test")


def test_neurons_come_with_their_trees(tmp_path: Path) -> None:
    mini = bigneuron(tmp_path)
    entries = converted(mini, tmp_path)
    # the folder without an image is left out; of two trees the one named after the image is taken
    assert [e["name"] for e in entries] == ["p_fly/one.tif", "p_fly/two"]
    for entry in entries:
        image = open_volume(tmp_path / "out" / entry["image"], voxel_size=(2, 1, 1))
        np.testing.assert_array_equal(image.numpy(), mini.arrays["raw"])
        [tree] = [read_swc(tmp_path / "out" / entry["labels"], units="voxel", voxel_size=(2.0, 1.0, 1.0))]
        assert tree.nodes_nm.shape == (2, 3)


def test_neurons_in_any_folders_stay_in_the_data_sets_own_and_apart(tmp_path: Path) -> None:
    """At the top of an archive there is no folder to name a neuron after; deeper down two folders may share a name."""
    mini = bigneuron(tmp_path)
    with zipfile.ZipFile(io.BytesIO(mini.files["gold166.zip"])) as packed:
        image = packed.read("gold166/p_fly/two/image.tif")
    trees = {folder: b"1 2 3 4 %d 1 -1\n" % at for at, folder in enumerate(("", "a/fly/one/", "b/fly/one/"))}
    members = {
        f"{folder}{name}": body for folder, swc in trees.items() for name, body in (("i.tif", image), ("t.swc", swc))
    }
    entries = converted(replace(mini, files={"gold166.zip": zipped(members)}), tmp_path)
    assert len({entry["name"] for entry in entries}) == len(entries) == 3
    kept = {(tmp_path / "out" / entry["labels"]).resolve() for entry in entries}
    assert all((tmp_path / "out").resolve() in path.parents for path in kept)
    assert {path.read_bytes() for path in kept} == set(trees.values())


def test_an_archive_of_another_kind_is_as_good(tmp_path: Path) -> None:
    mini = snemi3d()
    members = {f"snemi/{k.split('/')[-1]}": tif(v) for k, v in _snemi_members(mini).items()}
    mini.files["snemi.zip"] = tarred(members)
    entries = converted(mini, tmp_path)
    np.testing.assert_array_equal(
        open_volume(tmp_path / "out" / entries[0]["labels"]).numpy(), mini.arrays["train/labels"]
    )


def _snemi_members(mini: Miniature) -> dict[str, np.ndarray]:
    names = {"train-input.tif": "train/image", "train-labels.tif": "train/labels", "test-input.tif": "test/image"}
    return {file: mini.arrays[key] for file, key in names.items()}


def test_files_that_are_kept_are_no_second_copy(tmp_path: Path) -> None:
    converted(MAKERS["cremi"](), tmp_path)
    assert (tmp_path / "out" / "sample_A.hdf").stat().st_nlink == 2


def test_a_disk_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    entries = converted(MAKERS["cremi"](), tmp_path)
    assert open_volume(tmp_path / "out" / entries[0]["image"]).shape == (4, 10, 12)


def broken(name: str) -> Miniature:
    """A set whose source no longer is what it was."""
    mini = MAKERS[name.split()[0]]()
    match name:
        case "cremi other voxels":
            said = {"resolution": (50.0, 4.0, 4.0)}
            both = {"volumes/raw": (mini.arrays["A/image"], said)}
            mini.files["sample_A.hdf"] = hdf5(both)
        case "cremi no labels":
            mini.files["sample_B.hdf"] = hdf5({"volumes/raw": (mini.arrays["B/image"], {"resolution": (40, 4, 4)})})
        case "snemi3d one file less":
            mini.files["snemi.zip"] = zipped({"image/train-input.tif": tif(mini.arrays["train/image"])})
        case "fib25 no table":
            table = {"stack": (mini.arrays["training_sample2/labels"], {}), "transforms": (np.zeros((0, 2)), {})}
            mini.files["training_sample2-groundtruth.h5"] = hdf5(table)
        case "fib25 labels of another shape":
            stack = np.ones((2, 3, 4), np.uint64)
            table = {"stack": (stack, {}), "transforms": (np.ones((1, 2), np.uint64), {})}
            mini.files["training_sample2-groundtruth.h5"] = hdf5(table)
        case "mitoem a section missing":
            sections = {f"im/im{z:04d}.png": png(mini.arrays["train/image"][0]) for z in (0, 1, 3)}
            mini.files["EM30-R-im.zip"] = zipped(sections)
        case "mitoem a section twice":
            page = tif(mini.arrays["train/labels"][:1])
            twice = {f"{f}/seg{z:04d}.tif": page for f in ("mito-train-v2", "mito-val-v2") for z in (0, 1)}
            mini.files["EM30-R-mito-train-val-v2.zip"] = zipped(twice)
        case "lucchi no test":
            page = png(mini.arrays["train/image"][0])
            mini.files["lucchi_pp.zip"] = zipped({f"L/Train_{way}/0.png": page for way in ("In", "Out")})
        case "isbi2012 cut short":
            mini.files["isbi.h5"] = mini.files["isbi.h5"][:-200]
    return mini


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cremi other voxels", r"\(50.0, 4.0, 4.0\) nm"),
        ("cremi no labels", "neuron_ids"),
        ("snemi3d one file less", "no test-input.tif, train-labels.tif"),
        ("fib25 no table", "transforms with rows"),
        ("fib25 labels of another shape", "shapes"),
        ("mitoem a section missing", "without a gap"),
        ("mitoem a section twice", "without a gap"),
        ("lucchi no test", "no Test_In, Test_Out"),
        ("isbi2012 cut short", "isbi.h5"),
    ],
)
def test_a_source_that_changed_is_one_clear_error(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NeuropilError, match=message):
        converted(broken(name), tmp_path)


def test_an_archive_without_neurons_is_refused(tmp_path: Path) -> None:
    mini = replace(bigneuron(tmp_path), files={"gold166.zip": zipped({"gold166/readme.txt": b""})})
    with pytest.raises(VolumeError, match="one image"):
        converted(mini, tmp_path)


def test_every_layout_of_the_table_can_be_made() -> None:
    from neuropil.download.catalogue import catalogue

    assert {s.layout for s in catalogue().values()} == set(layouts._LAYOUTS)
