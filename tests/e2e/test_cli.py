"""The commands as a user types them: outputs, JSON on stdout, exit codes, one clear error, nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from neuropil import open_volume
from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.cli import main

PAIR = ("--image", "{h5}:raw", "--labels", "{h5}:labels")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def test_the_road_from_volume_to_report(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    raw, labels = f"{phantom_h5}:raw", f"{phantom_h5}:labels"
    settings = [word for setting in tiny for word in ("--set", setting)]
    out = tmp_path / "run"
    code, stdout, stderr = run(
        capsys, "train", "--image", raw, "--labels", labels, "--out", out, "--steps", 6, *settings, "--json"
    )
    assert code == 0, stderr
    assert json.loads(stdout)["run"] == str(out)
    code, stdout, _ = run(capsys, "predict", out, raw, "--out", tmp_path / "aff.zarr", "--json")
    assert code == 0
    assert json.loads(stdout)["shape"] == [9, 48, 64, 64]
    stored = open_volume(tmp_path / "aff.zarr")
    assert (stored.kind, stored.axes, stored.voxel_size) == ("affinities", "czyx", (8, 8, 8))
    assert len(stored.attrs["offsets"]) == 9
    page = tmp_path / "report.html"
    code, stdout, stderr = run(capsys, "segment", out, raw, "--out", tmp_path / "seg.zarr", "--report", page, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["objects"] == int(open_volume(tmp_path / "seg.zarr").numpy().max())
    assert "<html" in page.read_text()
    # affinities carry the decoding that was calibrated: from disk, the same labels
    code, _, stderr = run(capsys, "segment", tmp_path / "aff.zarr", "--out", tmp_path / "again.zarr")
    assert code == 0, stderr
    assert np.array_equal(open_volume(tmp_path / "again.zarr").numpy(), open_volume(tmp_path / "seg.zarr").numpy())
    code, stdout, _ = run(capsys, "evaluate", tmp_path / "seg.zarr", labels, "--ignore-border-nm", 25, "--json")
    scores = json.loads(stdout)
    assert code == 0
    assert {"voi_split", "voi_merge", "voi_sum", "arand", "cremi_score", "num_truth", "num_pred"} <= set(scores)
    assert scores["voi_sum"] == pytest.approx(scores["voi_split"] + scores["voi_merge"])
    code, stdout, stderr = run(capsys, "report", out, "--out", tmp_path / "run.html", "--json")
    assert code == 0, stderr
    assert Path(json.loads(stdout)["report"]).stat().st_size > 10_000


def test_affinities_of_somebody_else_are_segmented(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels = np.ones((12, 16, 16), np.uint32)
    labels[:, :, 8:] = 2
    positive = tuple((-z, -y, -x) for z, y, x in NEAREST)
    affinities, _ = affinities_from_labels(labels, positive)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        data = file.create_dataset("aff", data=affinities.astype(np.float32))
        data.attrs["resolution"] = (40, 4, 4)
        data.attrs["axes"] = "czyx"
        data.attrs["kind"] = "affinities"
        data.attrs["offsets"] = np.array(positive)
    code, _, stderr = run(capsys, "segment", f"{tmp_path}/theirs.h5:aff", "--out", tmp_path / "s.zarr")
    assert code == 0, stderr
    assert "without a calibrated threshold" in stderr
    found = open_volume(tmp_path / "s.zarr").numpy()
    assert np.array_equal(found, labels)


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_info_describes_images_and_labels(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, flag: list[str]
) -> None:
    code, stdout, _ = run(capsys, "info", f"{phantom_h5}:labels", *flag)
    assert code == 0
    if flag:
        found = json.loads(stdout)
        assert found["kind"] == "labels"
        assert found["voxel_size_nm"] == [8, 8, 8]
    else:
        assert "labels" in stdout


def test_doctor_is_healthy_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, stdout, _ = run(capsys, "doctor", "--json")
    found = json.loads(stdout)
    assert code == 0
    assert found["healthy"] is True
    assert found["torch"].startswith("2.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "nowhere.h5:raw"], "does not exist"),
        (["info", "{h5}:rwa"], "labels"),
        (["info", "{plain}:raw"], "voxel size"),
        (["info", "{h5}:raw", "--voxel-size", "8,8"], "three numbers z,y,x"),
        (["segment", "{h5}:raw", "--out", "{tmp}/s.zarr"], "affinities"),
        (["segment", "{run}", "--out", "{tmp}/s.zarr"], "no volume is given"),
        (["predict", "{run}", "{h5}:labels", "--out", "{tmp}/a.zarr"], "image"),
        (["predict", "{run}", "{h5}:raw", "--voxel-size", "40,4,4", "--out", "{tmp}/a.zarr"], "voxel size"),
        (["predict", "{tmp}", "{h5}:raw", "--out", "{tmp}/a.zarr"], "run.json"),
        (
            ["train", "--image", "{h5}:raw", "--labels", "{h5}:labels", "--out", "{tmp}/r", "--recipe", "em"],
            "em_neurons",
        ),
        (
            ["train", "--image", "{h5}:raw", "--labels", "{h5}:labels", "--out", "{tmp}/r", "--set", "train.stps=3"],
            "steps",
        ),
        (["train", "--image", "{h5}:raw", "--labels", "{h5}:labels", "--out", "{tmp}/r", "--budget", "soon"], "30m"),
        (["train", "--image", "{h5}:raw", "--labels", "{h5}:labels", "--out", "{tmp}/r", "--budget", "10"], "10m or"),
        (["train", *PAIR, "--out", "{tmp}/r", "--budget", "10m", "--steps", "5"], "both --budget and --steps"),
        (["train", *PAIR, "--out", "{tmp}/r", "--steps", "5", "--set", "train.steps=3"], "--set train.steps=3"),
        (["train", *PAIR, "--out", "{tmp}/r", "--budget", "5m", "--set", "train.budget=3"], "--set train.budget=3"),
        (["train", *PAIR, "--out", "{tmp}/r", "--set", "data.crop=[0,48,48]"], "data.crop"),
        (["train", *PAIR, "--out", "{tmp}/r", "--set", "data.crop=[32,-48,48]"], "data.crop"),
        (["train", "--out", "{tmp}/r"], "at least one --image"),
        (["train", "--image", "{h5}:raw", "--out", "{tmp}/r"], "1 images and 0 label volumes"),
        (["train", "--resume", "--out", "{tmp}/r"], "there is no run"),
        (["train", "--image", "{plain}:b", "--labels", "{plain}:a", "--out", "{tmp}/r"], "looks like labels"),
        (["train", "--image", "{plain}:a", "--labels", "{plain}:a", "--out", "{tmp}/r"], "looks like an image"),
        (["evaluate", "{h5}:labels", "{plain}:a"], "looks like an image"),
        (["predict", "{run}", "{plain}:b", "--out", "{tmp}/a.zarr"], "attribute kind='image'"),
        (["info", "{plain}"], "10 x 8 x 8 nm"),
        (["info", "{plain}:raw"], "shape (4, 4, 4), axes zyx, type uint8"),
        (["evaluate", "{h5}:labels"], "--skeletons"),
        (["evaluate", "{h5}:labels", "--skeletons", "{tmp}/no.npz"], "no.npz"),
        (["evaluate", "{h5}:labels", "--skeletons", "{plain}"], ".npz graph"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--task", "stars"], "neurons"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--convention", "mine"], "cremi"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/a.h5"], "ends in .zarr"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/no/a.zarr"], "does not exist"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--set", "train.lr=1"], "predict. or segment."),
        (
            ["predict", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--set", "instances.foreground=0.4"],
            "nothing here",
        ),
        (["segment", "{h5}:raw", "--out", "{tmp}/s.zarr", "--threshold", "0.4"], "no run is given"),
        (["segment", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--report", "{tmp}/r.txt"], "ends in .html"),
        (["segment", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--shard", "2/2"], "0/8 to 7/8"),
        (["segment", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--dask", "cloud"], "tcp://"),
        (["info", "{h5}:raw", "--units", "um"], "an SWC file"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--tolerance", "2"], "--task trees"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--units", "um"], "--task trees"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--projected"], "--task trees"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--image", "{h5}:raw"], "--report"),
        (["evaluate", "{h5}:labels", "{h5}:nope", "--report", "{tmp}/r.txt"], "ends in .html"),
        (["report", "{run}", "--image", "{h5}:labels", "--out", "{tmp}/r.html"], "expected: image"),
        (["report", "{run}", "--segmentation", "{h5}:raw", "--out", "{tmp}/r.html"], "expected: labels"),
        (["report", "{run}", "--truth", "{h5}:raw", "--out", "{tmp}/r.html"], "expected: labels"),
        (["status", "{h5}"], "no work in blocks"),
        (["segment", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--set", "segment.method=nope"], "agglomerate"),
        (["segment", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--set", "predict.tile=[7,7,7]"], "tile"),
        (["report", "--out", "{tmp}/r.html"], "nothing to report"),
    ],
)
def test_wrong_input_is_one_clear_error(
    capsys: pytest.CaptureFixture[str],
    phantom_h5: Path,
    tiny_run: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["raw"] = np.zeros((4, 4, 4), np.uint8)
        # neutral names, and nothing stated but the voxel size
        file["a"] = np.random.default_rng(0).integers(0, 255, (48, 64, 64), dtype=np.uint8)
        file["b"] = np.arange(48, dtype=np.uint8).reshape(3, 4, 4).repeat(16, 0).repeat(16, 1).repeat(16, 2)
        file["a"].attrs["resolution"], file["b"].attrs["resolution"] = (10, 8, 8), (10, 8, 8)
    (tmp_path / "empty").mkdir()
    before = {p.name for p in tmp_path.iterdir()}
    filled = [w.format(h5=phantom_h5, plain=tmp_path / "plain.h5", run=tiny_run, tmp=tmp_path) for w in words]
    code, stdout, stderr = run(capsys, *filled)
    assert code == 2
    assert stdout == ""
    assert message in stderr
    assert "Traceback" not in stderr
    assert stderr.startswith("error: ")
    assert {p.name for p in tmp_path.iterdir()} == before


def test_an_interrupted_output_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tmp_path: Path
) -> None:
    from neuropil.io.zarr import create_zarr

    create_zarr(tmp_path / "half.zarr", (48, 64, 64), np.uint64, (8, 8, 8), axes="zyx", kind="labels")
    code, _, stderr = run(capsys, "evaluate", tmp_path / "half.zarr", f"{phantom_h5}:labels")
    assert code == 3
    assert "half.zarr" in stderr


def test_existing_outputs_are_kept_unless_told(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny_run: Path, tmp_path: Path
) -> None:
    words = ("predict", tiny_run, f"{phantom_h5}:raw", "--out", tmp_path / "a.zarr")
    assert run(capsys, *words)[0] == 0
    code, _, stderr = run(capsys, *words)
    assert code == 2
    assert "--overwrite" in stderr
    assert run(capsys, *words, "--overwrite")[0] == 0


def test_overwrite_never_touches_what_others_wrote(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny_run: Path, tmp_path: Path
) -> None:
    zarr.create_array(tmp_path / "theirs.zarr", data=np.arange(8, dtype=np.uint8)).attrs["resolution"] = (8, 8, 8)
    (tmp_path / "notes.zarr").mkdir()
    (tmp_path / "notes.zarr" / "thesis.txt").write_text("years of work")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for verb in ("predict", "segment"):
        for name in ("theirs.zarr", "notes.zarr"):
            words = (verb, tiny_run, f"{phantom_h5}:raw", "--out", tmp_path / name, "--overwrite")
            code, stdout, stderr = run(capsys, *words)
            assert (code, stdout) == (2, "")
            assert stderr.startswith(f"error: '{tmp_path / name}' exists and was not written by neuropil")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_group_of_several_arrays_is_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "g.zarr")
    for name in ("raw", "labels"):
        group.create_array(name, data=np.zeros((3, 4, 5), np.uint16)).attrs["resolution"] = (40, 4, 4)
    code, stdout, stderr = run(capsys, "info", tmp_path / "g.zarr")
    assert (code, stdout) == (2, "")
    lines = [" ".join(line.split()) for line in stderr.splitlines()]
    assert {f"{name} (3, 4, 5) uint16 40 x 4 x 4 nm" for name in ("raw", "labels")} <= set(lines)


def test_one_object_is_worth_a_note(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for value, said in ((255, "one object"), (0, "no object")):
        data = np.full((3, 8, 16, 16), value, np.uint8)
        with h5py.File(tmp_path / f"{value}.h5", "w") as file:
            file["aff"] = data
            file["aff"].attrs.update({"resolution": (40, 4, 4), "axes": "czyx", "offsets": np.array(NEAREST)})
        words = ("segment", f"{tmp_path}/{value}.h5", "--out", tmp_path / f"{value}.zarr", "--json")
        code, stdout, stderr = run(capsys, *words, "--set", "segment.threshold=0.5")
        assert code == 0, stderr
        assert json.loads(stdout)["objects"] == (value > 0)
        assert f"note: the segmentation at threshold 0.5 is {said}" in stderr


def test_a_run_goes_on_with_the_volumes_it_knows(
    capsys: pytest.CaptureFixture[str],
    phantom_h5: Path,
    tiny: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from neuropil.training.checkpoint import Run

    with h5py.File(phantom_h5) as source, h5py.File(tmp_path / "silent.h5", "w") as file:
        for name in ("raw", "labels"):
            file[name] = source[name][...]
    monkeypatch.chdir(tmp_path)
    settings = [word for setting in tiny for word in ("--set", setting)]
    pair = ("--image", "silent.h5:raw", "--labels", "silent.h5:labels", "--voxel-size", "8,8,8")
    code, _, stderr = run(capsys, "train", *pair, "--out", "run", "--steps", 2, *settings)
    assert code == 0, stderr
    card = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**card, "status": "interrupted"}))
    code, stdout, stderr = run(capsys, "train", "--resume", "--out", "run", "--json")
    assert code == 0, stderr
    assert "nothing is left" not in stderr
    assert json.loads(stdout)["run"] == "run"
    assert Run.open("run").voxel_size == (8, 8, 8)
    (tmp_path / "silent.h5").rename(tmp_path / "moved.h5")
    code, _, stderr = run(capsys, "train", "--resume", "--out", "run")
    assert code == 0, stderr
    assert "'run' is complete: nothing is left to do" in stderr
    Path("run/run.json").write_text(json.dumps({**card, "status": "interrupted"}))
    code, _, stderr = run(capsys, "train", "--resume", "--out", "run")
    assert code == 2
    assert "give the volumes again" in stderr


def test_run_length_on_true_skeletons(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels = np.ones((8, 8, 16), np.uint32)
    labels[..., 8:] = 2
    with h5py.File(tmp_path / "seg.h5", "w") as file:
        file["labels"] = labels
        file["labels"].attrs["resolution"] = (10, 10, 10)
    places = np.array([[0, 45, 45, 10 * x + 5] for x in range(16)])
    np.savez(tmp_path / "graph.npz", nodes=places, edges_0=np.stack([np.arange(15), np.arange(1, 16)], axis=1))
    skeletons = ("--skeletons", tmp_path / "graph.npz", "--json")
    code, stdout, stderr = run(capsys, "evaluate", f"{tmp_path}/seg.h5:labels", *skeletons)
    assert code == 0, stderr
    # 150 nm of cable in two runs of 70 nm
    assert json.loads(stdout)["erl_nm"] == pytest.approx(2 * 70**2 / 150)
    assert json.loads(stdout)["nerl"] == pytest.approx(2 * 70**2 / 150**2)
    assert "voi_sum" not in json.loads(stdout)
    page = ("--report", tmp_path / "page.html")
    code, stdout, stderr = run(capsys, "evaluate", *[f"{tmp_path}/seg.h5:labels"] * 2, *skeletons, *page)
    assert code == 0, stderr
    assert {"voi_sum", "nerl", "erl_splits"} <= set(json.loads(stdout))
    assert "NERL" in page[1].read_text()


def test_usage_errors_exit_with_2() -> None:
    neuropil = Path(sys.executable).with_name("neuropil")
    assert shutil.which(str(neuropil))
    for words in (["fly"], ["info"], ["train", "--image", "a"]):
        ended = subprocess.run([neuropil, *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 2, ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_output_never_replaces_its_own_input(
    capsys: pytest.CaptureFixture[str], phantom_h5: Path, tiny_run: Path, tmp_path: Path
) -> None:
    from neuropil.io import save_volume

    raw = tmp_path / "raw.zarr"
    save_volume(open_volume(f"{phantom_h5}:raw"), raw)
    code, _, stderr = run(capsys, "predict", tiny_run, raw, "--out", raw, "--overwrite")
    assert code == 2
    assert "replace its own input" in stderr
    assert np.array_equal(open_volume(raw).numpy(), open_volume(f"{phantom_h5}:raw").numpy())


def test_ctrl_c_wrapped_by_a_compiled_import_is_still_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    """Compiled modules turn an interrupt during their import into an ImportError that it caused."""
    import typer

    from neuropil.cli.options import hint

    wrapped = ImportError("initialization failed")
    wrapped.__cause__ = KeyboardInterrupt()
    with pytest.raises(typer.Exit) as ended, hint("what became of it"):
        raise wrapped
    assert ended.value.exit_code == 130
    assert "what became of it" in capsys.readouterr().err
    with pytest.raises(ImportError, match="really missing"), hint("nothing"):
        raise ImportError("really missing")
