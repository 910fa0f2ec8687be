"""What is served over HTTP is what was given; who may ask, where it listens, and what is said when it cannot."""

from __future__ import annotations

import importlib
import json
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("neuroglancer")

from neuropil.config.view import ViewConfig
from neuropil.errors import ConfigError, InputError
from neuropil.view import Shown, export, exported, layers_of, serve, serve_folder
from neuropil.volume import Volume, open_volume

HERE = {"host": "127.0.0.1", "port": 0}


@pytest.fixture
def viewing(image, labels):
    view = serve(layers_of(Shown(image=image, labels=labels), ViewConfig()), title="t", **HERE)
    yield view
    view.close()


def fetched(url: str, **headers: str):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20)


def base_of(url: str) -> str:
    return url.split("#!")[1].rpartition("/")[0]


def test_a_volume_is_read_back_over_the_network(viewing, image, labels):
    back = open_volume(f"{base_of(viewing.url)}/image")
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    assert back.box == image.box
    ids = open_volume(f"{base_of(viewing.url)}/labels").numpy()
    np.testing.assert_array_equal(ids[2:], labels.numpy()[2:])


def test_the_link_is_a_viewer_and_a_state(viewing):
    page, state = viewing.url.split("#!")
    assert b"<title>neuroglancer</title>" in fetched(page).read()
    found = json.load(fetched(state))
    assert tuple(x["name"] for x in found["layers"]) == viewing.layers == ("image", "labels")
    for layer in found["layers"]:
        assert fetched(layer["source"].removeprefix("precomputed://") + "/info").status == 200


def test_only_exported_views_may_be_read_by_other_pages(viewing, tmp_path, image):
    answer = fetched(f"{base_of(viewing.url)}/image/info", Origin="http://elsewhere")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    viewing.close()
    folder = export(
        layers_of(Shown(image=image), ViewConfig()), tmp_path / "seen", title="t", host="h", port=1, meshes=0
    )
    again = serve_folder(folder, exported(folder)["state"], **HERE)
    try:
        answer = fetched(f"{base_of(again.url)}/image/info", Origin="http://elsewhere")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        state = json.load(fetched(f"{base_of(again.url)}/state.json"))
        assert state["layers"][0]["source"] == f"precomputed://{base_of(again.url)}/image"
        np.testing.assert_array_equal(open_volume(f"{base_of(again.url)}/image").numpy(), image.numpy())
    finally:
        again.close()


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-4", 206, slice(-4, None)),
        ("", 200, slice(None)),
    ],
)
def test_parts_of_a_file(viewing, asked, status, expected):
    whole = fetched(f"{base_of(viewing.url)}/image/info").read()
    answer = fetched(f"{base_of(viewing.url)}/image/info", Range=asked)
    assert (answer.status, answer.read()) == (status, whole[expected])


@pytest.mark.parametrize(
    "path", ["image/%00", "nothing/info", "image/nothing", "image/../../state.json", "../../../etc/hostname"]
)
def test_what_is_not_there(viewing, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(f"{base_of(viewing.url)}/{path}")
    assert caught.value.code == 404


def test_a_part_that_is_not_there(viewing):
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(f"{base_of(viewing.url)}/image/info", Range="bytes=99999-")
    assert caught.value.code == 416


def test_a_broken_file_is_told_of_and_the_rest_is_served(capsys):
    from neuropil.errors import VolumeError

    class Broken:
        shape, dtype = (8, 8, 8), np.dtype(np.uint8)
        good = True

        def __getitem__(self, key):
            if not self.good:
                raise VolumeError("x.zarr: reading failed")
            return np.zeros([k.stop - k.start for k in key], np.uint8)

    array = Broken()
    view = serve(layers_of(Shown(image=Volume(array, (1, 1, 1), kind="image")), ViewConfig()), title="t", **HERE)
    try:
        array.good = False
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetched(f"{base_of(view.url)}/image/1_1_1/0-8_0-8_0-8")
        assert caught.value.code == 500
        assert fetched(f"{base_of(view.url)}/image/info").status == 200
    finally:
        view.close()
    assert "reading failed" in capsys.readouterr().err


def test_a_port_that_is_taken(image):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1:{port}"):
            serve(layers_of(Shown(image=image), ViewConfig()), title="t", host="127.0.0.1", port=port)


def test_without_the_package_it_says_how_to_install_it(image, monkeypatch):
    real = importlib.import_module

    def missing(name, *more):
        if name == "neuroglancer":
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'neuropil\[view\]'"):
        serve(layers_of(Shown(image=image), ViewConfig()), title="t", **HERE)


def test_a_notebook_shows_a_link(viewing):
    assert f'<a href="{viewing.url}"' in viewing._repr_html_()


def test_names_in_a_view_that_somebody_sent_are_no_html(viewing):
    from dataclasses import replace

    shown = replace(viewing, layers=("<img src=x onerror=alert(1)>",))._repr_html_()
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_closing_an_earlier_view_leaves_the_later_one(viewing, image):
    later = serve(layers_of(Shown(image=image), ViewConfig()), title="t", **HERE)
    try:
        viewing.close()
        assert fetched(f"{base_of(later.url)}/image/info").status == 200
    finally:
        later.close()
    with pytest.raises(urllib.error.URLError):
        fetched(f"{base_of(later.url)}/image/info")
