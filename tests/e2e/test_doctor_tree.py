"""`neuropil doctor` on a tree, and what is done with the tree that it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuropil.cli import main
from neuropil.io import save_volume
from neuropil.volume import Volume

NM = (300.0, 100.0, 100.0)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A bent neurite on its image, written by a program that counts y from below and states no unit."""
    z, y, x = np.mgrid[:20, :60, :90]
    data = np.random.default_rng(0).poisson(8, z.shape).astype(np.uint8)
    line = np.stack(
        [4 + np.arange(80) / 8, 8 + np.arange(80) / 3 + 6 * np.sin(np.arange(80) / 9), 5 + np.arange(80)], 1
    )
    for node in line:
        data[(abs(z - node[0]) < 1) & ((y - node[1]) ** 2 + (x - node[2]) ** 2 < 4)] = 120
    save_volume(Volume(data, NM, kind="image"), tmp_path / "image.v3dpbd")
    save_volume(Volume((data > 60).astype(np.uint64), NM, kind="labels"), tmp_path / "labels.zarr")
    rows = [f"{i + 1} 3 {p[2]:.3f} {59 - p[1]:.3f} {p[0]:.3f} 2 {i if i else -1}" for i, p in enumerate(line)]
    (tmp_path / "tree.swc").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_from_a_displaced_tree_to_its_run_length(capsys: pytest.CaptureFixture[str], case: Path) -> None:
    fixed = case / "fixed.swc"
    code, stdout, stderr = run(
        capsys, "doctor", case / "tree.swc", "--image", case / "image.v3dpbd", "--out", fixed, "--json"
    )
    assert code == 0, stderr
    found = json.loads(stdout)
    assert found["best"] == "unit voxel, y mirrored"
    assert "does with the fix" in found["verdict"]
    code, stdout, _ = run(capsys, "doctor", fixed, "--image", case / "image.v3dpbd", "--json")
    assert json.loads(stdout)["fix"] == "none needed"
    code, stdout, stderr = run(capsys, "evaluate", case / "labels.zarr", "--skeletons", fixed, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["nerl"] == pytest.approx(1)


def test_the_file_alone(capsys: pytest.CaptureFixture[str], case: Path) -> None:
    code, stdout, _ = run(capsys, "doctor", case / "tree.swc", "--units", "um")
    assert code == 0
    assert "no soma" in stdout
    assert not (case / "fixed.swc").exists()


@pytest.mark.parametrize(
    ("words", "unit"), [((), "not stated"), (("--units", "voxel"), "voxel, of unknown size")], ids=["none", "voxel"]
)
def test_what_is_odd_about_a_file_is_told_whatever_its_unit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], unit: str
) -> None:
    (tmp_path / "a.swc").write_text("1 1 0 0 0 1 3\n2 3 1 0 0 nan 1\n3 3 2 0 0 1 2\n4 3 3 0 0 1 9\n5 3 4 0 0 1 0\n")
    code, stdout, stderr = run(capsys, "doctor", tmp_path / "a.swc", *words, "--json")
    assert (code, stderr) == (0, "")
    found = json.loads(stdout)
    assert found["unit"] == unit
    changed = " ".join(found["changed"])
    assert all(what in changed for what in ("run in a circle", "no finite number", "not in the file"))
    # what was changed is not merely unusual
    assert set(found["odd"]).isdisjoint(found["changed"])
    assert any("parent is 0" in what for what in found["odd"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{0}/tree.swc", "--out", "{0}/fixed.swc"], "does not state the unit"),
        (["{0}/tree.swc", "--units", "voxel", "--out", "{0}/fixed.swc"], "voxels of unknown size"),
        (["{0}/no.swc"], "no.swc"),
        (["--image", "{0}/image.v3dpbd"], "no tree"),
        (["{0}/tree.swc", "--image", "{0}/no.tif"], "no.tif"),
        (["{0}/tree.swc", "--units", "um", "--out", "{0}/tree.swc"], "exists already"),
        (["{0}/tree.swc", "--units", "um", "--out", "{0}/fixed.tif"], "ends in .swc"),
        (["{0}/tree.swc", "--units", "inch"], "inch"),
    ],
)
def test_wrong_words_are_one_error(capsys: pytest.CaptureFixture[str], case: Path, words: list[str], told: str) -> None:
    code, stdout, stderr = run(capsys, "doctor", *[w.format(case) for w in words])
    assert code == 2
    assert stdout == ""
    assert told in stderr
    assert "Traceback" not in stderr


def test_skeletons_without_a_unit_say_how_to_get_one(capsys: pytest.CaptureFixture[str], case: Path) -> None:
    code, _, stderr = run(capsys, "evaluate", case / "labels.zarr", "--skeletons", case / "tree.swc")
    assert code == 2
    assert "neuropil doctor" in stderr
