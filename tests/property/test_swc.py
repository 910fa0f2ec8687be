"""What holds for every tree and every table of numbers: nothing is lost between writing and reading."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuropil.errors import NeuropilError
from neuropil.io.swc import examine_swc, write_swc
from neuropil.skeleton import Skeleton

length = st.floats(-1e7, 1e7, allow_nan=False)


@st.composite
def forests(draw: st.DrawFn) -> Skeleton:
    """Any forest, its nodes in any order."""
    count = draw(st.integers(1, 12))
    parent = np.array([draw(st.integers(-1, i - 1)) for i in range(count)])
    order = np.array(draw(st.permutations(range(count))))
    moved = np.empty(count, int)
    moved[order] = np.where(parent < 0, -1, order[parent])
    nodes = np.array([[draw(length) for _ in range(3)] for _ in range(count)])
    radius = np.array([draw(st.floats(0, 1e5)) for _ in range(count)])
    return Skeleton(nodes, radius, moved, np.array([draw(st.integers(0, 9)) for _ in range(count)]))


def rows_of(tree: Skeleton) -> set[tuple[object, ...]]:
    """The nodes with their parents' places, in no order."""
    place = [tuple(p) for p in np.round(tree.nodes_nm, 2) + 0.0]
    return {(p, tree.kind[i], place[tree.parent[i]] if tree.parent[i] >= 0 else None) for i, p in enumerate(place)}


@given(forests(), st.sampled_from(["nm", "um", "voxel"]))
@settings(deadline=None, max_examples=60)
def test_written_and_read_again_is_the_same_forest(tree: Skeleton, units: str) -> None:
    how = {"units": units} | ({"voxel_size": (300.0, 90.5, 110.0)} if units == "voxel" else {})
    grid = Skeleton(np.round(tree.nodes_nm), tree.radius_nm, tree.parent, tree.kind)
    with tempfile.TemporaryDirectory() as folder:
        write_swc(grid, Path(folder) / "a.swc", **how)
        again, report = examine_swc(Path(folder) / "a.swc")
        assert not report.changes or all("copies" in c.what for c in report.changes)
        assert (again.parent < np.arange(len(again.parent))).all()
        assert rows_of(again) == rows_of(grid)
        write_swc(again, Path(folder) / "b.swc", **how)
        # what is strict already stays byte for byte
        assert (Path(folder) / "b.swc").read_text() == (Path(folder) / "a.swc").read_text()


number = st.integers(-3, 9).map(str)
strange = st.sampled_from(["1.5", "nan", "x", "", "1e3", "#", ",", "\t", "1,2"])
plain_line = st.lists(number, min_size=7, max_size=8).map(" ".join)
any_line = st.lists(st.one_of(number, strange), max_size=8).map(" ".join)


@given(st.lists(st.one_of(plain_line, plain_line, plain_line, any_line), max_size=9))
@settings(deadline=None, max_examples=150)
def test_any_text_is_read_whole_or_refused(lines: list[str]) -> None:
    """Every line becomes a node, or is a copy of one; never a traceback, never a line less."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.swc"
        path.write_text("\n".join(lines))
        try:
            tree, report = examine_swc(path, units="um")
        except NeuropilError:
            return
    copies = sum(o.count for o in report.oddities if o.what == "copies of a line, left out")
    told = sum(o.count for o in report.oddities if o.what == "names of columns without a #")
    assert len(tree.parent) + copies + told == sum(bool(line.split("#")[0].strip(" ,\t")) for line in lines)
