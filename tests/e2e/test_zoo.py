"""From a trained run to others and back, as users type it."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.docs.typed import ROOT, blocks, type_in

from neuropil.cli import main
from neuropil.training.checkpoint import Run
from neuropil.volume import open_volume

TERMS = ("--data-licence", "CC BY 4.0")


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty zoo."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setenv("NEUROPIL_ZOO", str(folder))
    monkeypatch.setenv("NEUROPIL_CACHE", str(tmp_path / "cache"))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def done(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Stdout of a command that must succeed."""
    code, stdout, stderr = run(capsys, *words)
    assert code == 0, stderr
    return stdout


def begins_from(capsys: pytest.CaptureFixture[str], name: str, h5: Path, settings: tuple[str, ...], out: Path) -> None:
    """A training that takes all weights of a model of the zoo."""
    words = [word for setting in settings for word in ("--set", setting)]
    given = ("--image", f"{h5}:raw", "--labels", f"{h5}:labels", "--out", out, "--steps", 1)
    code, _, stderr = run(capsys, "train", *given, "--init", f"zoo:{name}", *words)
    assert code == 0, stderr
    assert "(100.0% of what was asked)" in stderr


def test_a_shared_run_predicts_segments_and_begins_trainings_elsewhere(
    capsys: pytest.CaptureFixture[str],
    tiny_run: Path,
    tiny: tuple[str, ...],
    phantom_h5: Path,
    zoo: Path,
    tmp_path: Path,
) -> None:
    told = done(capsys, "share", tiny_run, "--out", zoo / "fib.zip", *TERMS, "--author", "A. Nother", "--json")
    assert json.loads(told)["use"] == "zoo:fib"
    with zipfile.ZipFile(zoo / "fib.zip") as packed:
        assert not any(str(tmp_path.parent).encode() in packed.read(name) for name in packed.namelist())
    (listed,) = [row for row in json.loads(done(capsys, "zoo", "--json"))["models"] if row["zoo"] != "neuropil"]
    assert (listed["name"], listed["finds"], listed["data_licence"]) == ("fib", "neurons", "CC BY 4.0")
    assert "fib" in done(capsys, "zoo")
    card = json.loads(done(capsys, "zoo", "fib", "--json"))
    assert card["authors"] == ["A. Nother"]
    assert card["speed"]["voxels_per_second"] > 0
    assert card["data"]["volumes"] == ["small.h5:raw"]
    raw = f"{phantom_h5}:raw"
    done(capsys, "predict", tiny_run, raw, "--out", tmp_path / "a.zarr")
    done(capsys, "predict", "zoo:fib", raw, "--out", tmp_path / "b.zarr")
    first, second = open_volume(tmp_path / "a.zarr"), open_volume(tmp_path / "b.zarr")
    assert np.array_equal(first.numpy(), second.numpy())
    assert first.attrs["segment"] == second.attrs["segment"]
    done(capsys, "segment", tiny_run, raw, "--out", tmp_path / "c.zarr")
    done(capsys, "segment", "zoo:fib", raw, "--out", tmp_path / "d.zarr")
    assert np.array_equal(open_volume(tmp_path / "c.zarr").numpy(), open_volume(tmp_path / "d.zarr").numpy())
    begins_from(capsys, "fib", phantom_h5, tiny, tmp_path / "t")
    assert Run.open(tmp_path / "t").card["init"]["account"]["share"] == 1


def test_half_precision_is_an_option_and_loads_whole(
    capsys: pytest.CaptureFixture[str],
    tiny_run: Path,
    tiny: tuple[str, ...],
    phantom_h5: Path,
    zoo: Path,
    tmp_path: Path,
) -> None:
    raw = f"{phantom_h5}:raw"
    done(capsys, "share", tiny_run, "--out", zoo / "half.zip", *TERMS, "--half-precision")
    done(capsys, "share", tiny_run, "--out", zoo / "full.zip", *TERMS)
    assert (zoo / "half.zip").stat().st_size < 0.7 * (zoo / "full.zip").stat().st_size
    done(capsys, "predict", tiny_run, raw, "--out", tmp_path / "a.zarr")
    done(capsys, "predict", "zoo:half", raw, "--out", tmp_path / "b.zarr")
    first, second = (open_volume(tmp_path / name).numpy().astype(int) for name in ("a.zarr", "b.zarr"))
    assert np.abs(first - second).max() <= 2
    begins_from(capsys, "half", phantom_h5, tiny, tmp_path / "t")


def test_an_encoder_is_shared_and_taken_whole(
    capsys: pytest.CaptureFixture[str], tiny: tuple[str, ...], phantom_h5: Path, zoo: Path, tmp_path: Path
) -> None:
    words = (
        "pretrain",
        "--image",
        f"{phantom_h5}:raw",
        "--out",
        tmp_path / "p",
        "--recipe",
        "multiscale",
        "--steps",
        2,
    )
    small = (*tiny, "pretrain.crops=2", "pretrain.multiscale.dim=16", "train.batch=2")
    done(capsys, *words, *(word for setting in small for word in ("--set", setting)))
    done(capsys, "share", tmp_path / "p", "--out", zoo / "enc.zip", *TERMS)
    (listed,) = [row for row in json.loads(done(capsys, "zoo", "--json"))["models"] if row["zoo"] != "neuropil"]
    assert (listed["name"], listed["finds"]) == ("enc", "first weights")
    begins_from(capsys, "enc", phantom_h5, tiny, tmp_path / "t")
    assert Run.open(tmp_path / "t").card["init"]["account"]["share"] == 1


def test_a_bioimage_io_model_goes_out_and_comes_back(
    capsys: pytest.CaptureFixture[str], tiny_run: Path, phantom_h5: Path, tmp_path: Path
) -> None:
    archive, raw = tmp_path / "m.zip", f"{phantom_h5}:raw"
    told = done(capsys, "share", tiny_run, "--out", archive, "--format", "bioimageio", *TERMS, "--json")
    assert json.loads(told)["extent"] == "any"
    done(capsys, "predict", f"bioimageio:{archive}", raw, "--out", tmp_path / "b.zarr")
    done(capsys, "predict", tiny_run, raw, "--out", tmp_path / "a.zarr")
    first, second = open_volume(tmp_path / "a.zarr"), open_volume(tmp_path / "b.zarr")
    assert np.abs(first.numpy().astype(int) - second.numpy()).max() <= 1
    assert first.attrs["offsets"] == second.attrs["offsets"]
    done(capsys, "segment", tmp_path / "b.zarr", "--out", tmp_path / "s.zarr")
    code, _, stderr = run(capsys, "segment", f"bioimageio:{archive}", raw, "--out", tmp_path / "t.zarr")
    assert code == 2
    assert "then neuropil segment prediction.zarr" in stderr


def test_the_page_can_be_typed_in(
    capsys: pytest.CaptureFixture[str],
    tiny_run: Path,
    phantom_h5: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """docs/howto/share_models.md, as it stands there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROPIL_ZOO", "models")
    Path("models").mkdir()
    shutil.copytree(tiny_run, "runs/a")
    for name in ("volume.h5", "a.h5"):
        shutil.copy(phantom_h5, name)
    for _, text in blocks(ROOT / "docs/howto/share_models.md", "console"):
        type_in(text, capsys)
    assert Run.open("runs/b").card["init"]["account"]["share"] == 1
    assert open_volume("from_model.zarr").kind == "labels"
    program = torch.export.load("fib25_serving/network.pt2").module()
    takes = json.loads(Path("fib25_serving/interface.json").read_text())
    assert program(torch.zeros(1, 1, *takes["tile"])).shape[1] == len(takes["channels"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("share", "RUN", "--out", "m.zip"), "--data-licence 'CC BY 4.0'"),
        (("share", "RUN", "--out", "m.zip", *TERMS, "--format", "onnx"), "one of neuropil, bioimageio, torch-export"),
        (
            ("share", "RUN", "--out", "m.zip", *TERMS, "--format", "bioimageio", "--half-precision"),
            "the format neuropil",
        ),
        (("share", "none", "--out", "m.zip", *TERMS), "there is no run"),
        (("share", "RUN", "--out", "zoo", *TERMS), "exists already"),
        (("share", "RUN", "--out", "no/where/m.zip", *TERMS), "does not exist"),
        (("share", "RUN", "--out", "m.zip", *TERMS, "--seeds", "RUN"), "the seed is the same"),
        (("predict", "zoo:none", "RAW", "--out", "a.zarr"), "no model is called 'none'"),
        (("segment", "zoo:none", "RAW", "--out", "a.zarr"), "no model is called 'none'"),
        (("segment", "zoo:none", "--out", "a.zarr"), "no volume is given"),
        (("predict", "bioimageio:none", "RAW", "--out", "a.zarr"), "does not exist"),
        (("zoo", "none"), "no model is called 'none'"),
        (("zoo", "--zoo", "nowhere"), "is not there"),
        (("zoo", "--index"), "--zoo FOLDER"),
    ],
)
def test_what_cannot_be_is_one_clear_error_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    tiny_run: Path,
    phantom_h5: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    said = {"RUN": str(tiny_run), "RAW": f"{phantom_h5}:raw"}
    code, stdout, stderr = run(capsys, *(said.get(word, word) for word in words))
    assert (code, stdout) == (2, "")
    assert message in " ".join(stderr.split())
    assert "Traceback" not in stderr
    assert sorted(p for p in tmp_path.iterdir() if p.name != "cache") == before


def test_a_model_of_a_zoo_is_for_its_voxel_size(
    capsys: pytest.CaptureFixture[str], tiny_run: Path, phantom_h5: Path, zoo: Path, tmp_path: Path
) -> None:
    done(capsys, "share", tiny_run, "--out", zoo / "fib", *TERMS)
    words = ("predict", "zoo:fib", f"{phantom_h5}:raw", "--out", tmp_path / "a.zarr", "--voxel-size", "40,4,4")
    code, _, stderr = run(capsys, *words)
    assert code == 2
    assert "trained at (8.0, 8.0, 8.0) nm" in stderr
