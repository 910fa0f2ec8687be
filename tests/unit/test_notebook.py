"""What notebooks show is well-formed, holds its picture, says what is known, and never reads much."""

from __future__ import annotations

import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from neuropil import open_volume
from neuropil.affinities import NEAREST, Affinities
from neuropil.errors import VolumeError
from neuropil.notebook import WINDOW, curve_html, framed, section
from neuropil.volume import Volume

VOID = {"img"}


class Page(HTMLParser):
    """Checks nesting; collects cells and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.images: list[dict[str, str]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append({k: v or "" for k, v in attrs})
        if tag == "td":
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data

    @property
    def facts(self) -> dict[str, str]:
        return dict(zip(self.cells[::2], self.cells[1::2], strict=True))

    @property
    def pixels(self) -> Any:
        (image,) = self.images
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        return imagecodecs.png_decode(base64.b64decode(data))


def test_an_image_shows_its_middle_section_in_true_proportions() -> None:
    values = np.zeros((5, 20, 40), np.uint8)
    values[2] = np.arange(40)
    page = Page(Volume(values, (40, 8, 4), offset=(80, 0, 0), name="a<b>.h5:raw")._repr_html_())
    assert page.pixels.shape[:2] == (20, 40)
    assert (np.diff(page.pixels.astype(int), axis=1) >= 0).all()
    (image,) = page.images
    # 160 nm high, 160 nm wide
    assert image["width"] == image["height"]
    assert "a<b>.h5:raw" in page.text
    assert page.facts["shape"] == "5 x 20 x 40 (zyx)"
    assert page.facts["voxel size"] == "40 x 8 x 4 nm"
    assert page.facts["extent"] == "0.2 x 0.16 x 0.16 µm"
    assert page.facts["kind"] == "image (inferred)"
    assert page.facts["offset"] == "80 x 0 x 0 nm"


def test_labels_differ_in_colour_and_background_is_black() -> None:
    labels = np.zeros((1, 4, 6), np.uint64)
    labels[0, :, 2:4], labels[0, :, 4:] = 7, 2**63
    pixels = Page(Volume(labels, (8, 8, 8), kind="labels")._repr_html_()).pixels
    assert not pixels[:, :2].any()
    assert len({tuple(p) for p in pixels[0]}) == 3


def test_affinities_show_their_first_channels_and_offsets() -> None:
    stored = np.zeros((3, 1, 4, 4), np.uint8)
    stored[0], stored[2] = 255, 128
    page = Page(Affinities(Volume(stored, (8, 8, 8), axes="czyx", kind="affinities"), NEAREST)._repr_html_())
    assert (page.pixels == (255, 0, 128)).all()
    assert page.facts["offsets"] == "(-1, 0, 0), (0, -1, 0), (0, 0, -1)"


class Huge:
    """A petabyte that remembers what is read of it."""

    shape, dtype = (100_000, 100_000, 100_000), np.dtype(np.uint8)
    most = 0

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        shape = tuple(k.stop - k.start for k in key)
        self.most = max(self.most, int(np.prod(shape)))
        return np.zeros(shape, np.uint8)


def test_little_is_read_of_a_huge_volume() -> None:
    huge = Huge()
    page = Page(Volume(huge, (8, 8, 8))._repr_html_())
    assert 0 < huge.most <= WINDOW**2
    assert page.facts["picture"] == "voxels [49999:50000, 49744:50256, 49744:50256]"


class Broken(Huge):
    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        raise VolumeError("chunk 0/0/0 is damaged", "", "copy it again")


def test_what_cannot_be_read_is_said_in_place_of_the_picture() -> None:
    page = Page(Volume(Broken(), (8, 8, 8))._repr_html_())
    assert page.images == []
    assert "no picture: chunk 0/0/0 is damaged" in page.text
    assert page.facts["type"] == "uint8"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.uint8])
def test_any_grey_values_fill_the_range(dtype: type) -> None:
    shown = section(np.linspace(0, 200, 400).reshape(1, 20, 20).astype(dtype), "image", "zyx")
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert section(np.full((1, 3, 3), 7, dtype), "image", "zyx").max() == 0


def test_floats_of_channels_are_evidence() -> None:
    shown = section(np.full((2, 1, 2, 2), 0.5, np.float32), "affinities", "czyx")
    assert shown[0, 0].tolist() == [127, 127, 0]


def test_a_run_shows_its_loss_and_scores(tiny_run: Path, phantom_h5: Path) -> None:
    from neuropil.training.checkpoint import Run

    run = Run.open(tiny_run)
    page = Page(run._repr_html_())
    assert page.facts["status"] == "complete"
    assert page.facts["best voi sum"] == str(run.card["best"]["voi_sum"])
    assert page.facts["volumes"] == f"{phantom_h5}:raw"
    assert page.facts["steps"] == "8"
    assert f"loss: {run.rows('train')[0]['loss']:.4g} to" in page.text


def test_a_curve_falls_where_its_values_fall() -> None:
    text = curve_html([(0, 2.0), (1, 1.0), (2, 0.0)], "loss")
    points = text.split('points="')[1].split('"')[0].split()
    heights = [float(p.split(",")[1]) for p in points]
    assert heights == sorted(heights)  # down the page
    assert curve_html([(0, 1.0)], "loss") == ""


def test_nothing_that_is_shown_is_taken_for_markup() -> None:
    page = Page(framed("<script>", "", {"<b>": "&amp;"}))
    assert page.facts == {"<b>": "&amp;"}
    assert "<script>" in page.text


def test_volumes_on_disk_say_how_they_are_stored(phantom_h5: Path) -> None:
    assert Page(open_volume(f"{phantom_h5}:raw")._repr_html_()).facts["stored as"] == "hdf5"


def test_the_page_on_notebooks_as_it_stands(
    phantom_h5: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "notebooks.md"
    monkeypatch.chdir(tmp_path)
    shutil.copy(phantom_h5, "em.h5")
    shutil.copytree(tiny_run, "runs/a")
    cells = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, "notebooks.md", "exec"), names)
    assert Page(names["neurons"]._repr_html_()).facts["kind"] == "labels"
