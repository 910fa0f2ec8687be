"""`neuropil trace` as a user types it: one neuron, every segment, faults, going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests.unit.tracing.phantoms import agreement, line, tubes

from neuropil.cli import main
from neuropil.io.swc import read_swc
from neuropil.tracing import skeletonize

PATHS = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0)]
FEW = ("--set", "trace.workers=1")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "neuron.tif"
    tifffile.imwrite(path, tubes((12, 56, 90), PATHS).numpy())
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    values = np.zeros((12, 40, 60), np.uint16)
    values[4:8, 5:9, 2:58] = 300
    values[4:8, 20:24, 2:58] = 5
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, values)
    return path


def test_an_image_becomes_a_tree(capsys, image, tmp_path) -> None:
    out = tmp_path / "neuron.swc"
    words = ("trace", image, "--voxel-size", "500,500,500", "--out", out, *FEW)
    code, stdout, stderr = run(capsys, *words, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    tree = read_swc(out)
    assert found["nodes"] == len(tree.parent)
    assert found["length_um"] == pytest.approx(tree.length_nm() / 1000, rel=1e-3)
    assert agreement(tree, PATHS[0][0] * 500, 1000)[1] > 0.95, "the SWC says its unit"
    beside = json.loads((tmp_path / "neuron.trace.json").read_text())
    assert len(beside["node_confidence"]) == found["nodes"]
    assert beside["provenance"]["config"]["trace"]["workers"] == 1
    before = out.read_bytes()
    code, _, stderr = run(capsys, *words)
    assert code == 2
    assert "--overwrite" in stderr
    code, stdout, _ = run(capsys, *words, "--overwrite", "--soma", "3000,15000,4000", "--set", "trace.keep=all")
    assert code == 0
    assert "soma_found" in stdout
    assert out.read_bytes() != before
    assert read_swc(out).kind[0] == 1


def test_voxels_of_unknown_size_give_a_tree_in_voxels(capsys, image, tmp_path) -> None:
    out = tmp_path / "neuron.swc"
    code, _, stderr = run(capsys, "trace", image, "--out", out, *FEW)
    assert code == 2
    assert "--units voxel" in stderr, "the way out is named"
    assert not out.exists()
    code, stdout, stderr = run(capsys, "trace", image, "--units", "voxel", "--out", out, *FEW, "--json")
    assert code == 0, stderr
    assert "taken for cubes" in stderr
    found, text = json.loads(stdout), out.read_text()
    assert "length_um" not in found
    assert "# unit: voxel" in text
    assert "voxel_size_nm" not in text, "nobody knows it"
    tree = read_swc(out, voxel_size=(1, 1, 1))
    assert found["length_voxel"] == pytest.approx(tree.length_nm(), rel=1e-3)
    assert agreement(tree, PATHS[0][0], 2)[1] > 0.95
    np.testing.assert_allclose(tree.nodes_nm[0] - 0.5, found["root_voxel"], atol=1e-3)
    # the same in a known size says it, and lies in the same voxels
    sized = tmp_path / "sized.swc"
    size = ("--voxel-size", "500,500,500")
    code, stdout, stderr = run(capsys, "trace", image, "--units", "voxel", *size, "--out", sized, *FEW, "--json")
    assert (code, "note" in stderr) == (0, False)
    assert "length_um" in json.loads(stdout)
    assert "# voxel_size_nm: 500 500 500" in sized.read_text()
    assert agreement(read_swc(sized), PATHS[0][0] * 500, 1000)[1] > 0.95


def test_segments_in_voxels_of_unknown_size(capsys, labels, tmp_path) -> None:
    out = tmp_path / "swc"
    words = ("trace", "--labels", labels, "--units", "voxel", "--out-dir", out, *FEW, "--json")
    code, stdout, stderr = run(capsys, *words)
    assert code == 0, stderr
    assert json.loads(stdout)["length_voxel"] > 80
    tree = read_swc(out / "5.swc", voxel_size=(1, 1, 1))
    assert 20 <= tree.nodes_nm[:, 1].min() <= tree.nodes_nm[:, 1].max() <= 24


def test_every_segment_becomes_a_tree(capsys, labels, tmp_path) -> None:
    out = tmp_path / "swc"
    words = ("trace", "--labels", labels, "--voxel-size", "40,4,4", "--out-dir", out, *FEW)
    code, stdout, stderr = run(capsys, *words, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    assert (found["segments"], found["traced"]) == (2, 2)
    assert sorted(p.name for p in out.iterdir()) == ["300.swc", "5.swc", "trace.json"]
    assert set(json.loads((out / "trace.json").read_text())["segments"]) == {"300", "5"}
    nodes = read_swc(out / "5.swc").nodes_nm
    assert ((nodes[:, 1] > 80) & (nodes[:, 1] < 96)).all()
    code, _, stderr = run(capsys, *words)
    assert code == 2
    assert "is finished" in stderr
    code, stdout, _ = run(capsys, *words, "--overwrite", "--json")
    assert (code, json.loads(stdout)["traced"]) == (0, 2)


def test_interrupted_work_goes_on(capsys, labels, tmp_path, monkeypatch) -> None:
    out = tmp_path / "swc"
    words = ("trace", "--labels", labels, "--voxel-size", "40,4,4", "--out-dir", out, *FEW)
    whole = skeletonize.skeleton_of

    def stops(part, label, config):
        if label == 300:
            raise KeyboardInterrupt
        return whole(part, label, config)

    monkeypatch.setattr(skeletonize, "skeleton_of", stops)
    code, _, stderr = run(capsys, *words)
    assert code == 130
    assert "goes on" in stderr
    assert sorted(p.name for p in out.iterdir()) == ["5.swc", "begun.json"]
    monkeypatch.undo()
    code, _, stderr = run(capsys, *words, "--set", "trace.step=3")
    assert code == 2
    assert "other labels or settings" in stderr
    code, stdout, _ = run(capsys, *words, "--json")
    assert code == 0
    assert (json.loads(stdout)["segments"], json.loads(stdout)["traced"]) == (2, 1)
    assert not (out / "begun.json").exists()


def test_labels_without_a_segment_to_trace_leave_nothing_behind(capsys, labels, tmp_path) -> None:
    words = ("trace", "--labels", labels, "--voxel-size", "40,4,4", "--out-dir", tmp_path / "swc", *FEW)
    code, _, stderr = run(capsys, *words, "--set", "trace.labels.min_voxels=5000")
    assert code == 2
    assert "no segment of at least 5000 voxels" in stderr
    assert not list((tmp_path / "swc").iterdir())
    code, stdout, stderr = run(capsys, *words, "--json")
    assert (code, json.loads(stdout)["traced"]) == (0, 2), stderr
    assert "segmentss" not in stderr


def test_a_mask_of_ones_as_a_probability_is_told_what_sure_is(capsys, tmp_path) -> None:
    ones = np.zeros((5, 40, 40), np.uint8)
    ones[2, 20, 5:35] = 1
    tifffile.imwrite(tmp_path / "ones.tif", ones)
    words = ("--voxel-size", "1,1,1", "--out", tmp_path / "a.swc", *FEW, "--set", "trace.source=probability")
    code, _, stderr = run(capsys, "trace", tmp_path / "ones.tif", *words)
    assert code == 2
    assert "a mask has 0 and 255" in stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "neither an image nor labels"),
        (("{image}", "--labels", "{labels}"), "both an image and labels"),
        (("{image}",), "without --out"),
        (("--labels", "{labels}"), "without --out-dir"),
        (("{image}", "--out", "{tmp}/a.txt", "--voxel-size", "1,1,1"), "ends in .swc"),
        (("{image}", "--out", "{tmp}/none/a.swc", "--voxel-size", "1,1,1"), "does not exist"),
        (("{image}", "--out", "{tmp}/a.swc"), "voxel size"),
        (("{image}", "--out", "{tmp}/a.swc", "--soma", "1,2"), "--soma 1,2"),
        (("{image}", "--out", "{tmp}/a.swc", "--soma", "nan,2,2"), "three finite numbers"),
        (("{image}", "--out", "{tmp}/a.swc", "--set", "train.steps=3"), "under trace."),
        (("{image}", "--out", "{tmp}/a.swc", "--set", "trace.gapp=3"), "did you mean 'gap'"),
        (("--labels", "{labels}", "--out-dir", "{tmp}", "--voxel-size", "1,1,1"), "holds other things"),
        (("{labels}", "--out", "{tmp}/a.swc", "--voxel-size", "1,1,1"), "holds labels"),
    ],
)
def test_wrong_words_are_explained(capsys, image, labels, tmp_path, words, message) -> None:
    given = [w.format(image=image, labels=labels, tmp=tmp_path) for w in words]
    code, _, stderr = run(capsys, "trace", *given)
    assert code == 2
    assert message in stderr
    assert not list(tmp_path.glob("*.swc"))
