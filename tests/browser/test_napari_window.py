"""`neuropil view --napari` in a real window. napari is not part of the environment for tests: `make test-napari` has it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
from tests.browser.scenes import seen_volumes

from neuropil.io import save_volume
from neuropil.io.swc import write_swc
from neuropil.report.colours import ERROR_ALPHA, ERROR_COLOURS
from neuropil.report.mistakes import MERGE, SPLIT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("napari") is None, reason="napari is not installed: make test-napari"),
    pytest.mark.skipif(
        not os.environ.get("DISPLAY") and not shutil.which("xvfb-run"), reason="no display, no xvfb-run"
    ),
]

#: The command line's own road; once the window stands, it is photographed and closed.
LOOK = """
import json, sys
import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from neuropil import cli

picture, run = sys.argv.pop(1), napari.run

def look():
    viewer = napari.current_viewer()
    viewer.screenshot(picture, canvas_only=False)
    seen = [[l.name, type(l).__name__, l.scale.tolist(), l.translate.tolist()] for l in viewer.layers]
    print(json.dumps({"layers": seen, "axes": viewer.dims.ndisplay}))
    QApplication.instance().quit()

def timed(*words, **more):
    QTimer.singleShot(6000, look)
    run(*words, **more)

napari.run = timed
cli.main()
"""


def looked_at(tmp_path, *words: str) -> tuple[dict, np.ndarray]:
    """What the window says of its layers, and its picture (Y, X, 3)."""
    picture = tmp_path / f"window_{len(list(tmp_path.iterdir()))}.png"
    screen = [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24"]
    done = subprocess.run(
        [*screen, sys.executable, "-c", LOOK, str(picture), "view", *words, "--napari"],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert picture.is_file(), done.stderr
    said = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return said, np.asarray(imagecodecs.png_decode(picture.read_bytes()))[..., :3].astype(int)


def tinted(picture: np.ndarray, kind: int) -> int:
    """Pixels that lie between a class's colour at its opacity over black, and over white."""
    low = np.array(ERROR_COLOURS[kind]) * ERROR_ALPHA[kind]
    high = low + 255 * (1 - ERROR_ALPHA[kind])
    return int(((picture >= low - 6) & (picture <= high + 6)).all(axis=-1).sum())


def test_volumes_in_their_place_and_mistakes_in_their_colours(tmp_path):
    shown = seen_volumes()
    for name in ("image", "labels", "truth"):
        save_volume(getattr(shown, name), tmp_path / f"{name}.zarr")
    paths = [str(tmp_path / f"{name}.zarr") for name in ("image", "labels", "truth")]
    said, wrong = looked_at(tmp_path, paths[0], "--labels", paths[1], "--truth", paths[2])
    assert [name for name, *_ in said["layers"]] == ["image", "truth", "labels", "mistakes"]
    assert [kind for _, kind, *_ in said["layers"]] == ["Image", "Labels", "Labels", "Labels"]
    size = list(shown.image.voxel_size)
    assert all(scale == size and place == [s / 2 for s in size] for _, _, scale, place in said["layers"])
    assert said["axes"] == 2
    _, right = looked_at(tmp_path, paths[0], "--labels", paths[2], "--truth", paths[2])
    # napari's own buttons are blue in both
    assert all(tinted(wrong, kind) > tinted(right, kind) + 5000 for kind in (SPLIT, MERGE))


def test_a_tree_lies_on_its_image_in_space(tmp_path):
    shown = seen_volumes()
    save_volume(shown.image, tmp_path / "image.zarr")
    write_swc(shown.skeletons["a line"], tmp_path / "t.swc")
    words = (str(tmp_path / "image.zarr"), "--skeletons", str(tmp_path / "t.swc"))
    said, picture = looked_at(tmp_path, *words)
    assert [kind for _, kind, *_ in said["layers"]] == ["Image", "Vectors"]
    assert said["axes"] == 3
    orange = (picture[..., 0] - picture[..., 2] > 80) & (picture[..., 1] > 60)
    assert orange[:, 330:].sum() > 200  # beside the panel of the layer, where its colour shows too
