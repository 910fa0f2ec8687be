"""What weights of an encoder mean is compared where no shape tells it: patches of as many voxels, of another shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from neuropil.config import Config, override
from neuropil.errors import ConfigError
from neuropil.models import build_model
from neuropil.training.checkpoint import WEIGHTS, Run, write_tensors
from neuropil.training.encoders import encoder_patch, encoder_words
from neuropil.training.transfer import adopted

FINE, COARSE = (8.0, 8.0, 8.0), (50.0, 4.0, 4.0)
SMALL = ("model.name=unetr", "model.vit.dim=24", "model.vit.depth=2", "model.vit.heads=2")
ENCODER = override(Config(), SMALL)


def _run(folder: Path, config: Config = ENCODER, **card: Any) -> Run:
    return Run.create(folder, config, {"kind": "encoder", "voxel_size": list(FINE), **card})


@pytest.mark.parametrize("kind", ["encoder", "network"])
@pytest.mark.parametrize("card", [{}, {"patch": [8, 8, 8]}])
def test_patches_of_as_many_voxels_and_another_shape_are_refused(
    tmp_path: Path, card: dict[str, Any], kind: str
) -> None:
    run = _run(tmp_path / "run", **card, kind=kind, offsets=[])
    for init in (run.path, run.path / WEIGHTS):
        with pytest.raises(ConfigError, match=r"2 × 16 × 16.*8 × 8 × 8") as caught:
            adopted(ENCODER, str(init), COARSE)
    assert caught.value.fix == "--set model.vit.patch=[8,8,8]"
    assert "512 voxels" in caught.value.expected
    mended = override(ENCODER, [caught.value.fix.removeprefix("--set ")])
    assert adopted(mended, str(run.path), COARSE) == mended
    # which is a network that there is, and that the weights fit
    build_model(mended.model, COARSE, 3)
    assert adopted(ENCODER, str(run.path), FINE) == ENCODER


def test_the_patch_that_was_set_or_recorded_counts_before_the_planned_one(tmp_path: Path) -> None:
    flat = override(ENCODER, ["model.vit.patch=[2,16,16]"])
    run = _run(tmp_path / "set", flat)
    assert encoder_patch(run) == (2, 16, 16)
    with pytest.raises(ConfigError, match=r"patch=\[2,16,16\]"):
        adopted(ENCODER, str(run.path), FINE)
    assert adopted(ENCODER, str(run.path), COARSE) == ENCODER
    recorded = _run(tmp_path / "recorded", patch=[2, 16, 16])
    assert adopted(ENCODER, str(recorded.path), COARSE) == ENCODER


def test_patches_of_another_number_of_voxels_are_left_to_the_account(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", override(ENCODER, ["model.vit.patch=[4,4,4]"]))
    assert adopted(ENCODER, str(run.path), COARSE) == ENCODER


def test_other_encoders_have_no_patch(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", Config(), patch=[8, 8, 8])
    assert encoder_patch(run) is None
    assert adopted(Config(), str(run.path), COARSE) == Config()


def test_weights_alone_say_their_patch_or_that_nothing_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = build_model(ENCODER.model, FINE, 3).state_dict()
    told, untold = tmp_path / "told.safetensors", tmp_path / "untold.safetensors"
    write_tensors(told, weights, {"patch": [8, 8, 8]})
    write_tensors(untold, weights, {})
    with pytest.raises(ConfigError, match=r"told\.safetensors") as caught:
        adopted(ENCODER, str(told), COARSE)
    assert caught.value.fix == "--set model.vit.patch=[8,8,8]"
    assert adopted(ENCODER, str(told), FINE) == ENCODER
    assert capsys.readouterr().err == ""
    assert adopted(ENCODER, str(untold), COARSE) == ENCODER
    assert "they must have been 2 × 16 × 16 voxels" in capsys.readouterr().err
    # of weights that do not fit, or of another network, nothing is said
    write_tensors(untold, {"head.weight": torch.zeros(3)}, {})
    for config in (ENCODER, Config()):
        assert adopted(config, str(untold), COARSE) == config
    assert capsys.readouterr().err == ""


def test_words_name_what_differs_and_matters(tmp_path: Path) -> None:
    more = ["model.vit.patch=[4,8,8]", "model.channels=[8,8]", "model.vit.decoder=[8,8,8]", "model.norm=group"]
    run = _run(tmp_path / "run", override(ENCODER, more))
    assert encoder_words(run, Config().model, FINE) == [
        "model.name=unetr",
        "model.vit.dim=24",
        "model.vit.depth=2",
        "model.vit.heads=2",
        "model.vit.patch=[4,8,8]",
    ]
    assert encoder_words(run, run.config.model, FINE) == []
    planned = _run(tmp_path / "planned")
    assert encoder_words(planned, ENCODER.model, COARSE) == ["model.vit.patch=[8,8,8]"]
    convolutions = _run(tmp_path / "unet", override(Config(), ["model.blocks=2", "model.vit.dim=24"]))
    assert encoder_words(convolutions, Config().model, FINE) == ["model.blocks=2"]
    assert encoder_words(convolutions, ENCODER.model, FINE) == ["model.name=resunet", "model.blocks=2"]


def test_an_encoder_from_elsewhere_may_hang_on_any_setting(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", override(Config(), ["model.name=a.b:build", "model.vit.taps=[6]", "model.flat=true"]))
    assert encoder_words(run, Config().model, FINE) == ["model.name=a.b:build", "model.vit.taps=[6]"]


def test_an_inflated_encoder_brings_its_settings_itself(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", override(ENCODER, ["model.encoder=vit_inflated"]))
    assert encoder_words(run, Config().model, None) == []


@pytest.mark.parametrize(
    ("word", "told", "fix"),
    [
        ("fold=[4,2,2,2]", r"sections put together as \[4, 2, 2, 2\]", "model.convnext.fold=[1,1,2,2]"),
        ("layer_scale=null", "layer_scale = None", "model.convnext.layer_scale=1e-06"),
        ("stem_stride=2", "stem_stride = 2", "model.convnext.stem_stride=4"),
        ("sections=5", "sections = 5", "model.convnext.sections=3"),
    ],
)
def test_a_convnext_that_would_begin_in_part_or_mean_something_else_is_refused(
    tmp_path: Path, word: str, told: str, fix: str
) -> None:
    made = override(Config(), ["model.name=convnext"])
    run = Run.create(tmp_path / "run", made, {"kind": "encoder", "voxel_size": list(COARSE)})
    assert adopted(made, str(run.path), COARSE) == made
    with pytest.raises(ConfigError, match=told) as caught:
        adopted(override(made, [f"model.convnext.{word}"]), str(run.path), COARSE)
    assert caught.value.fix == f"--set {fix}"
    # at another voxel size sections would be put together elsewhere
    with pytest.raises(ConfigError, match=r"sections put together as \[4, 2, 2, 2\]") as caught:
        adopted(made, str(run.path), FINE)
    mended = override(made, [str(caught.value.fix).removeprefix("--set ")])
    assert adopted(mended, str(run.path), FINE) == mended
