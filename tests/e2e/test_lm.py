"""A stained neuron as a user meets it: train on an SWC file, predict, segment, trace, evaluate; one voxel deep and more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from tests.docs.typed import ROOT, blocks
from tests.e2e.test_cli import run

from neuropil import open_volume
from neuropil.api import trace
from neuropil.errors import InputError
from neuropil.io.swc import read_swc, write_swc
from neuropil.models.vit2d import Planar, PlanarViT
from neuropil.skeleton import Skeleton
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.training.checkpoint import WEIGHTS, Run, read_tensors
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


def dino(path: Path) -> None:
    """A tiny transformer of photographs."""
    torch.manual_seed(0)
    net = PlanarViT(Planar(dim=64, depth=2, heads=1, hidden=64, patch=(4, 4), grid=(4, 4)))
    torch.save({"teacher": {f"backbone.{k}": t for k, t in net.published().items()}}, path)


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


def test_training_on_a_projection_takes_a_deep_tree_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    image, tree = phantom(LMPhantomConfig.projection(seed=3, shape=(1, 160, 160), cable_um=400.0), tmp_path)
    flat, deep = read_swc(tree), tmp_path / "deep.swc"
    rising = flat.nodes_nm + np.linspace(5e4, 9e4, len(flat.nodes_nm))[:, None] * [1, 0, 0]
    write_swc(Skeleton(rising, flat.radius_nm, flat.parent, flat.kind), deep, units="voxel", voxel_size=(300,) * 3)
    # as BigNeuron's gold trees: in voxels, and nothing said of it
    deep.write_text("\n".join(line for line in deep.read_text().splitlines() if line[0] != "#") + "\n")
    size = ("--voxel-size", "300,300,300", "--steps", 1)
    learn = ("train", "--recipe", "lm_neuron", "--image", image, "--labels", deep, *size)
    code, _, stderr = run(capsys, *learn, "--out", tmp_path / "a")
    assert code == 2
    assert "--set trees.units=voxel" in stderr
    assert "--units" not in stderr
    how = words(*SMALL, "data.crop=[1,64,64]", "trees.units=voxel")
    code, _, stderr = run(capsys, *learn, "--out", tmp_path / "a", *how)
    assert code == 0, stderr
    assert stderr.count("counts as a projection") == 1


def test_a_prediction_without_foreground_cannot_be_traced(tmp_path: Path) -> None:
    attrs = {"task": "x", "channels": ["ice"]}
    stored = Volume(np.zeros((1, 4, 8, 8), np.uint8), (8, 8, 8), axes="czyx", kind="prediction", attrs=attrs)
    with pytest.raises(InputError, match="foreground"):
        trace(stored, tmp_path / "n.swc")


def test_the_page_lm_neurons_is_true(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of docs/howto/lm_neurons.md, in its order, on phantoms and with few steps of small networks."""
    monkeypatch.chdir(tmp_path)
    for name, config in {
        "stack": LMPhantomConfig.confocal(seed=3, shape=(16, 96, 96), cable_um=200.0),
        "new": LMPhantomConfig.confocal(seed=4, shape=(16, 96, 96), cable_um=200.0),
        "cell": LMPhantomConfig.projection(seed=3, shape=(1, 160, 160), cable_um=400.0),
    }.items():
        image, tree = phantom(config, tmp_path)
        image.rename(f"{name}.tif")
        tree.rename("new_true.swc" if name == "new" else f"{name}.swc")
    dino(tmp_path / "dino.pth")
    few = {"runs/lm": ["data.crop=[8,32,32]"], "runs/cell": ["data.crop=[1,64,64]", "model.vit.decoder=[8,8,8,8]"]}
    for _, text in blocks(ROOT / "docs" / "howto" / "lm_neurons.md", "console"):
        line = text.strip().split()[1:]
        for command in [line] if text.count("neuropil ") == 1 else [r.split()[1:] for r in text.splitlines()]:
            if command[0] == "train":
                at = command.index("--budget")
                run_name = command[command.index("--out") + 1]
                command[at : at + 2] = ["--steps", "40", *words(*SMALL, *few[run_name])]
            code, _, stderr = run(capsys, *command)
            assert code == 0, f"{command}\n{stderr}"
    cell = Run.open("runs/cell")
    assert (cell.config.model.flat, cell.config.model.encoder) == (True, "vit_inflated")
    assert cell.card["init"]["account"]["share"] == 1
    assert read_swc("cell_traced.swc").length_nm() > 0


def test_an_inflated_encoder_is_what_training_begins_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image, tree = phantom(LMPhantomConfig.confocal(seed=3, shape=(16, 96, 96), cable_um=200.0), tmp_path)
    dino(tmp_path / "dino.pth")
    code, _, stderr = run(capsys, "inflate", tmp_path / "dino.pth", "--out", tmp_path / "i", "--depth", "average")
    assert code == 0, stderr
    out = tmp_path / "run"
    # a rate so small that the weights remain those of the file
    how = ("data.crop=[10,32,32]", "model.vit.decoder=[8,8,8]", "train.lr=1e-12", *SMALL)
    learn = ("train", "--recipe", "lm_neuron", "--image", image, "--labels", tree, "--out", out)
    code, _, stderr = run(
        capsys, *learn, "--voxel-size", "600,300,300", "--init", tmp_path / "i", "--steps", 2, *words(*how)
    )
    assert code == 0, stderr
    network = Run.open(out).load_model()
    first, _ = read_tensors(tmp_path / "i" / WEIGHTS)
    assert set(first) == network.encoder_names()
    own = network.state_dict()
    assert all(torch.allclose(own[name], tensor, atol=1e-6) for name, tensor in first.items())


def test_crops_that_an_inflated_patch_does_not_divide_are_one_clear_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    image, tree = phantom(LMPhantomConfig.projection(seed=3, shape=(1, 160, 160), cable_um=400.0), tmp_path)
    dino(tmp_path / "dino.pth")
    assert run(capsys, "inflate", tmp_path / "dino.pth", "--out", tmp_path / "i")[0] == 0
    learn = ("train", "--recipe", "lm_neuron", "--image", image, "--labels", tree, "--out", tmp_path / "run")
    code, _, stderr = run(capsys, *learn, "--voxel-size", "300,300,300", "--init", tmp_path / "i", "--steps", 2)
    assert code == 2
    assert "multiples of [5, 4, 4]" in stderr
    assert not (tmp_path / "run").exists()


def test_trees_that_no_held_back_slab_shows_are_told_and_a_slab_without_one_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of several images some slabs are mere background: that is no fault, unless all are."""
    images, trees = [], []
    for number, rows in enumerate(((20, 60), (20, 156))):
        nodes = np.stack([np.full(50, 0.5), np.linspace(*rows, 50), np.linspace(20, 140, 50)], axis=1)
        image = np.full((1, 160, 160), 20, np.uint8)
        for _, y, x in nodes.astype(int):
            image[0, y - 1 : y + 2, x - 1 : x + 2] = 200
        images.append(tmp_path / f"{number}.tif")
        trees.append(tmp_path / f"{number}.swc")
        tifffile.imwrite(images[-1], image)
        write_swc(Skeleton(nodes * 300, np.full(50, 400.0), np.arange(50) - 1, np.zeros(50, int)), trees[-1])
    size = ("--voxel-size", "300,300,300", "--recipe", "lm_neuron", "--steps", 2)
    how = words(*SMALL, "data.crop=[1,32,32]", "data.validation_axis=y")
    code, _, stderr = run(
        capsys, "train", "--image", images[0], "--labels", trees[0], "--out", tmp_path / "a", *size, *how
    )
    assert code == 2
    assert "holds no object" in stderr
    pairs = [word for i, t in zip(images, trees, strict=True) for word in ("--image", i, "--labels", t)]
    code, _, stderr = run(capsys, "train", *pairs, "--out", tmp_path / "b", *size, *how)
    assert code == 0, stderr
