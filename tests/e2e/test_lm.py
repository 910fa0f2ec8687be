"""A stained neuron as a user meets it: train on an SWC file, predict, segment, trace, evaluate; one voxel deep and more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests.e2e.test_cli import run

from neuropil import open_volume
from neuropil.api import trace
from neuropil.errors import InputError
from neuropil.io.swc import write_swc
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

SMALL = (
    *("model.channels=[8,16,24]", "train.precision=fp32", "train.threads=1", "train.validations=1", "train.ema=0.9"),
    "train.batch=4",
)


def phantom(config: LMPhantomConfig, folder: Path) -> tuple[Path, Path]:
    made = LMPhantom(config)
    tifffile.imwrite(folder / "a.tif", made.image(made.box))
    write_swc(made.skeletons()[0], folder / "a.swc", units="um")
    return folder / "a.tif", folder / "a.swc"


def words(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def test_from_an_image_and_its_tree_to_a_traced_tree(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One voxel deep, which trains in seconds: a network that has learned nothing would not pass."""
    image, tree = phantom(LMPhantomConfig.projection(seed=3, shape=(1, 192, 192), cable_um=400.0), tmp_path)
    size, out = ("--voxel-size", "300,300,300"), tmp_path / "run"
    learn = ("train", "--recipe", "lm_neuron", "--image", image, "--labels", tree, "--out", out, *size)
    code, _, stderr = run(capsys, *learn, "--steps", 100, *words(*SMALL, "data.crop=[1,64,64]"))
    assert code == 0, stderr
    trained = Run.open(out)
    assert trained.config.model.flat
    assert trained.card["best"]["dice"] > 0.6
    assert set(trained.calibration) == {"foreground"}
    code, stdout, stderr = run(capsys, "predict", out, image, "--out", tmp_path / "p.zarr", *size, "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["channels"] == ["foreground", "centreline"]
    code, _, stderr = run(capsys, "segment", tmp_path / "p.zarr", "--out", tmp_path / "mask.zarr")
    assert code == 0, stderr
    assert np.unique(open_volume(tmp_path / "mask.zarr").numpy()).tolist() == [0, 1]
    code, _, stderr = run(capsys, "trace", tmp_path / "p.zarr", "--out", tmp_path / "n.swc")
    assert code == 0, stderr
    settings = json.loads((tmp_path / "n.trace.json").read_text())["provenance"]["config"]["trace"]
    assert (settings["source"], settings["strong"]) == ("probability", trained.calibration["foreground"])
    code, stdout, stderr = run(capsys, "evaluate", tmp_path / "n.swc", tree, "--task", "trees", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["f1"] > 0.6


def test_the_road_of_a_stack(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image, tree = phantom(LMPhantomConfig.confocal(seed=3, shape=(16, 96, 96), cable_um=200.0), tmp_path)
    size, out = ("--voxel-size", "600,300,300"), tmp_path / "run"
    learn = ("train", "--recipe", "lm_neuron", "--image", image, "--labels", tree, "--out", out, *size)
    code, _, stderr = run(capsys, *learn, "--steps", 2, *words(*SMALL, "data.crop=[8,32,32]"))
    assert code == 0, stderr
    assert not Run.open(out).config.model.flat
    # the tree is found again by its name
    code, _, stderr = run(capsys, "train", "--out", out, "--resume", "--recipe", "lm_neuron")
    assert code == 0, stderr
    code, _, stderr = run(capsys, "predict", out, image, "--out", tmp_path / "p.zarr", *size)
    assert code == 0, stderr
    stored = open_volume(tmp_path / "p.zarr")
    assert (stored.shape, stored.attrs["task"]) == ((2, 16, 96, 96), "trees")
    code, _, stderr = run(capsys, "segment", out, image, "--out", tmp_path / "s.zarr", *size, *words("trees.dice=2"))
    assert code == 2
    assert "predict. or instances." in stderr


def test_a_prediction_without_foreground_cannot_be_traced(tmp_path: Path) -> None:
    attrs = {"task": "x", "channels": ["ice"]}
    stored = Volume(np.zeros((1, 4, 8, 8), np.uint8), (8, 8, 8), axes="czyx", kind="prediction", attrs=attrs)
    with pytest.raises(InputError, match="foreground"):
        trace(stored, tmp_path / "n.swc")
