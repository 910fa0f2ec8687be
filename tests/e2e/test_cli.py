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

from neuropil import open_volume
from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.cli import main


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
        (["evaluate", "{h5}:labels", "{h5}:labels", "--task", "stars"], "neurons"),
        (["evaluate", "{h5}:labels", "{h5}:labels", "--convention", "mine"], "cremi"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/a.h5"], "ends in .zarr"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/no/a.zarr"], "does not exist"),
        (["predict", "{run}", "{h5}:raw", "--out", "{tmp}/a.zarr", "--set", "train.lr=1"], "predict. or segment."),
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

    from neuropil.cli import _hint

    wrapped = ImportError("initialization failed")
    wrapped.__cause__ = KeyboardInterrupt()
    with pytest.raises(typer.Exit) as ended, _hint("what became of it"):
        raise wrapped
    assert ended.value.exit_code == 130
    assert "what became of it" in capsys.readouterr().err
    with pytest.raises(ImportError, match="really missing"), _hint("nothing"):
        raise ImportError("really missing")
