"""Trees at the command line: scored, described, drawn; and what is said when that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from neuropil import api
from neuropil.cli import main
from neuropil.errors import NeuropilError
from neuropil.io import save_volume
from neuropil.volume import Volume

GOLD = "1 1 0 0 0 1 -1\n2 3 10 0 0 1 1\n3 3 20 0 0 1 2\n4 3 10 10 0 1 2\n"
TRACE = "1 1 0 0.5 0 1 -1\n2 3 10 0.5 0 1 1\n3 3 20 0.5 0 1 2\n"


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    (tmp_path / "gold.swc").write_text(GOLD)
    return tmp_path / "gold.swc"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "test.swc").write_text(TRACE)
    return tmp_path / "test.swc"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def scores(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    code, out, err = run(capsys, "evaluate", *words, "--task", "trees", "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_test_vector_at_the_command_line(capsys, gold, trace):
    found = scores(capsys, trace, gold)
    assert found["esa"] == pytest.approx(1.1591, abs=5e-5)
    assert found["dsa"] == pytest.approx(6.0)
    assert found["pds"] == pytest.approx(0.1212, abs=5e-5)
    assert (found["task"], found["convention"], found["tolerance"]) == ("trees", "vaa3d", 2.0)
    assert (found["unit"], found["step_nm"]) == ("voxel", None)
    assert {"precision", "recall", "f1", "f1_auc", "mes", "hd95", "diadem", "critical_f1"} <= set(found)
    assert [row["tolerance"] for row in found["sweep"]] == list(range(1, 11))


def test_convention_and_tolerance_are_heard(capsys, gold, trace):
    found = scores(capsys, trace, gold, "--convention", "niend", "--tolerance", 5)
    assert (found["convention"], found["tolerance"]) == ("niend", 5.0)
    assert found["dsa"] != pytest.approx(scores(capsys, trace, gold, "--convention", "vaa3d", "--tolerance", 5)["dsa"])


def test_order_of_the_two_matters(capsys, gold, trace):
    there, back = scores(capsys, trace, gold), scores(capsys, gold, trace)
    assert there["precision"] == back["recall"] == 1.0
    assert there["recall"] == back["precision"] < 1


def test_a_voxel_size_and_units_change_the_step_not_isotropic_scores(capsys, tmp_path, gold, trace):
    plain = scores(capsys, trace, gold)
    sized = scores(capsys, trace, gold, "--voxel-size", "380,380,380", "--units", "voxel")
    assert sized["step_nm"] == 380
    assert sized["esa"] == pytest.approx(plain["esa"])
    um = tmp_path / "um.swc"
    # micrometres against voxels of 380 nm, whose indices are those of their centres: the same tree
    um.write_text(
        "# unit: um\n1 1 .19 .19 .19 1 -1\n2 3 3.99 .19 .19 1 1\n3 3 7.79 .19 .19 1 2\n4 3 3.99 3.99 .19 1 2\n"
    )
    both = scores(capsys, um, gold, "--voxel-size", "380,380,380", "--units", "voxel")
    assert both["esa"] == pytest.approx(0, abs=1e-9)
    said = scores(capsys, um, um)
    assert (said["unit"], said["step_nm"]) == ("um", 1000.0)


def test_anisotropic_voxels_count_by_their_length(capsys, tmp_path):
    one, other = tmp_path / "a.swc", tmp_path / "b.swc"
    one.write_text("1 1 0 0 0 1 -1\n2 3 40 0 0 1 1\n")
    other.write_text("1 1 0 0 3 1 -1\n2 3 40 0 3 1 1\n")
    assert scores(capsys, one, other)["esa"] == pytest.approx(3.0)
    sized = scores(capsys, one, other, "--voxel-size", "1000,200,200", "--units", "voxel")
    assert sized["esa"] == pytest.approx(15.0)


def test_trees_of_unlike_units_are_refused(capsys, tmp_path, gold):
    um = tmp_path / "um.swc"
    um.write_text("# unit: um\n" + GOLD)
    code, out, err = run(capsys, "evaluate", um, gold, "--task", "trees", "--json")
    assert (code, out) == (2, "")
    assert "trees in one unit" in err
    assert "--voxel-size" in err


def test_what_a_file_states_counts_and_units_is_for_the_others(capsys, tmp_path, gold):
    um = tmp_path / "um.swc"
    um.write_text("# unit: um\n1 1 .2 .2 .2 1 -1\n2 3 8.2 .2 .2 1 1\n")
    words = ("evaluate", um, gold, "--task", "trees", "--json", "--voxel-size", "400,400,400", "--units")
    code, out, err = run(capsys, *words, "voxel")
    assert code == 0, err
    assert json.loads(out)["precision"] == 1.0  # as voxels, it would end after 8 of the 20
    assert json.loads(out)["recall"] == pytest.approx(22 / 30, abs=0.01)
    assert f"note: '{um}' states the unit um" in err
    assert str(gold) not in err
    code, out, err = run(capsys, *words, "um")
    assert (code, err) == (0, "")
    assert json.loads(out)["recall"] < 0.5  # the truth is longer then
    code, out, err = run(capsys, "info", um, "--units", "nm", "--json")
    assert (json.loads(out)["unit"], json.loads(out)["unit_from"]) == ("um", "as the file states")
    assert "states the unit um" in err


@pytest.mark.parametrize(
    "words",
    [("evaluate", "test.swc", "gold.swc", "--task", "trees"), ("evaluate", "gold.swc", "--task", "morphology"),
     ("info", "gold.swc")],
)  # fmt: skip
def test_the_unit_of_a_file_is_not_guessed_where_voxels_have_a_size(capsys, tmp_path, monkeypatch, gold, trace, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words, "--voxel-size", "400,400,400")
    assert (code, out) == (2, "")
    assert "does not state the unit" in err
    assert "--units voxel" in err


def test_the_size_of_an_image_does_not_make_a_guess_better(capsys, tmp_path, gold, trace):
    save_volume(Volume(np.zeros((3, 16, 26), np.uint8), (500, 500, 500), kind="image"), tmp_path / "image.zarr")
    words = ("evaluate", trace, gold, "--task", "trees", "--image", tmp_path / "image.zarr")
    assert run(capsys, *words)[0] == 2
    assert run(capsys, *words, "--units", "voxel")[0] == 0


def test_a_unit_that_is_none_is_an_error_not_a_voxel(capsys, tmp_path, gold):
    odd = tmp_path / "odd.swc"
    odd.write_text("# unit: inch\n" + GOLD)
    code, _, err = run(capsys, "evaluate", odd, gold, "--task", "trees")
    assert code == 2
    assert "a unit 'inch'" in err
    assert scores(capsys, odd, gold, "--units", "um")["esa"] == 0.0


#: The branch of the truth rises out of the plane that the traced one, as of a projection, lies in.
DEEP = "1 1 0 0 3 1 -1\n2 3 10 0 9 1 1\n3 3 20 0 40 1 2\n"
FLAT = "1 1 0 0 0 1 -1\n2 3 10 0 0 1 1\n3 3 20 0 0 1 2\n"


@pytest.fixture
def mip(tmp_path: Path) -> tuple[object, ...]:
    """A trace of a projection, its deep truth, the options that both need; and the projection."""
    (tmp_path / "flat.swc").write_text(FLAT)
    (tmp_path / "deep.swc").write_text(DEEP)
    image = np.zeros((8, 24), np.uint8)
    image[:2, :21] = 90
    tifffile.imwrite(tmp_path / "mip.tif", image, photometric="minisblack")
    return tmp_path / "flat.swc", tmp_path / "deep.swc", "--units", "voxel", "--voxel-size", "7,400,400"


def test_trees_of_a_projection_are_compared_in_its_plane(capsys, tmp_path, mip):
    found = scores(capsys, *mip, "--projected")
    # the depth of a projection's only section may be any number: it is no length
    assert (found["f1"], found["esa"], found["projected"], found["step_nm"]) == (1.0, 0.0, True, 400.0)
    page = tmp_path / "page.html"
    words = ("evaluate", *mip, "--task", "trees", "--json", "--image", tmp_path / "mip.tif")
    code, out, err = run(capsys, *words, "--report", page)
    assert code == 0, err
    assert json.loads(out) == found
    assert "has one section" in err
    assert "--projected" in err
    assert "in the image plane" in page.read_text()
    code, out, err = run(capsys, *words, "--no-projected")
    assert json.loads(out)["projected"] is False
    assert json.loads(out)["f1"] < 1
    assert "one section" not in err
    assert api.evaluate(*mip[:2], task="trees", projected=True)["f1"] == 1.0


def test_a_flat_tree_beside_a_deep_one_is_told_of(capsys, tmp_path, mip):
    flat, deep, *words = mip
    for pair in ((flat, deep), (deep, flat)):
        code, out, err = run(capsys, "evaluate", *pair, *words, "--task", "trees", "--json")
        assert code == 0
        assert json.loads(out)["projected"] is False
        assert f"'{flat}' lies within one plane" in err
        assert "--projected" in err
    assert run(capsys, "evaluate", flat, deep, *words, "--task", "trees", "--projected")[2] == ""
    for pair in ((flat, flat), (deep, deep)):
        assert run(capsys, "evaluate", *pair, *words, "--task", "trees")[2] == ""


def test_a_section_cut_out_of_a_stack_is_no_projection(capsys, tmp_path, mip):
    tifffile.imwrite(tmp_path / "stack.tif", np.ones((4, 8, 24), np.uint8), photometric="minisblack")
    words = (*mip, "--task", "trees", "--json", "--image", f"{tmp_path / 'stack.tif'}[0:1]")
    code, out, err = run(capsys, "evaluate", *words)
    assert code == 0, err
    assert json.loads(out)["projected"] is False


def test_what_was_repaired_is_told_and_kept(capsys, tmp_path, gold):
    bad = tmp_path / "bad.swc"
    bad.write_text("1 1 0 0 0 nan 3\n2 3 10 0 0 1 1\n3 3 20 0 0 1 2\n4 3 10 10 0 1 77\n")
    code, out, err = run(capsys, "evaluate", bad, gold, "--task", "trees", "--json")
    assert code == 0, err
    changed = json.loads(out)["changed"]
    assert changed["gold"] == []
    assert [c.split(" (")[0] for c in changed["test"]] == [
        "a radius that is no finite number, read as 0",
        "a parent that is not in the file; the node became a root",
        "parents that run in a circle, cut above this node",
    ]
    assert err.count("note: ") == 1
    assert f"note: '{bad}': a radius" in err
    assert "line 4" in err
    code, out, err = run(capsys, "evaluate", gold, bad, "--task", "trees")
    assert code == 0
    assert "test: none" in out
    assert "gold: a radius" in out
    assert run(capsys, "evaluate", gold, gold, "--task", "trees")[2] == ""


def scaled(path: Path, factor: float, shift: float = 0) -> Path:
    """A crooked tree, larger or elsewhere."""
    places = [(i, (7 * i) % 11 + i) for i in range(20)]
    rows = [f"{i + 1} 3 {factor * x + shift} {factor * y} 0 1 {i if i else -1}" for i, (y, x) in enumerate(places)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("factor", "shift", "told"), [(1000, 0, "other units"), (0.3, 0, "other units"), (1, 500, "no cable"), (1, 1, "")]
)
def test_trees_that_lie_apart_are_told_of(capsys, tmp_path, factor, shift, told):
    gold, other = scaled(tmp_path / "a.swc", 1), scaled(tmp_path / "b.swc", factor, shift)
    code, _, err = run(capsys, "evaluate", other, gold, "--task", "trees", "--json")
    assert code == 0
    assert (told in err) if told else (err == "")


def test_an_image_of_unknown_size_under_trees_in_voxels(capsys, tmp_path, gold, trace):
    tifffile.imwrite(tmp_path / "image.tif", np.random.default_rng(0).integers(0, 200, (6, 20, 30), np.uint8))
    page = tmp_path / "page.html"
    words = ("evaluate", trace, gold, "--task", "trees", "--image", tmp_path / "image.tif", "--report", page)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "--units voxel" in err
    code, _, err = run(capsys, *words, "--units", "voxel")
    assert code == 0, err
    assert "image.tif" in page.read_text()
    gold.write_text("# unit: um\n" + GOLD)
    trace.write_text("# unit: um\n" + TRACE)
    code, _, err = run(capsys, *words, "--units", "voxel")
    assert code == 2
    assert "does not state its voxel size" in err


def test_the_page_of_missed_branches(capsys, tmp_path, gold, trace):
    image = np.zeros((3, 16, 26), np.uint8)
    image[1, :2, :21] = 90
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
    page = tmp_path / "page.html"
    words = ("--image", tmp_path / "image.tif", "--voxel-size", "500,500,500", "--units", "voxel")
    found = scores(capsys, trace, gold, "--report", page, *words)
    text = page.read_text()
    assert "Missed and extra branches" in text
    assert 'class="badge missed"' in text
    assert f"{found['f1']:.3f}" in text
    assert text.count("<figure") == 4  # image, truth, trace, mistakes in one projection: the trees are flat
    again = scores(capsys, trace, gold, "--report", page)
    assert again["f1"] == found["f1"]
    assert page.read_text() != text  # replaced


def test_morphology_and_info(capsys, gold):
    code, out, err = run(capsys, "evaluate", gold, "--task", "morphology", "--json")
    assert code == 0, err
    table = json.loads(out)
    assert (table["total_length"], table["bifurcations"], table["unit"]) == (30.0, 1, "voxel")
    code, out, err = run(capsys, "info", gold, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["kind"], found["nodes"], found["roots"], found["branch_points"], found["tips"]) == (
        "tree",
        4,
        1,
        1,
        3,
    )
    assert (found["length"], found["unit"], found["extent"]) == (30.0, "voxel", [0.0, 10.0, 20.0])
    code, out, _ = run(capsys, "info", gold, "--json", "--units", "um")
    assert (json.loads(out)["unit"], json.loads(out)["length"]) == ("um", 30.0)
    code, out, _ = run(capsys, "info", gold)
    assert "branch_points" in out


def test_masks(capsys, tmp_path):
    truth = np.zeros((3, 9, 20), np.uint8)
    truth[1, 4, 2:18] = 1
    broken = truth.copy()
    broken[1, 4, 9] = 0
    for name, array in (("truth", truth), ("broken", broken)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="minisblack")
    code, out, err = run(
        capsys, "evaluate", tmp_path / "broken.tif", tmp_path / "truth.tif", "--task", "masks",
        "--voxel-size", "100,100,100", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert (found["task"], found["betti0_error"]) == ("masks", 1.0)
    assert found["dice"] == pytest.approx(30 / 31)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test.swc", "--task", "trees"], "nothing to compare"),
        (["test.swc", "gold.tif", "--task", "trees"], "an SWC file"),
        (["test.swc", "gold.swc", "--task", "trees", "--convention", "v3d"], "one of vaa3d, niend, pyneval"),
        (["test.swc", "gold.swc", "--task", "trees", "--tolerance", "0"], "a tolerance of 0"),
        (["test.swc", "gold.swc", "--task", "trees", "--units", "inch"], "inch"),
        (["test.swc", "none.swc", "--task", "trees"], "does not exist"),
        (["empty.swc", "gold.swc", "--task", "trees"], "empty.swc"),
        (["test.swc", "gold.swc", "--task", "trees", "--report", "page.txt"], "ends in .html"),
        (["test.swc", "gold.swc", "--task", "morphology"], "two trees"),
        (["test.swc", "--task", "morphology", "--report", "page.html"], "--report"),
        (["test.swc", "--task", "morphology", "--projected"], "--projected"),
        (["test.tif", "--task", "morphology"], "an SWC file"),
        (["test.swc", "gold.swc"], "--task trees"),
        (["test.swc", "gold.swc", "--task", "tree"], "trees, morphology, masks"),
    ],
)
def test_what_cannot_be_is_said_in_one_message(capsys, tmp_path, monkeypatch, gold, trace, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.swc").write_text("# nothing\n")
    code, out, err = run(capsys, "evaluate", *words, "--json")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "page.html").exists()


def test_single_nodes_are_scored(capsys, tmp_path, gold):
    (tmp_path / "dot.swc").write_text("1 1 10 0 0 1 -1\n")
    found = scores(capsys, tmp_path / "dot.swc", gold)
    assert found["precision"] == 1.0
    assert 0 < found["recall"] < 0.4


def test_python_says_the_same(gold, trace):
    assert api.evaluate(trace, gold, task="trees")["esa"] == pytest.approx(1.1591, abs=5e-5)
    with pytest.raises(NeuropilError):
        api.evaluate(trace, task="trees")
