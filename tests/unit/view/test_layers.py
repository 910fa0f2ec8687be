"""Layers: what is given is what is shown, in order, named, each where it lies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuropil.affinities import NEAREST
from neuropil.config.view import ViewConfig
from neuropil.errors import InputError
from neuropil.report.colours import ERROR_COLOURS
from neuropil.report.mistakes import MERGE, SPLIT
from neuropil.view.layers import Shown, contrast, layers_of, mistakes_shader, shortest
from neuropil.view.skeletons import skeleton_files
from neuropil.volume import Volume

SETTINGS = ViewConfig()


def test_everything_in_its_order(image, truth, labels, tree):
    evidence = Volume(np.zeros((3, *image.shape), np.uint8), image.voxel_size, image.offset, "czyx", "affinities")
    layers = layers_of(Shown(image, evidence, NEAREST, labels, truth, {"a": tree}), SETTINGS)
    assert [x.name for x in layers] == ["image", "affinities", "truth", "labels", "mistakes", "skeletons"]
    assert [x.drawn["type"] for x in layers] == [
        "image",
        "image",
        "segmentation",
        "segmentation",
        "image",
        "segmentation",
    ]
    assert [x.drawn.get("visible", True) for x in layers] == [True, False, False, True, True, True]
    assert {x.box for x in layers[:5]} == {image.box}


def test_the_largest_objects_are_chosen_for_three_dimensions(labels):
    layer = layers_of(Shown(labels=labels), ViewConfig(meshes=2))[0]
    assert layer.drawn["segments"][0] == "5"
    assert len(layer.drawn["segments"]) == 2
    assert json.loads(layer.served.get("info"))["mesh"] == "mesh"
    assert layer.served.get("mesh/5.mesh")


def test_suffixes_and_folders(image):
    layer = layers_of(Shown(image=image, suffix=" held back"), SETTINGS)[0]
    assert (layer.name, layer.folder) == ("image held back", "image_held_back")


def test_shortest_steps_along_x_y_z():
    far = [(0, 0, -9), (-2, 0, 0), (0, -3, -3), (0, 0, -1), (0, -1, 0), (-1, 0, 0)]
    assert shortest(tuple(far)) == [3, 4, 5]
    assert shortest(((0, 3, 3),)) == [0]


def test_affinities_are_sent_x_y_z_for_red_green_blue():
    values = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 2, 2, 2), np.uint8)
    evidence = Volume(values, (1, 1, 1), axes="czyx", kind="affinities")
    layer = layers_of(Shown(affinities=evidence, offsets=NEAREST), SETTINGS)[0]
    sent = np.frombuffer(layer.served.get("1_1_1/0-2_0-2_0-2"), np.uint8).reshape(3, 8)
    assert sent[:, 0].tolist() == [2, 1, 0]
    assert "vec3(toNormalized(getDataValue(0))" in layer.drawn["shader"]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_another_prediction_shows_its_first_channels(channels):
    made = Volume(np.zeros((channels, 2, 2, 2), np.uint8), (1, 1, 1), axes="czyx", kind="prediction")
    layer = layers_of(Shown(affinities=made), SETTINGS)[0]
    assert layer.name == "prediction"
    assert json.loads(layer.served.get("info"))["num_channels"] == min(3, channels)
    assert layer.drawn["shader"].count("getDataValue") == (3 if channels != 2 else 2)


def test_mistakes_are_told_by_names_in_the_report_s_colours():
    shader = mistakes_shader()
    for name, kind in (("split", SPLIT), ("merge", MERGE)):
        colour = "#" + "".join(f"{v:02x}" for v in ERROR_COLOURS[kind])
        assert f"#uicontrol bool {name} checkbox(default=true)" in shader
        assert f'{name}_colour color(default="{colour}")' in shader
        assert f"kind == {kind}" in shader


def test_contrast_leaves_out_what_is_rare():
    values = np.full((8, 64, 64), 100, np.float32)
    values[:, :32] = 50
    values[0, 0, 0] = 1e6
    low, high = contrast(Volume(values, (1, 1, 1), kind="image"))
    assert (low, high) == (50, 100)
    assert contrast(Volume(np.zeros((2, 2, 2)), (1, 1, 1), kind="image")) == (0, 1)


def test_precomputed_folders_are_handed_out(tmp_path, tree):
    for name, content in skeleton_files({"a": tree}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    layer = layers_of(Shown(skeletons=tmp_path), SETTINGS)[0]
    assert layer.served.get("1") == skeleton_files({"a": tree})["1"]
    with pytest.raises(InputError, match=r"meshes \(its info says neuroglancer_skeletons\)"):
        layers_of(Shown(meshes=tmp_path), SETTINGS)
    with pytest.raises(InputError, match="no folder of precomputed meshes"):
        layers_of(Shown(meshes=tmp_path / "nothing"), SETTINGS)


def test_nothing_to_view():
    with pytest.raises(InputError, match="nothing to view"):
        layers_of(Shown(), SETTINGS)
