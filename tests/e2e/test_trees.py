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
    sized = scores(capsys, trace, gold, "--voxel-size", "380,380,380")
    assert sized["step_nm"] == 380
    assert sized["esa"] == pytest.approx(plain["esa"])
    um = tmp_path / "um.swc"
    # micrometres against voxels of 380 nm, whose indices are those of their centres: the same tree
    um.write_text(
        "# unit: um\n1 1 .19 .19 .19 1 -1\n2 3 3.99 .19 .19 1 1\n3 3 7.79 .19 .19 1 2\n4 3 3.99 3.99 .19 1 2\n"
    )
    assert scores(capsys, um, gold, "--voxel-size", "380,380,380")["esa"] == pytest.approx(0, abs=1e-9)
    said = scores(capsys, um, um)
    assert (said["unit"], said["step_nm"]) == ("um", 1000.0)


def test_anisotropic_voxels_count_by_their_length(capsys, tmp_path):
    one, other = tmp_path / "a.swc", tmp_path / "b.swc"
    one.write_text("1 1 0 0 0 1 -1\n2 3 40 0 0 1 1\n")
    other.write_text("1 1 0 0 3 1 -1\n2 3 40 0 3 1 1\n")
    assert scores(capsys, one, other)["esa"] == pytest.approx(3.0)
    assert scores(capsys, one, other, "--voxel-size", "1000,200,200")["esa"] == pytest.approx(15.0)


def test_trees_of_unlike_units_are_refused(capsys, tmp_path, gold):
    um = tmp_path / "um.swc"
    um.write_text("# unit: um\n" + GOLD)
    code, out, err = run(capsys, "evaluate", um, gold, "--task", "trees", "--json")
    assert (code, out) == (2, "")
    assert "trees in one unit" in err
    assert "--voxel-size" in err


def test_the_page_of_missed_branches(capsys, tmp_path, gold, trace):
    image = np.zeros((3, 16, 26), np.uint8)
    image[1, :2, :21] = 90
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="minisblack")
    page = tmp_path / "page.html"
    found = scores(
        capsys, trace, gold, "--report", page, "--image", tmp_path / "image.tif", "--voxel-size", "500,500,500"
    )
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
