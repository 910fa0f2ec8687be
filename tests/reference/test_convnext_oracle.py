"""ConvNeXts of every family against the transformers library: read exactly, and the same in three dimensions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neuropil.config import InflateConfig
from neuropil.errors import ConfigError, RunError
from neuropil.models.checkpoints2d import ConvNeXt2d, open_weights, read_convnext
from neuropil.models.convnext import ConvNeXt3d
from neuropil.models.inflate_convnext import inflate_convnext, plan_convnext

transformers = pytest.importorskip("transformers")
State = dict[str, Tensor]
SIZES: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 2, 1, 1]}
MEAN, STD = InflateConfig().mean, InflateConfig().std


def model(kind: str = "DINOv3ConvNext", **changes: Any) -> nn.Module:
    """A small one with weights so large that a wrong place or sign shows."""
    torch.manual_seed(3)
    net: nn.Module = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**SIZES, **changes))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return net.eval()


def read(state: State, folder: Path, name: str = "model.safetensors") -> ConvNeXt2d:
    save_file({k: t.contiguous() for k, t in state.items()}, folder / name)
    return read_convnext(open_weights(folder / name))


def answer(net: nn.Module, image: Tensor) -> Tensor:
    """The normed features of the last stage, (B, C, Y, X)."""
    with torch.no_grad():
        if hasattr(net, "embeddings"):
            maps = net.encoder(net.embeddings(image)).last_hidden_state
        else:
            maps = image
            for stage in net.model.stages:
                maps = stage(maps)
        norm: nn.LayerNorm = getattr(net, "layer_norm", None) or net.layernorm
        return norm(maps.movedim(1, -1)).movedim(-1, 1)


def inflated(source: ConvNeXt2d, voxel_size: tuple[float, float, float], **how: Any) -> ConvNeXt3d:
    config = InflateConfig(**how)
    target = plan_convnext(source, config, voxel_size)
    tensors, report = inflate_convnext(source, target, config)
    assert report.share == 1.0
    assert {*report.copied, *report.changed} == set(tensors)
    encoder = ConvNeXt3d(target, (1.0, 1.0, 1.0))
    encoder.load_state_dict(tensors)
    return encoder.eval()


def grey(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def coloured(grey_BYX: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (MEAN, STD))
    return (grey_BYX[:, None].expand(-1, 3, -1, -1) - mean) / std


FLAT = (1e5, 4.0, 4.0)


@pytest.mark.parametrize("kind", ["DINOv3ConvNext", "ConvNext"])
def test_one_section_is_answered_as_the_image(kind: str, tmp_path: Path) -> None:
    net = model(kind)
    source = read(net.state_dict(), tmp_path)
    assert (source.dims, source.depths) == ((8, 12, 16, 24), (1, 2, 1, 1))
    assert source.family.startswith("Hugging Face")
    image = grey(2, 64, 96)
    with torch.no_grad():
        found = inflated(source, FLAT, sections=1).pyramid(image[:, None, None])[-1][0]
    assert torch.allclose(found[:, :, 0], answer(net, coloured(image)), atol=1e-5)


def test_the_epsilon_of_its_norms_is_that_of_its_settings(tmp_path: Path) -> None:
    net = model(layer_norm_eps=0.01)
    net.save_pretrained(tmp_path)  # type: ignore[operator]
    source = read_convnext(open_weights(tmp_path))
    assert source.eps == 0.01
    image = grey(2, 64, 96)
    with torch.no_grad():
        found = inflated(source, FLAT, sections=1).pyramid(image[:, None, None])[-1][0]
    assert torch.allclose(found[:, :, 0], answer(net, coloured(image)), atol=1e-5)


@pytest.mark.parametrize("depth", ["center", "average", "gaussian"])
@pytest.mark.parametrize("voxel_size", [(8.0, 8.0, 8.0), (40.0, 4.0, 4.0)])
def test_equal_sections_are_answered_as_one_of_them(
    depth: str, voxel_size: tuple[float, float, float], tmp_path: Path
) -> None:
    net = model()
    encoder = inflated(read(net.state_dict(), tmp_path), voxel_size, depth=depth)
    image = grey(1, 64, 64)
    with torch.no_grad():
        features, _ = encoder.pyramid(image[:, None, None].expand(-1, -1, 2 * encoder.stride[0], -1, -1))[-1]
    truth = answer(net, coloured(image))
    assert features.shape[2] == 2
    assert all(torch.allclose(section, truth, atol=1e-4) for section in features.unbind(2))


def test_by_the_centre_each_section_is_answered_by_itself(tmp_path: Path) -> None:
    net = model()
    image = grey(3, 64, 64)
    with torch.no_grad():
        features = inflated(read(net.state_dict(), tmp_path), FLAT, depth="center").pyramid(image[None, None])[-1][0]
    assert torch.allclose(features[0].transpose(0, 1), answer(net, coloured(image)), atol=1e-4)


def test_by_averages_the_middle_section_is_that_of_the_mean_up_to_the_first_norm(tmp_path: Path) -> None:
    """Stem and first kernel are linear: of three sections the middle one sees their mean."""
    source = read(model().state_dict(), tmp_path)
    encoder = inflated(source, FLAT, depth="average")
    image = grey(3, 64, 64)
    with torch.no_grad():
        stem = encoder.downsample_layers[0][0]
        block = encoder.stages[0][0].dwconv
        deep, mean = block(stem(image[None, None])), block(stem(image.mean(0)[None, None, None]))
    assert torch.allclose(deep[:, :, 1], mean[:, :, 0], atol=1e-5)


def test_a_finer_stem_keeps_twice_the_resolution(tmp_path: Path) -> None:
    encoder = inflated(read(model().state_dict(), tmp_path), FLAT, stem_stride=2)
    with torch.no_grad():
        assert encoder.pyramid(grey(1, 1, 1, 32, 32))[0][0].shape[2:] == (1, 16, 16)


def _authors(name: str) -> str:
    name = name.removeprefix("model.").replace("layer_norm.", "norm.")
    name = re.sub(r"^stages\.(\d)\.downsample_layers", r"downsample_layers.\1", name)
    name = name.replace(".layers.", ".").replace("depthwise_conv", "dwconv")
    return re.sub(r"pointwise_conv", "pwconv", name)


def _timm(name: str) -> str:
    name = re.sub(r"^downsample_layers\.0", "stem", _authors(name))
    name = re.sub(r"^downsample_layers\.(\d)", r"stages.\1.downsample", name)
    name = re.sub(r"^stages\.(\d)\.(\d)", r"stages.\1.blocks.\2", name)
    name = name.replace("dwconv", "conv_dw").replace("pwconv", "mlp.fc")
    return re.sub(r"^norm", "head.norm", name)


def _torchvision(name: str) -> str:
    name = re.sub(r"^downsample_layers\.(\d)", lambda m: f"features.{2 * int(m[1])}", _authors(name))
    name = re.sub(r"^stages\.(\d)", lambda m: f"features.{2 * int(m[1]) + 1}", name)
    for ours, theirs in (("dwconv", "0"), ("norm", "2"), ("pwconv1", "3"), ("pwconv2", "5")):
        name = re.sub(rf"^(features\.\d\.\d)\.{ours}", rf"\1.block.{theirs}", name)
    return re.sub(r"^norm", "classifier.0", name.replace("gamma", "layer_scale"))


def _shaped(name: str, tensor: Tensor) -> Tensor:
    """As torchvision keeps gains, and some of timm's models their pointwise kernels."""
    if name.endswith("layer_scale"):
        return tensor[:, None, None]
    return tensor[:, :, None, None] if ".mlp." in name and tensor.ndim == 2 else tensor


@pytest.mark.parametrize(
    ("called", "family", "besides"),
    [
        (_authors, "ConvNeXt", ("norms.3.weight", "head.weight")),
        (lambda n: "teacher.backbone." + _authors(n), "ConvNeXt", ()),
        (_timm, "timm ConvNeXt", ("head.fc.weight",)),
        (_torchvision, "torchvision ConvNeXt", ("classifier.2.weight",)),
    ],
    ids=["authors", "teacher", "timm", "torchvision"],
)
def test_other_names_mean_the_same(
    called: Callable[[str], str], family: str, besides: tuple[str, ...], tmp_path: Path
) -> None:
    state = model().state_dict()
    truth = read(state, tmp_path, "hf.safetensors")
    renamed = {called(name): _shaped(called(name), tensor) for name, tensor in state.items()}
    found = read({**renamed, **{name: torch.zeros(8) for name in besides}}, tmp_path)
    assert found.family == family
    assert set(found.dropped) == set(besides)
    assert found.tensors.keys() == truth.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in truth.tensors.items())


def _with(name: str, tensor: Tensor | None) -> Callable[[State], State]:
    def changed(state: State) -> State:
        rest = {k: t for k, t in state.items() if k != name}
        return rest if tensor is None else {**rest, name: tensor}

    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with("stages.1.1.norm.bias", None), r"missing stages\.1\.1\.norm\.bias"),
        (_with("stages.2.0.dwconv.weight", None), r"lacks stages\.2\.0\.dwconv\.weight"),
        (_with("stages.0.0.grn.gamma", torch.ones(32)), r"unknown .*grn\.gamma"),
        (_with("stages.0.0.dwconv.weight", torch.ones(8, 1, 5, 5)), r"dwconv\.weight has shape"),
        (_with("downsample_layers.0.0.weight", torch.ones(8, 3, 2, 2)), r"downsample_layers\.0\.0\.weight has shape"),
        (_with("norm.weight", torch.full((24,), torch.nan)), r"norm\.weight is not finite"),
        (_with("stages.0.0.gamma", None), r"missing stages\.0\.0\.gamma"),
    ],
)
def test_what_is_not_exactly_a_convnext_is_refused(
    change: Callable[[State], State], words: str, tmp_path: Path
) -> None:
    state = {_authors(name): tensor for name, tensor in model().state_dict().items()}
    with pytest.raises(RunError, match=words):
        read(change(state), tmp_path)


def test_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    source = read(model().state_dict(), tmp_path)
    config = InflateConfig()
    with pytest.raises(ConfigError, match="without a voxel size"):
        plan_convnext(source, config, None)
    target = plan_convnext(source, config, (8.0, 8.0, 8.0)).model_copy(update={"depths": (1, 1, 1, 1)})
    with pytest.raises(RunError, match="is not the encoder that was asked for"):
        inflate_convnext(source, target, config)
