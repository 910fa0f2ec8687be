"""Segmenting in blocks as a user meets it: cut again with a report, from another folder, parts scored, bad cluster names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.test_cli import run

from neuropil import api, open_volume
from neuropil.jobs import begin
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

BLOCKS = ("--block", "24,32,32", "--threshold", "0.5")


@pytest.fixture(scope="module")
def cut(phantom_h5: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation made in blocks, in a folder of its own."""
    out = tmp_path_factory.mktemp("cut") / "cut.zarr"
    api.segment(tiny_run, f"{phantom_h5}:raw", out, block=(24, 32, 32), threshold=0.5)
    return out


def test_a_graph_cut_again_gets_its_report(capsys: pytest.CaptureFixture[str], cut: Path, tmp_path: Path) -> None:
    page, again = tmp_path / "page.html", tmp_path / "again.zarr"
    words = ("segment", "--from-graph", cut, "--threshold", 0.6, "--out", again, "--report", page, "--json")
    code, stdout, stderr = run(capsys, *words)
    assert code == 0, stderr
    assert json.loads(stdout)["report"] == str(page)
    assert "Segmentation" in page.read_text()


@pytest.mark.parametrize(
    "words",
    [("--block", "24,32,64"), ("--set", "train.lr=3"), ("--set", "segment.score=quantile"), ("--report", "page.txt")],
)
def test_a_graph_is_only_cut_again(
    capsys: pytest.CaptureFixture[str], cut: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    code, _, stderr = run(capsys, "segment", "--from-graph", cut, "--out", tmp_path / "x.zarr", *words)
    assert (code, "Traceback" in stderr) == (2, False)
    assert not list(tmp_path.iterdir())


def test_work_goes_on_from_another_folder(
    capsys: pytest.CaptureFixture[str],
    phantom_h5: Path,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "x.zarr"
    monkeypatch.chdir(phantom_h5.parent)
    words = ("segment", tiny_run, f"{phantom_h5.name}:raw[0:24]", "--out", out, *BLOCKS)
    assert run(capsys, *words, "--shard", "1/2")[0] == 3
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(capsys, "segment", tiny_run, f"{phantom_h5}:raw[0:24]", "--out", out, *BLOCKS)
    assert code == 0, stderr


@pytest.mark.parametrize("where", ["cloud", "tcp://127.0.0.1:1"])
def test_a_wrong_cluster_leaves_nothing(
    capsys: pytest.CaptureFixture[str], cut: Path, tmp_path: Path, where: str
) -> None:
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    aff = cut.with_suffix(".blocks") / "affinities.zarr"
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        code, _, stderr = run(capsys, "segment", aff, "--out", tmp_path / "x.zarr", *BLOCKS, "--dask", where)
    assert (code, "Traceback" in stderr) == (2, False)
    assert not list(tmp_path.iterdir())


def test_a_part_that_begins_at_the_first_voxel_is_scored(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, cut: Path
) -> None:
    for part in ("[0:24]", "[8:24,:,32:]"):
        code, stdout, stderr = run(capsys, "evaluate", cut, f"{phantom_h5}:labels{part}", "--json")
        assert code == 0, stderr
        found = json.loads(stdout)
        code, stdout, _ = run(capsys, "evaluate", f"{cut}{part}", f"{phantom_h5}:labels{part}", "--json")
        assert json.loads(stdout) == found


def test_labels_of_a_part_are_learned_from(phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    for number, (whole, part) in enumerate((("", "[0:32]"), ("[0:32]", "[0:32]"))):
        words = (*tiny, "train.validations=1")
        api.train(f"{phantom_h5}:raw{whole}", f"{phantom_h5}:labels{part}", tmp_path / str(number), steps=1, set=words)
    one, other = (Run.open(tmp_path / str(n)).card["best"] for n in range(2))
    assert one == other


def test_a_score_says_which_way_is_better(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    settings = [word for setting in (*tiny, "train.validations=1") for word in ("--set", setting)]
    words = ("train", "--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels", "--out", tmp_path / "r")
    assert "score (lower is better)" in run(capsys, *words, "--steps", 1, *settings)[1]
    assert "score" in json.loads(run(capsys, "train", "--resume", "--out", tmp_path / "r", "--json")[1])


def test_what_is_segmented_as_a_whole_says_when_it_is_large(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begin, "whole_bytes", lambda box, channels: 5 * 2**30)
    attrs = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-3, 0, 0]]}
    data = np.full((4, 4, 8, 8), 255, np.uint8)
    held = Volume(data, (8, 8, 8), axes="czyx", kind="affinities", attrs=attrs)
    words = ["segment.method=mutex"]
    api.segment(held, set=words)
    assert "takes about 5 GiB of memory" in capsys.readouterr().err
    api.segment(held, set=[*words, "jobs.memory_gb=6"])
    assert "GiB" not in capsys.readouterr().err


def test_a_segmentation_made_in_one_go_has_no_status(
    capsys: pytest.CaptureFixture[str], cut: Path, tmp_path: Path
) -> None:
    api.segment(cut.with_suffix(".blocks") / "affinities.zarr", out=tmp_path / "x.zarr", threshold=0.5)
    assert open_volume(tmp_path / "x.zarr").kind == "labels"
    code, _, stderr = run(capsys, "status", tmp_path / "x.zarr")
    assert code == 2
    assert "was not made in blocks" in stderr


def test_labels_skeletons_and_meshes_for_proofreading(
    capsys: pytest.CaptureFixture[str], cut: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fine.precomputed"
    words = ("segment", "--from-graph", cut, "--threshold", 0.6, "--out", out, "--json")
    code, _, stderr = run(capsys, *words, "--format", "zarr")
    assert (code, "precomputed" in stderr, "Traceback" in stderr) == (2, True, False)
    made = ("--format", "precomputed", "--skeletons", "--meshes", "--set", "objects.min_voxels=50")
    code, stdout, stderr = run(capsys, *words, *made)
    assert code == 0, stderr
    assert "core-hours a gigavoxel" in stderr
    told = json.loads(stdout)
    assert (told["skeletons"], told["meshes"]) == (str(out / "skeletons"), str(out / "meshes"))
    ids = {p.stem for p in (out / "swc").iterdir()}
    assert ids == {p.stem for p in (out / "meshes").glob("*.mesh")} != set()
    code, stdout, _ = run(capsys, "status", out, "--json")
    found = json.loads(stdout)
    assert (code, found["missing"]) == (0, 0)
    assert found["timings"]["meshes"]["voxels"] == found["timings"]["labels"]["voxels"]
    assert found["core_hours_per_gigavoxel"] > 0
