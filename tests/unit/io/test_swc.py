"""SWC: everything that programs write is read and told of, or refused in one clear error; what we write is strict."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError, NeuropilWarning, VolumeError
from neuropil.io.skeletons import read_skeletons
from neuropil.io.swc import UnstatedUnit, UnstatedVoxelSize, examine_swc, read_swc, write_swc
from neuropil.skeleton import Skeleton

PLAIN = ["1 1 0 0 0 5 -1", "2 3 10 0 0 1 1", "3 3 10 20 0 1 2", "4 3 10 0 30 1 2"]
NODES_NM = np.array([[0, 0, 0], [0, 0, 10], [0, 20, 10], [30, 0, 10]])


def file_of(tmp_path, text, name="a.swc"):
    raw = text if isinstance(text, bytes) else ("\n".join(text) if isinstance(text, list) else text).encode()
    (tmp_path / name).write_bytes(raw)
    return tmp_path / name


def examined(tmp_path, text, **how):
    return examine_swc(file_of(tmp_path, text), **{"units": "nm", **how})


def told(report):
    return {o.what: o.count for o in report.oddities}


def test_a_plain_file_has_nothing_odd(tmp_path) -> None:
    tree, report = examined(tmp_path, "# a comment\n\n" + "\n".join(PLAIN) + "\n")
    np.testing.assert_array_equal(tree.nodes_nm, NODES_NM)
    assert tree.parent.tolist() == [-1, 0, 1, 1]
    assert tree.kind.tolist() == [1, 3, 3, 3]
    assert tree.radius_nm.tolist() == [5, 1, 1, 1]
    assert (report.oddities, report.nodes, report.unit) == ((), 4, "nm")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\r\n".join(PLAIN) + "\r\n", "lines that end as on Windows"),
        ("\r".join(PLAIN), "lines that end in a carriage return only"),
        ("\n".join(PLAIN).replace(" ", "\t"), "tabs"),
        (b"\xef\xbb\xbf" + "\n".join(PLAIN).encode(), "a byte order mark"),
        ("\n".join(PLAIN).encode("utf-16"), "text in UTF-16"),
        ("\n".join(PLAIN).replace(" ", ","), "commas between the numbers"),
        ("\n".join(PLAIN).replace(" ", ", "), "commas between the numbers"),
        ("\n".join(p + " # branch µ" for p in PLAIN), "a comment behind the numbers"),
        ("\n".join(["id type x y z radius parent", *PLAIN]), "names of columns without a #"),
        ("\n".join(PLAIN).replace("10 ", "10,0 "), "decimal commas"),
    ],
)
def test_ways_of_writing_do_not_change_the_tree(tmp_path, text, what) -> None:
    tree, report = examined(tmp_path, text)
    np.testing.assert_array_equal(tree.nodes_nm, NODES_NM)
    assert tree.parent.tolist() == [-1, 0, 1, 1]
    assert what in told(report)
    assert not report.changes


@pytest.mark.parametrize(
    ("word", "value"),
    [("+1.5", 1.5), ("1.5e0", 1.5), ("15E-1", 1.5), (".5", 0.5), ("2.", 2), ("1.5d0", 1.5), ("1e-400", 0), ("-0", 0)],
)
def test_numbers_in_any_notation(tmp_path, word, value) -> None:
    tree, _ = examined(tmp_path, [f"1 1 {word} 0 0 1 -1", f"  2.0   3 7 {word} 8 1   1.0  "])
    assert tree.nodes_nm[:, [2, 1]].tolist() == [[value, 0], [7, value]]
    assert tree.parent.tolist() == [-1, 0]


@pytest.mark.parametrize("word", ["nan", "NaN", "1.#IND", "-1.#QNAN", "-nan(ind)", "inf", "-inf", "-3", "x"])
def test_radii_that_say_nothing_become_zero_and_are_told(tmp_path, word) -> None:
    tree, report = examined(tmp_path, ["1 1 0 0 0 5 -1", f"2 3 1 0 0 {word} 1", "3 3 2 0 0 0 2"])
    assert tree.radius_nm.tolist() == [5, 0, 0]
    assert [c.lines for c in report.changes] == [(2,)]
    assert told(report)["a radius of 0"] == 1


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("2 3 nan 0 0 1 1", "nan"),
        ("2 3 1e999 0 0 1 1", "1e999"),
        ("2 3 1.#INF 0 0 1 1", "1.#INF"),
        ("2 3 1 0 0 1", "2 3 1 0 0 1"),
        ("2 3 one 0 0 1 1", "one"),
        ("2 3 1-2 0 0 1", "1-2"),
        ("2 3 1.2.3 0 0 1 1", "1.2.3"),
        ("2 3 1_0 0 0 1 1", "1_0"),
        ("2.5 3 1 0 0 1 1", "2.5"),
        ("2 3 1 0 0 1 0.5", "0.5"),
        ("99999999999999999999 3 1 0 0 1 1", "99999999999999999999"),
    ],
)
def test_a_line_that_is_no_node_is_named(tmp_path, line, shown) -> None:
    with pytest.raises(VolumeError, match="line 2") as caught:
        examined(tmp_path, [PLAIN[0], line, PLAIN[2], line])
    assert shown in str(caught.value)
    assert "1 more" in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n# comments\n", b"\xef\xbb\xbf"])
def test_a_blank_file_is_refused(tmp_path, text) -> None:
    with pytest.raises(VolumeError, match="no node"):
        examined(tmp_path, text)


@pytest.mark.parametrize("raw", [b"\x1f\x8b\0\0\0", b"\xff\xfe1"])
def test_what_is_not_text_is_refused(tmp_path, raw) -> None:
    with pytest.raises(VolumeError, match="not text"):
        examined(tmp_path, raw)


def test_missing_file_and_folder(tmp_path) -> None:
    for path in (tmp_path / "none.swc", tmp_path):
        with pytest.raises(VolumeError, match="does not exist"):
            read_swc(path, units="nm")


def test_children_before_parents_and_gaps_in_the_ids(tmp_path) -> None:
    tree, report = examined(tmp_path, ["40 3 10 0 30 1 7", "30 3 10 20 0 1 7", "7 3 10 0 0 1 3", "3 1 0 0 0 5 -1"])
    assert tree.parent.tolist() == [2, 2, 3, -1]
    np.testing.assert_array_equal(tree.nodes_nm, NODES_NM[[3, 2, 1, 0]])
    assert told(report) == {"children before their parents": 3, "gaps in the ids": 34}


def test_ids_from_zero(tmp_path) -> None:
    tree, report = examined(tmp_path, ["0 1 0 0 0 5 -1", "1 3 10 0 0 1 0", "2 3 10 20 0 1 1", "3 3 10 0 30 1 1"])
    assert tree.parent.tolist() == [-1, 0, 1, 1]
    assert told(report) == {"ids from 0": 1}


@pytest.mark.parametrize("first", ["0 1 0 0 0 5 0", "1 1 0 0 0 5 0", "1 1 0 0 0 5 -2"])
def test_other_ways_to_say_root(tmp_path, first) -> None:
    number = first.split()[0]
    tree, report = examined(tmp_path, [first, f"2 3 10 0 0 1 {number}"])
    assert tree.parent.tolist() == [-1, 0]
    assert not report.changes
    assert any("root" in o for o in told(report))


def test_several_roots(tmp_path) -> None:
    tree, report = examined(tmp_path, [*PLAIN, "5 2 50 0 0 1 -1", "6 2 60 0 0 1 5"])
    assert tree.parent.tolist() == [-1, 0, 1, 1, -1, 4]
    assert told(report) == {"several roots": 2}


def test_a_parent_that_is_nowhere_makes_a_root(tmp_path) -> None:
    tree, report = examined(tmp_path, [*PLAIN, "5 2 50 0 0 1 77"])
    assert tree.parent.tolist() == [-1, 0, 1, 1, -1]
    assert [(c.what[:29], c.lines) for c in report.changes] == [("a parent that is not in the f", (5,))]


def test_copies_of_a_line_are_left_out(tmp_path) -> None:
    tree, report = examined(tmp_path, [*PLAIN, "", PLAIN[2]])
    assert len(tree.parent) == 4
    assert [(c.what, c.lines) for c in report.changes] == [("copies of a line, left out", (6,))]


def test_two_neurons_in_one_file_keep_their_own_parents(tmp_path) -> None:
    second = [" ".join([*w[:2], str(int(w[2]) + 500), *w[3:]]) for w in (p.split() for p in PLAIN)]
    tree, report = examined(tmp_path, PLAIN + second)
    assert tree.parent.tolist() == [-1, 0, 1, 1, -1, 4, 5, 5]
    assert (tree.edge_lengths_nm() <= 30).all()
    assert report.changes[0].lines == (5, 6, 7, 8)


def test_a_child_above_all_nodes_of_its_parents_id_goes_to_the_first(tmp_path) -> None:
    tree, _ = examined(tmp_path, ["9 3 0 0 0 1 2", "2 3 1 0 0 1 -1", "2 3 2 0 0 1 -1", "8 3 0 0 0 1 2"])
    assert tree.parent.tolist() == [1, -1, -1, 2]


@pytest.mark.parametrize(
    ("parents", "cut", "expected"),
    [
        ([2, 3, 1], [1], [-1, 2, 0]),
        ([1, 1, 2], [1], [-1, 0, 1]),
        ([-1, 3, 2, 1], [2], [-1, -1, 1, 0]),
        ([2, 1, 4, 3, 4], [1, 3], [-1, 0, -1, 2, 3]),
        ([2, 3, 2], [2], [1, -1, 1]),
    ],
)
def test_circles_are_cut_above_their_first_node(tmp_path, parents, cut, expected) -> None:
    tree, report = examined(tmp_path, [f"{i + 1} 3 {i} 0 0 1 {p}" for i, p in enumerate(parents)])
    assert tree.parent.tolist() == expected
    assert [c.lines for c in report.changes] == [tuple(cut)]


def test_edges_without_length_and_somata(tmp_path) -> None:
    lines = ["1 3 0 0 0 1 -1", "2 3 0 0 0 1 1", "3 1 5 0 0 4 2", "4 1 50 0 0 4 1"]
    assert told(examined(tmp_path, lines)[1]) == {
        "edges without length": 1,
        "a soma below a neurite": 2,
        "several somata": 2,
    }
    assert told(examined(tmp_path, lines[:2])[1])["no soma"] == 1


def test_a_soma_of_three_points_is_kept_and_told(tmp_path) -> None:
    lines = ["1 1 0 0 0 5 -1", "2 1 0 -5 0 5 1", "3 1 0 5 0 5 1", "4 3 9 0 0 1 1"]
    tree, report = examined(tmp_path, lines)
    assert len(tree.parent) == 4
    assert told(report) == {"a soma of three points": 1}


def test_further_columns_are_left_out_and_told(tmp_path) -> None:
    tree, report = examined(tmp_path, [f"{p} 7 0 2 1594 0.5" for p in PLAIN[:3]] + [PLAIN[3] + " 1 two"])
    np.testing.assert_array_equal(tree.nodes_nm, NODES_NM)
    assert report.changes[0].lines == (1, 2, 3, 4)


def test_ids_beyond_what_a_float_holds_stay_apart(tmp_path) -> None:
    big = 2**53
    tree, _ = examined(
        tmp_path, [f"{big} 1 0 0 0 1 -1", f"{big + 1} 3 1 0 0 1 {big}", f"{big + 2} 3 2 0 0 1 {big + 1}"]
    )
    assert tree.parent.tolist() == [-1, 0, 1]


def test_reading_warns_of_what_was_changed_only(tmp_path) -> None:
    with pytest.warns(NeuropilWarning, match="line 5"):
        read_swc(file_of(tmp_path, [*PLAIN, "5 2 50 0 0 1 77"]), units="nm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_swc(file_of(tmp_path, [*PLAIN, "5 2 50 0 0 0 -1"]), units="nm")


def test_units_are_stated_or_asked_for(tmp_path) -> None:
    bare = file_of(tmp_path, PLAIN)
    with pytest.raises(InputError, match="does not state the unit") as caught:
        read_swc(bare)
    assert "--units" in caught.value.fix
    assert read_swc(bare, units="um").nodes_nm[1, 2] == 10_000
    assert read_swc(bare, units="micron").radius_nm[0] == 5_000
    with pytest.raises(InputError, match="'inch'"):
        read_swc(bare, units="inch")
    with pytest.raises(InputError, match="unknown size"):
        read_swc(bare, units="voxel")
    with pytest.raises(GeometryError, match="voxel size"):
        read_swc(bare, units="voxel", voxel_size=(0, 1, 1))
    with pytest.raises(InputError, match="origin"):
        read_swc(bare, units="nm", origin_nm=(0, 1))


@pytest.mark.parametrize(
    "line", ["# unit: um", "#units = µm", "# All positions and radii in microns", "# Unit: micrometer"]
)
def test_units_that_the_file_states(tmp_path, line) -> None:
    path = file_of(tmp_path, [line, *PLAIN])
    assert read_swc(path).nodes_nm[1, 2] == 10_000
    tree, report = examine_swc(path, units="nm")
    assert tree.nodes_nm[1, 2] == 10
    assert "though the file states" in report.as_dict()["unit"]


def test_a_default_unit_gives_way_to_what_the_file_states(tmp_path) -> None:
    stated = file_of(tmp_path, ["# unit: um", *PLAIN])
    tree, report = examine_swc(stated, default_units="nm")
    assert tree.nodes_nm[1, 2] == 10_000
    assert (report.unit, report.unit_from, report.unused) == ("um", "as the file states", "nm")
    assert "states the unit um" in report.unit_note
    assert examine_swc(stated, default_units="micron")[1].unit_note == ""
    with pytest.warns(NeuropilWarning, match="states the unit um"):
        read_swc(stated, default_units="nm")
    with pytest.warns(NeuropilWarning, match="states the unit um"):
        assert read_skeletons(stated, units="nm")[0].nodes_nm[1, 2] == 10_000
    with pytest.raises(InputError, match="'inch'"):
        read_swc(stated, default_units="inch")


def test_a_default_unit_serves_where_the_file_states_none_that_is_known(tmp_path) -> None:
    bare, odd = file_of(tmp_path, PLAIN), file_of(tmp_path, ["# unit: inch", *PLAIN], "b.swc")
    for path in (bare, odd):
        assert read_swc(path, default_units="um").nodes_nm[1, 2] == 10_000
        assert read_swc(path, units="nm", default_units="um").nodes_nm[1, 2] == 10
    with pytest.raises(UnstatedVoxelSize):
        read_swc(bare, default_units="voxel")
    with pytest.raises(UnstatedUnit):
        read_swc(bare)
    with pytest.raises(InputError, match="'inch'"):
        read_swc(odd)


def test_voxels_are_indices_of_voxel_centres(tmp_path) -> None:
    tree = read_swc(file_of(tmp_path, ["1 1 7 5 2 3 -1"]), units="voxel", voxel_size=(400, 100, 25))
    # the middle of voxel (2, 5, 7); floor of place / size is that voxel again
    assert tree.nodes_nm.tolist() == [[2.5 * 400, 5.5 * 100, 7.5 * 25]]
    assert tree.radius_nm.tolist() == [3 * 50]


def test_what_is_written_is_strict(tmp_path) -> None:
    tree = Skeleton(NODES_NM[::-1] - 0.00001, np.ones(4), np.array([2, 2, 3, -1]), np.array([3, 3, 3, 1]))
    write_swc(tree, tmp_path / "a.swc")
    raw = (tmp_path / "a.swc").read_text()
    assert "# unit: nm\n" in raw
    rows = [line.split(" ") for line in raw.splitlines() if not line.startswith("#")]
    assert [len(r) for r in rows] == [7] * 4
    assert [r[0] for r in rows] == ["1", "2", "3", "4"]
    assert rows[0][6] == "-1"
    assert all(int(r[6]) < int(r[0]) for r in rows)
    assert "-0.000" not in raw
    assert [p.name for p in tmp_path.iterdir()] == ["a.swc"]
    assert told(examine_swc(tmp_path / "a.swc")[1]) == {}


@pytest.mark.parametrize("how", [{"units": "um"}, {"units": "nm"}, {"units": "voxel", "voxel_size": (300, 100.5, 90)}])
@pytest.mark.parametrize("origin", [None, (5.5, -70, 1e6)])
def test_round_trip_needs_no_words(tmp_path, how, origin) -> None:
    rng = np.random.default_rng(0)
    parent = np.append(-1, rng.integers(0, np.arange(1, 50)))
    tree = Skeleton(rng.normal(0, 1e5, (50, 3)), rng.random(50) * 900, parent, rng.integers(0, 8, 50))
    write_swc(tree, tmp_path / "a.swc", **how, origin_nm=origin)
    again = read_swc(tmp_path / "a.swc")
    np.testing.assert_allclose(again.nodes_nm, tree.nodes_nm, atol=6e-4)
    np.testing.assert_allclose(again.radius_nm, tree.radius_nm, atol=6e-4)
    np.testing.assert_array_equal(again.parent, tree.parent)
    np.testing.assert_array_equal(again.kind, tree.kind)


def test_writing_that_fails_leaves_nothing(tmp_path) -> None:
    with pytest.raises(VolumeError, match="writing failed"):
        write_swc(Skeleton(NODES_NM, np.ones(4), np.arange(4) - 1, np.ones(4, int)), tmp_path / "no" / "a.swc")
    with pytest.raises(InputError, match="unknown size"):
        write_swc(Skeleton(NODES_NM, np.ones(4), np.arange(4) - 1, np.ones(4, int)), tmp_path / "a.swc", units="voxel")
    assert not list(tmp_path.iterdir())


def test_two_hundred_thousand_lines_without_quadratic_steps(tmp_path) -> None:
    count = 200_000
    rng = np.random.default_rng(0)
    order = rng.permutation(count)
    lines = [f"{i + 1} 3 {i % 97} {i % 89} {i % 83} 1 {i if i else -1}" for i in order]
    lines[1000] += " # odd"
    path = file_of(tmp_path, ["# unit: um", *lines])
    started = time.process_time()
    tree, report = examine_swc(path)
    # linear work takes about half a second of one core; anything quadratic takes hours
    assert time.process_time() - started < 20
    at = np.argsort(order)
    np.testing.assert_array_equal(tree.parent[at], np.append(-1, at[:-1]))
    assert told(report)["a comment behind the numbers"] == 1


def test_read_skeletons_takes_files_and_folders(tmp_path) -> None:
    (tmp_path / "trees").mkdir()
    for name in ("b.swc", "a.SWC", "c.eswc"):
        file_of(tmp_path / "trees", ["# unit: um", f"1 1 {ord(name[0])} 0 0 1 -1"], name)
    (tmp_path / "trees" / "notes.txt").write_text("no tree")
    found = read_skeletons(tmp_path / "trees")
    assert [t.nodes_nm[0, 2] / 1e3 for t in found] == [97, 98, 99]
    assert len(read_skeletons(tmp_path / "trees" / "b.swc")) == 1
    bare = file_of(tmp_path, PLAIN)
    assert read_skeletons(bare, units="voxel", voxel_size=(2, 2, 2))[0].nodes_nm[0, 0] == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="without SWC"):
        read_skeletons(tmp_path / "empty")
