"""The state: sources, the place looked at, the voxel size of its axes."""

from __future__ import annotations

from neuropil.config.view import ViewConfig
from neuropil.view.layers import Shown, layers_of
from neuropil.view.state import at, link_of, state_of

BASE = "http://there:1/data"


def test_axes_are_x_y_z_in_metres_and_the_middle_is_looked_at(image):
    state = state_of(layers_of(Shown(image=image), ViewConfig()), BASE, "a title")
    assert state["title"] == "a title"
    assert {k: round(v[0] * 1e9, 6) for k, v in state["dimensions"].items()} == {"x": 4, "y": 8, "z": 40}
    assert list(state["dimensions"]) == ["x", "y", "z"]
    # voxels: x 10..140, y 10..80, z 3..23
    assert state["position"] == [75.5, 45.5, 13.5]


def test_layers_have_names_and_sources(image, labels):
    layers = layers_of(Shown(image=image, labels=labels, suffix=" here"), ViewConfig())
    state = state_of(layers, BASE, "t")
    assert [(x["name"], x["source"]) for x in state["layers"]] == [
        ("image here", f"precomputed://{BASE}/image_here"),
        ("labels here", f"precomputed://{BASE}/labels_here"),
    ]


def test_mistakes_are_selected(image, truth, labels):
    state = state_of(layers_of(Shown(image=image, labels=labels, truth=truth), ViewConfig()), BASE, "t")
    assert state["selectedLayer"]["layer"] == "mistakes"


def test_where_something_was_predicted_is_looked_at(image, labels):
    part = labels.crop(labels.box.grown((-5, -20, -20)))
    state = state_of(layers_of(Shown(image=image, labels=part), ViewConfig()), BASE, "t")
    whole = state_of(layers_of(Shown(image=image), ViewConfig()), BASE, "t")
    assert state["projectionScale"] < whole["projectionScale"]


def test_only_skeletons_have_a_state_too(tree):
    state = state_of(layers_of(Shown(skeletons={"a": tree}), ViewConfig()), BASE, "t")
    assert "position" not in state
    assert state["layers"][0]["segments"] == ["1"]


def test_a_state_at_another_address(image):
    state = state_of(layers_of(Shown(image=image), ViewConfig()), BASE, "t")
    moved = at(state, "http://here:2/data")
    assert moved["layers"][0]["source"] == "precomputed://http://here:2/data/image"
    assert state["layers"][0]["source"].startswith(f"precomputed://{BASE}/")


def test_links():
    assert link_of("http://h:1", "abc") == "http://h:1/v/abc/#!http://h:1/data/state.json"
