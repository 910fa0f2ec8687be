"""`neuropil view` in a real browser: nothing on the console, layers named and drawn, mistakes where they are made."""

from __future__ import annotations

import time
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest

pytest.importorskip("neuroglancer")

from tests.browser.driven import Page
from tests.browser.scenes import seen_volumes
from tests.browser.test_report_page import browser  # noqa: F401  (a fixture)

from neuropil.config.view import ViewConfig
from neuropil.view import export, exported, layers_of, serve, serve_folder

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = (900, 600)
NAMES = ["image", "affinities", "truth", "labels", "mistakes", "skeletons"]
LOADED = "viewer.isReady() && viewer.layerManager.managedLayers.every((l) => l.isReady())"


@pytest.fixture(scope="module", params=["served", "exported"])
def page(request, browser, tmp_path_factory) -> Iterator[Page]:  # noqa: F811
    """The same volumes, served as they are and from a folder."""
    folder = tmp_path_factory.mktemp("view")
    layers, where = layers_of(seen_volumes(), ViewConfig(meshes=4)), {"host": "127.0.0.1", "port": 0}
    if request.param == "served":
        viewing = serve(layers, title="t", **where)
    else:
        seen = export(layers, folder / "seen", title="t", host="h", port=1, meshes=4)
        viewing = serve_folder(seen, exported(seen)["state"], **where)
    with Page(browser, folder, SIZE) as page:
        page.open(viewing.url)
        page.wait(f"document.title && {LOADED}", 300)
        yield page
    viewing.close()


def pixels(page: Page) -> np.ndarray:
    time.sleep(0.5)
    return np.asarray(imagecodecs.png_decode(page.picture()))[..., :3].astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int], by: int = 60) -> int:
    return int((np.abs(picture - np.array(colour)).sum(axis=-1) < by).sum())


def test_layers_are_named_and_the_console_is_silent(page):
    assert page.run("viewer.layerManager.managedLayers.map((l) => l.name)") == NAMES
    shown = page.run("document.body.innerText")
    assert all(name in shown for name in (*NAMES, "split", "merge", "border", "missed"))
    assert [line for line in page.said if not line.startswith("log: ")] == []


def test_every_panel_is_drawn(page):
    picture = pixels(page)
    page_width = int(
        page.run("document.querySelector('.neuroglancer-rendered-data-panel').getBoundingClientRect().width")
    )
    top = int(page.run("document.querySelector('.neuroglancer-rendered-data-panel').getBoundingClientRect().top"))
    height = int(page.run("document.querySelector('.neuroglancer-rendered-data-panel').getBoundingClientRect().height"))
    for row in (0, 1):
        for column in (0, 1):
            y, x = top + row * height, column * page_width
            panel = picture[y + 40 : y + height - 40, x + 40 : x + page_width - 40]
            assert panel.std() > 20, (row, column)
            assert (panel.max(axis=-1) > 40).mean() > 0.1, (row, column)


def test_mistakes_are_drawn_in_their_colour_and_can_be_hidden(page):
    blue = (45, 140, 255)
    drawn = near(pixels(page), blue, 150)
    page.run("viewer.layerManager.getLayerByName('mistakes').setVisible(false)")
    page.wait(LOADED)
    hidden = near(pixels(page), blue, 150)
    page.run("viewer.layerManager.getLayerByName('mistakes').setVisible(true)")
    page.wait(LOADED)
    assert drawn > hidden + 500


@pytest.mark.parametrize("place", [(24, 40, 48), (30, 11, 70), (7, 60, 21)])
def test_the_value_at_a_place_is_that_of_the_volume(page, place):
    z, y, x = place
    page.run(f"viewer.position.value = Float32Array.of({x + 0.5}, {y + 0.5}, {z + 0.5})")
    page.wait(LOADED)
    layer = "viewer.layerManager.getLayerByName('labels').layer.renderLayers[0]"
    page.wait(f"{layer}.getValueAt(viewer.position.value) !== null")
    assert page.run(f"String({layer}.getValueAt(viewer.position.value))") == str(seen_volumes().labels.numpy()[place])


def test_meshes_and_skeletons_are_in_the_third_dimension(page):
    loaded = page.run(
        "viewer.layerManager.managedLayers.filter((l) => l.layer.displayState?.segmentationGroupState)"
        ".map((l) => [l.name, [...l.layer.displayState.segmentationGroupState.value.visibleSegments].length])"
    )
    assert dict(loaded) == {"truth": 4, "labels": 4, "skeletons": 1}
