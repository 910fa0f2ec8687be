"""napari's hooks: a valid manifest, layers in their place, what is saved comes back."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import neuropil.view
from neuropil.errors import ConfigError, InputError
from neuropil.io import save_volume
from neuropil.io.swc import write_swc
from neuropil.report.colours import ERROR_ALPHA, ERROR_COLOURS
from neuropil.report.mistakes import MATCHED, SPLIT
from neuropil.view.layers import Shown
from neuropil.view.napari import LazyArray, get_reader, in_space, layer, layers, show, write_image, write_labels
from neuropil.volume import Volume, open_volume

MANIFEST = Path(neuropil.view.__file__).with_name("napari.yaml")
ROOT = Path(__file__).parents[3]


def test_the_manifest_is_valid_and_its_functions_are_there():
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert {c.id for c in manifest.contributions.commands} == {
        "neuropil.get_reader",
        "neuropil.write_image",
        "neuropil.write_labels",
    }


def test_the_package_tells_napari_of_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["napari.manifest"]["neuropil"] == "neuropil.view:napari.yaml"
    assert "view/napari.yaml" in project["tool"]["setuptools"]["package-data"]["neuropil"]


def test_napari_is_not_imported():
    code = "import sys, neuropil.view.napari; sys.exit('napari' in sys.modules or 'neuroglancer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_layers_lie_where_the_volume_does(image):
    data, words, kind = layer(image)
    assert kind == "image"
    assert words["scale"] == [40, 8, 4]
    # napari places the middle of the first voxel; ours begins at (120, 80, 40)
    assert words["translate"] == [140, 84, 42]
    assert data.shape == image.shape
    assert layer(Volume(np.zeros((2, 3, 4, 5)), (1, 1, 1), axes="czyx", kind="prediction"))[1]["scale"] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        (3, slice(5, 9)),
        (Ellipsis, 7),
        (slice(None), 4, slice(2, 60, 3)),
        Ellipsis,
        (slice(9, 2, -2), 0),
        slice(2, 5, -1),
        slice(None, None, -1),
        slice(3, 3),
    ],
)
def test_a_lazy_array_is_indexed_as_numpy_is(image, key):
    np.testing.assert_array_equal(LazyArray(image)[key], image.numpy()[key])


def test_a_lazy_array_ends():
    lazy = LazyArray(Volume(np.zeros((2, 3, 4)), (1, 1, 1), kind="image"))
    with pytest.raises(IndexError):
        lazy[2]
    assert (np.asarray(lazy).shape, len(lazy)) == ((2, 3, 4), 2)


def test_a_reader_for_volumes_and_trees_and_for_nothing_else(tmp_path, image, tree):
    save_volume(image, tmp_path / "a.zarr")
    write_swc(tree, tmp_path / "t.swc")
    data, words, kind = get_reader(str(tmp_path / "a.zarr"))(str(tmp_path / "a.zarr"))[0]
    np.testing.assert_array_equal(data[...], image.numpy())
    lines, words, kind = get_reader(str(tmp_path / "t.swc"))(str(tmp_path / "t.swc"))[0]
    assert (kind, words["name"], len(lines)) == ("vectors", "t", 2)
    np.testing.assert_allclose(np.cumsum(lines[0], axis=0), tree.nodes_nm[[1, 0]])
    assert [get_reader(p) for p in ("a.docx", "folder", ["a.tif", "b.tif"])] == [None] * 3


@pytest.mark.parametrize("write", [write_image, write_labels])
def test_what_napari_saves_comes_back(tmp_path, image, labels, write):
    volume = image if write is write_image else labels
    data, words, _ = layer(volume)
    path = str(tmp_path / "saved.zarr")
    assert write(path, np.asarray(data), words) == [path]
    back = open_volume(path)
    np.testing.assert_array_equal(back.numpy(), volume.numpy())
    assert (back.box, back.kind) == (volume.box, volume.kind)


@pytest.mark.parametrize("placed", [{}, {"translate": (0.0, 0.0, 0.0)}])
def test_a_layer_that_was_made_in_napari_begins_where_the_world_does(tmp_path, placed):
    write_labels(str(tmp_path / "a.zarr"), np.ones((2, 3, 4), np.uint32), {"scale": (40.0, 8.0, 8.0), **placed})
    assert open_volume(tmp_path / "a.zarr").offset == (0, 0, 0)


def test_a_layer_of_other_axes_is_not_saved(tmp_path):
    with pytest.raises(InputError, match="three axes"):
        write_image(str(tmp_path / "a.zarr"), np.zeros((4, 4)), {"scale": (1, 1)})


def test_all_that_is_shown(image, truth, labels, tree):
    found = layers(Shown(image=image, truth=truth, labels=labels, skeletons={"a": tree}))
    assert [(words["name"], kind) for _, words, kind in found] == [
        ("image", "image"),
        ("truth", "labels"),
        ("labels", "labels"),
        ("mistakes", "labels"),
        ("a", "vectors"),
    ]
    colours = next(words["colormap"] for _, words, _ in found if words["name"] == "mistakes")
    assert colours[SPLIT] == (*(value / 255 for value in ERROR_COLOURS[SPLIT]), ERROR_ALPHA[SPLIT])
    assert MATCHED not in colours
    assert colours[None][3] == 0  # what is right is left clear
    with pytest.raises(InputError, match="without --napari"):
        layers(Shown(meshes=Path("x")))


def test_a_tree_is_shown_in_space_where_nothing_is_in_its_way(image, labels, tree):
    assert in_space(Shown(image=image, skeletons={"a": tree}))
    assert not in_space(Shown(image=image, labels=labels, skeletons={"a": tree}))
    large = Volume(np.broadcast_to(np.uint8(0), (512, 1024, 1024)), (8, 8, 8), kind="image")
    assert not in_space(Shown(image=large, skeletons={"a": tree}))


@pytest.mark.skipif(importlib.util.find_spec("napari") is not None, reason="napari is installed")
def test_without_napari_it_says_how_to_install_it(image):
    with pytest.raises(ConfigError, match=r"pip install 'neuropil\[napari\]'"):
        show([Shown(image=image)])
