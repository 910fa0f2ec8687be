"""Pictures and table of missed and extra branches, on trees whose mistakes are known."""

import base64

import imagecodecs
import numpy as np
import pytest
from tests.unit.metrics.trees import compared, path, tree

from neuropil.report import ReportData, write_report
from neuropil.report.trees import COLOURS, TreeView, projections, tree_page
from neuropil.volume import Volume

#: A trunk along x, a side branch that the trace lacks, and one that only the trace has.
TRUTH = tree([(5, 20, 4), (55, 20, 4), (30, 20, 4), (30, 38, 4)], [-1, 2, 0, 2])
TEST = tree([(5, 20, 4), (55, 20, 4), (30, 20, 4), (30, 2, 4)], [-1, 2, 0, 2])


def volume(array, voxel=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0)):
    return Volume(array, voxel, offset, "zyx", "image", name="image")


def page(view, width=200, most=10):
    return tree_page(view, width=width, most=most)


def pixels(figure):
    return np.asarray(imagecodecs.webp_decode(base64.b64decode(figure.source.partition(",")[2])))[..., :3].astype(int)


def like(picture, colour):
    return np.abs(picture - np.array(colour)).sum(axis=-1) < 90


def test_missed_and_extra_have_their_colours_in_their_places():
    row = page(TreeView(compared(TRUTH, TEST), "voxel")).rows[0]
    assert [layer for layer, _ in row.figures] == ["truth", "traced", "missed and extra"]
    picture = pixels(row.figures[-1][1])
    found, missed, extra = (like(picture, COLOURS[k]) for k in ("found", "missed", "extra"))
    assert found.sum() > 100
    middle = np.argwhere(found)[:, 0].mean()
    assert np.argwhere(missed)[:, 0].min() > middle  # y points down
    assert np.argwhere(extra)[:, 0].max() < middle
    for _, figure in row.figures[:2]:
        assert not like(pixels(figure), COLOURS["missed"]).any()


def test_shares_are_of_the_cable_that_lies_apart():
    made = page(TreeView(compared(TRUTH, TEST), "voxel"))
    # of a side branch of 18 steps, all but the two next to the trunk; beside a trunk of 50
    assert [share for *_, share in made.legend] == ["76.5 %", "23.5 %", "23.5 %"]


def test_a_perfect_trace_has_neither():
    made = page(TreeView(compared(TRUTH, TRUTH), "voxel"))
    picture = pixels(made.rows[0].figures[-1][1])
    assert not like(picture, COLOURS["missed"]).any()
    assert not like(picture, COLOURS["extra"]).any()
    assert made.branches == ()
    assert [share for *_, share in made.legend] == ["100.0 %", "0.0 %", "0.0 %"]


def test_table_is_longest_first_and_cut():
    made = page(TreeView(compared(TRUTH, TEST), "voxel"), most=1)
    (row,) = made.branches
    assert (row.rank, row.kind, row.length, row.apart) == (1, "extra", "16.0", "17.8")
    assert row.share == pytest.approx(16 / 68)
    assert [round(float(v)) for v in row.place.split(", ")] == [4, 2, 30]
    assert made.counts == "1 missed and 1 extra stretches"


def test_flat_trees_have_one_projection_and_deep_ones_three():
    assert [row.name for row in page(TreeView(compared(TRUTH, TEST), "voxel")).rows] == ["xy"]
    deep = path((0, 0, 0), (10, 20, 30))
    assert [row.name for row in page(TreeView(compared(deep, deep), "voxel")).rows] == ["xy", "xz", "yz"]


def test_the_image_lies_under_the_trees():
    image = np.zeros((9, 40, 60), np.uint8)
    image[4, 20, 5:56] = 200
    shown = page(TreeView(compared(TRUTH, TEST), "voxel", volume(image))).rows[0].figures
    assert [layer for layer, _ in shown] == ["image", "truth", "traced", "missed and extra"]
    raw, traced = pixels(shown[0][1]), pixels(shown[1][1])
    bright = np.argwhere(raw[..., 0] > 150)
    line = np.argwhere(like(traced, COLOURS["found"]))
    trunk = np.median(line[:, 0])
    # the bright row is drawn where the trunk's nodes lie: half a voxel beside the corner that they are given by
    assert abs(bright[:, 0].mean() - trunk) <= raw.shape[0] / 40 + 1


def test_offsets_and_voxel_sizes_place_the_image():
    image = np.zeros((1, 40, 60), np.uint8)
    image[0, 10:30, 5:56] = 200
    small = page(TreeView(compared(TRUTH, TEST), "voxel", volume(image))).rows[0].figures[0][1]
    nm = 380.0

    def enlarged(one):
        return type(one)(one.nodes_nm * nm + nm * 100, one.radius_nm, one.parent, one.kind)

    moved = volume(image, (nm, nm, nm), (nm * 100, nm * 100, nm * 100))
    large = page(TreeView(compared(enlarged(TRUTH), enlarged(TEST), step_nm=nm), "voxel", moved)).rows[0].figures[0][1]
    assert np.abs(pixels(small) - pixels(large)).mean() < 2
    assert small.bar_text == "10 nm"
    assert large.bar_text == "5 µm"


def test_unknown_units_label_bars_in_steps():
    figure = page(TreeView(compared(TRUTH, TEST), "voxel", known=False)).rows[0].figures[0][1]
    assert figure.bar_text == "10 voxels"


def test_projections_of_bright_and_dark_things():
    image = np.full((5, 6, 7), 10, np.uint8)
    image[2, 3, 4] = 99
    flat = projections(volume(image))
    assert {k: v.shape for k, v in flat.items()} == {"xy": (6, 7), "xz": (5, 7), "yz": (5, 6)}
    assert (flat["xy"][3, 4], flat["xz"][2, 4], flat["yz"][2, 3]) == (99, 99, 99)
    assert flat["xy"].min() == 10
    dark = projections(volume(255 - image))
    assert (dark["xy"][3, 4], dark["xy"].max()) == (156, 245)


def test_the_page_is_html_with_the_table(tmp_path):
    view = TreeView(compared(TRUTH, TEST), "voxel", known=False)
    data = ReportData("trees", scores={"esa": 1.0, "f1": 0.5, "diadem": 0.7}, trees=view)
    text = write_report(data, tmp_path / "trees.html").read_text()
    assert "Missed and extra branches" in text
    assert "The longest of them" in text
    assert text.count('class="badge extra"') == 1
    assert "mean distance of the trees" in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
