"""From a file of natural-image weights to a trained network, as a user types it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from neuropil.cli import main
from neuropil.config import ConvNeXtConfig
from neuropil.models.convnext import ConvNeXt3d
from neuropil.models.vit2d import Planar, PlanarViT
from neuropil.training.checkpoint import WEIGHTS, Run, read_tensors

#: What makes the run small enough for a test.
SMALL = ("model.vit.decoder=[8,8]", "data.crop=[8,16,16]", "predict.tile=[8,32,32]", "predict.overlap=[2,8,8]")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


@pytest.fixture
def dino(tmp_path: Path) -> Path:
    """A tiny model under DINO's names."""
    torch.manual_seed(0)
    net = PlanarViT(Planar(dim=64, depth=2, heads=1, hidden=64, patch=(4, 4), grid=(4, 4)))
    torch.save({"teacher": {f"backbone.{k}": t for k, t in net.published().items()}}, tmp_path / "dino.pth")
    return tmp_path / "dino.pth"


def sets(*words: str) -> list[str]:
    return [part for word in words for part in ("--set", word)]


def test_the_road_from_a_file_of_images_to_a_network(
    capsys: pytest.CaptureFixture[str], dino: Path, phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    inflated, trained = tmp_path / "i", tmp_path / "t"
    words = ("--depth", "average", "--mode", "cube", "--patch", "2,4,4")
    code, stdout, stderr = run(capsys, "inflate", dino, "--out", inflated, *words, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    assert (found["family"], found["patch"], found["missing"], found["changed"]) == ("DINO", [2, 4, 4], 0, 2)
    assert "inflated to 2 sections (average)" in stderr
    assert "1 heads (heads of DINO models are 64 wide)" in stderr
    made = Run.open(inflated)
    assert (made.card["kind"], made.card["status"], made.config.inflate.depth) == ("encoder", "complete", "average")
    assert "average" in (inflated / "README.md").read_text()
    given = ("--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels")
    # a rate so small that the weights remain those of the file
    settings = sets(*(w for w in tiny if "crop" not in w and "predict" not in w), *SMALL, "train.lr=1e-12")
    code, _, stderr = run(capsys, "train", *given, "--out", trained, "--init", inflated, "--steps", 2, *settings)
    assert code == 0, stderr
    assert "taken over from" in stderr
    assert "(100.0% of what was asked)" in stderr
    first, _ = read_tensors(inflated / WEIGHTS)
    network = Run.open(trained).load_model()
    own = network.state_dict()
    assert set(first) == network.encoder_names()
    assert all(torch.allclose(own[name], tensor, atol=1e-6) for name, tensor in first.items())
    code, _, stderr = run(capsys, "predict", trained, f"{phantom_h5}:raw", "--out", tmp_path / "a.zarr")
    assert code == 0, stderr
    code, _, stderr = run(capsys, "report", inflated, trained, "--out", tmp_path / "r.html")
    assert code == 0, stderr


def test_the_bare_command_makes_slabs_of_the_middle_section(
    capsys: pytest.CaptureFixture[str], dino: Path, tmp_path: Path
) -> None:
    code, stdout, stderr = run(capsys, "inflate", dino, "--out", tmp_path / "i", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["patch"] == [5, 4, 4]
    tensors, _ = read_tensors(tmp_path / "i" / WEIGHTS)
    kernel = tensors["encoder.patch_embed.proj.weight"].view(64, 5, 4, 4)
    assert torch.count_nonzero(kernel[:, [0, 1, 3, 4]]) == 0
    assert torch.count_nonzero(kernel[:, 2]) > 0


@pytest.fixture
def convnext(tmp_path: Path) -> Path:
    """A tiny ConvNeXt under the names of its authors."""
    torch.manual_seed(0)
    sizes = ConvNeXtConfig(dims=(8, 12, 16, 24), depths=(1, 1, 2, 1), sections=1, fold=(1, 1, 1, 1))
    state = {n: t.squeeze(2) if t.ndim == 5 else t for n, t in ConvNeXt3d(sizes, (1.0, 1.0, 1.0)).state_dict().items()}
    stem = "downsample_layers.0.0.weight"
    state[stem] = state[stem].expand(-1, 3, -1, -1).clone()
    torch.save({"model": state}, tmp_path / "convnext.pth")
    return tmp_path / "convnext.pth"


def test_the_road_from_a_convnext_to_a_network(
    capsys: pytest.CaptureFixture[str], convnext: Path, phantom_h5: Path, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    inflated, trained = tmp_path / "i", tmp_path / "t"
    words = ("--depth", "average", "--voxel-size", "40,8,8")
    code, stdout, stderr = run(capsys, "inflate", convnext, "--out", inflated, *words, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    assert (found["family"], found["missing"], found["dropped"]) == ("ConvNeXt", 0, 0)
    # the stem and its bias, three steps down, and a kernel in each of five blocks
    assert (found["changed"], len(found["fold"])) == (10, 4)
    assert "colours folded into one grey value" in stderr
    assert "channels [8, 12, 16, 24]" in (inflated / "README.md").read_text()
    given = ("--image", f"{phantom_h5}:raw", "--labels", f"{phantom_h5}:labels")
    small = ("model.convnext.decoder=[8,8,8,8,8]", "data.crop=[8,32,32]", "predict.tile=[8,32,32]")
    settings = sets(*(w for w in tiny if "crop" not in w and "predict" not in w), *small, "train.lr=1e-12")
    more = sets("predict.overlap=[0,8,8]", "train.layer_decay=0.75")
    code, _, stderr = run(capsys, "train", *given, "--out", trained, "--init", inflated, "--steps", 2, *settings, *more)
    assert code == 0, stderr
    assert "taken over from" in stderr
    assert "channels [8, 12, 16, 24]" in stderr
    assert "was made for voxels of 40 × 8 × 8 nm, here are" in stderr
    assert "(100.0% of what was asked)" in stderr
    first, _ = read_tensors(inflated / WEIGHTS)
    network = Run.open(trained).load_model()
    assert set(first) == network.encoder_names()
    own = network.state_dict()
    assert all(torch.allclose(own[name], tensor, atol=1e-6) for name, tensor in first.items())
    code, _, stderr = run(capsys, "predict", trained, f"{phantom_h5}:raw", "--out", tmp_path / "a.zarr")
    assert code == 0, stderr
    code, _, stderr = run(capsys, "report", inflated, trained, "--out", tmp_path / "r.html")
    assert code == 0, stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a ConvNeXt, without a voxel size"),
        (("--voxel-size", "8,8,8", "--patch", "4,8,8"), "no patch: it has none"),
        (("--voxel-size", "8,8,8", "--mode", "cube"), "inflate.mode for"),
        (("--voxel-size", "8,8,8", "--set", "inflate.heads=2"), "inflate.heads for"),
        (("--voxel-size", "8,8,8", "--set", "model.convnext.stem_stride=2"), "inflate.stem_stride, from which"),
        (("--voxel-size", "0,4,4"), "0"),
        (("--voxel-size", "nan,4,4"), "nan"),
        (("--voxel-size", "8,8,8", "--set", "model.convnext.dims=[8,12,16,32]"), "is not the encoder"),
        (("--voxel-size", "8,8,8", "--set", "inflate.sections=2"), "an odd number"),
    ],
)
def test_what_a_convnext_has_not_is_refused(
    capsys: pytest.CaptureFixture[str], convnext: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, stdout, stderr = run(capsys, "inflate", convnext, "--out", tmp_path / "i", *words)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert not (tmp_path / "i").exists()


def test_a_folder_with_something_in_it_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], dino: Path, tmp_path: Path
) -> None:
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "mine.txt").write_text("keep me")
    code, _, stderr = run(capsys, "inflate", dino, "--out", tmp_path / "i")
    assert code == 2
    assert stderr.startswith("error: ")
    assert "--resume" not in stderr
    assert [p.name for p in (tmp_path / "i").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--depth", "middle"), "inflate.depth = 'middle'"),
        (("--set", "inflate.sections=5"), "inflate.sections for"),
        (("--mode", "cube", "--voxel-size", "0,4,4"), "0"),
        (("--mode", "cube"), "mode cube without the depth of a patch"),
        (("--patch", "5,16"), "--patch 5,16"),
        (("--patch", "0,4,4"), "each at least 1"),
        (("--set", "model.vit.dim=128"), "at least 95%"),
        (("--set", "inflate.slab=4"), "an odd number"),
        (("--set", "train.steps=3"), "under inflate. or model."),
        (("--set", "inflate.heads=3"), "3 heads"),
        (("--set", "inflate.deph=center"), "did you mean 'depth'"),
    ],
)
def test_what_cannot_be_is_one_clear_error_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], dino: Path, tmp_path: Path, words: tuple[str, str], message: str
) -> None:
    code, stdout, stderr = run(capsys, "inflate", dino, "--out", tmp_path / "i", *words)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert not (tmp_path / "i").exists()


def test_a_file_that_would_execute_code_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pth").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    code, _, stderr = run(capsys, "inflate", "evil.pth", "--out", "i")
    assert code == 2
    assert "wants to execute code" in stderr
    assert not Path("bomb-went-off").exists()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (Path("bomb-went-off"),))
