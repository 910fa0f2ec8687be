"""The page as a whole: what it holds, what it leaves out, and how it is written."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from neuropil.errors import InputError, VolumeError
from neuropil.report import Look, ReportData, write_report
from neuropil.volume import Volume, open_volume

VOID = {"meta", "img", "input", "br", "line", "path", "circle", "polyline"}


class Outline(HTMLParser):
    """Ids, headings, links and unclosed tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def outline(path) -> Outline:
    parser = Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


@pytest.fixture
def page(full, small_look, tmp_path):
    return write_report(full, tmp_path / "deep" / "report.html", look=small_look)


def test_every_part_is_there(page):
    found = outline(page)
    assert {f"r0-{s}" for s in ("sections", "planes", "worst", "solid", "curves", "time")} <= set(found.ids)
    text = " ".join(found.text)
    for words in (
        "toy <run> & co",
        "em_neurons",
        "neuropil segment a b",
        "A note.",
        "0.750",
        "luck",
        "3.0 GiB",
        "2 Mvoxel/s",
    ):
        assert words in text


def test_markup_is_closed_ids_are_unique_and_links_lead_somewhere(page):
    found = outline(page)
    assert found.wrong == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_worst_objects_are_linked_to_their_pictures(page):
    found = outline(page)
    assert {"#r0-worst-1", "#r0-worst-2"} <= set(found.links)


def test_page_needs_no_network(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:|\#)""", text)
    assert not re.search(r"url\((?!data:)", text)
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_every_picture_has_words(page):
    images = outline(page).images
    assert len(images) >= 15
    assert all(i["alt"] and i["src"].startswith("data:image/webp") for i in images)


def test_markup_in_names_is_shown_not_run(full, small_look, tmp_path):
    hostile = "<script>alert(1)</script>"
    data = replace(full, title=hostile, summary={hostile: hostile, "command": hostile}, notes=(hostile,))
    text = write_report([data, data], tmp_path / "r.html", look=small_look).read_text(encoding="utf-8")
    assert hostile not in text


def test_an_empty_report_is_still_a_page(tmp_path):
    found = outline(write_report(ReportData("nothing yet"), tmp_path / "r.html"))
    assert "nothing yet" in " ".join(found.text)
    assert not any(i.startswith("r0-") and i != "r0-title" for i in found.ids)


@pytest.mark.parametrize(
    "missing", ["truth", "segmentation", "image", "affinities", "scores", "metrics", "sweep", "timings"]
)
def test_any_part_may_be_missing(full, small_look, tmp_path, missing):
    data = replace(
        full,
        **{missing: type(getattr(ReportData(""), missing))()}
        if missing not in ("truth", "segmentation", "image", "affinities")
        else {missing: None},
    )
    found = outline(write_report(data, tmp_path / "r.html", look=small_look))
    assert found.wrong == []
    assert ("r0-worst" in found.ids) == (missing not in ("truth", "segmentation"))
    assert ("r0-time" in found.ids) == (missing != "timings")


def test_several_runs_side_by_side(full, small_look, tmp_path):
    other = replace(full, title="other", scores={**full.scores, "voi_sum": 0.5})
    found = outline(write_report([full, other], tmp_path / "r.html", look=small_look))
    assert {"compare", "r0", "r1", "r1-worst"} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "best" in " ".join(found.text)


def test_page_says_what_is_shown_of_a_large_volume(full, small_look, tmp_path):
    text = write_report(full, tmp_path / "r.html", look=replace(small_look, side=20)).read_text(encoding="utf-8")
    assert "the central 12\u00a0×\u00a020\u00a0×\u00a020 of 12\u00a0×\u00a024\u00a0×\u00a036 voxels" in text


def test_volumes_with_offsets_give_their_own_coordinates(truth, pred, small_look, tmp_path):
    size, offset = (20.0, 8.0, 8.0), (2000.0, 0.0, 0.0)
    data = ReportData(
        "x",
        truth=Volume(truth, size, offset, kind="labels"),
        segmentation=Volume(pred, size, offset, kind="labels"),
    )
    text = write_report(data, tmp_path / "r.html", look=small_look).read_text(encoding="utf-8")
    assert re.search(r'href="#r0-worst-2">10[78], \d+, \d+<', text)


def test_a_single_section_is_enough(truth, pred, small_look, tmp_path):
    data = ReportData("flat", truth=truth[:1], segmentation=pred[:1], voxel_size=(50.0, 4.0, 4.0))
    found = outline(write_report(data, tmp_path / "r.html", look=small_look))
    assert "r0-sections" in found.ids
    assert "r0-solid" not in found.ids


def test_a_section_without_labels_is_enough(small_look, tmp_path):
    data = ReportData("blank", truth=np.zeros((5, 8, 8), int), voxel_size=(8.0, 8.0, 8.0))
    assert "r0-solid" not in outline(write_report(data, tmp_path / "r.html", look=small_look)).ids


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no run"):
        write_report([], tmp_path / "r.html")


def test_a_folder_is_not_a_page(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_report(ReportData("x"), tmp_path)


def test_full_disk_leaves_the_old_page_and_no_rest(tmp_path, monkeypatch):
    path = write_report(ReportData("old"), tmp_path / "r.html")
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(VolumeError, match="No space left"):
        write_report(ReportData("new"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_several_runs_share_the_budget():
    look = Look().shared(3)
    assert (look.sections, look.turns) == (8, 4)
    assert Look().shared(1) == Look()
    assert Look().shared(50).sections == 6


@pytest.mark.real
def test_published_segmentation_of_real_tissue(real_data, small_look, tmp_path):
    """FIB-25 cube 1 beside the published flood-filling result, which leaves 11 % of the voxels unassigned."""
    cube = real_data / "fib25" / "trvol_250_1.h5"
    result = real_data / "fib25" / "trvol_250_1_ffn_baseline.h5"
    data = ReportData(
        "FIB-25 cube 1",
        image=open_volume(f"{cube}:raw"),
        truth=open_volume(f"{cube}:labels"),
        segmentation=open_volume(f"{result}:ffn_segmentation"),
    )
    found = outline(write_report(data, tmp_path / "r.html", look=replace(small_look, worst=10)))
    assert "r0-worst-10" in found.ids
    text = " ".join(found.text)
    assert re.search(r"Missed\s+11\.\d %", text)
    assert "500 nm" in text
