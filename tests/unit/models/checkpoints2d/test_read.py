"""Sizes come from names and shapes; what is not exactly a known model is an error that names the tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neuropil.errors import RunError
from neuropil.models.checkpoints2d import read_vit2d
from neuropil.models.vit2d import Planar, PlanarViT

State = dict[str, Tensor]
SMALL: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 1, "hidden": 96, "patch": (4, 4), "grid": (3, 3)}


def network(**changes: Any) -> PlanarViT:
    torch.manual_seed(0)
    return PlanarViT(Planar(**{**SMALL, **changes}), gain=0.3).eval()


def saved(state: State, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "x.pth")
    return tmp_path / "x.pth"


VARIANTS: list[dict[str, Any]] = [
    {},
    {"prefix": 0},
    {"prefix": 5, "layer_scale": True},
    {"mlp": "swiglu", "hidden": 80},
    {"grid": None, "prefix": 5, "eps": 1e-5},
    {"channels": 1, "patch": (8, 8), "grid": (7, 7)},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_our_own_models_come_back_as_they_were(changes: dict[str, Any], tmp_path: Path) -> None:
    net = network(**changes)
    read = read_vit2d(saved(net.published(), tmp_path), heads=net.shape.heads)
    assert read.shape == net.shape
    assert (read.dropped, read.supplied) == ({}, {})
    rows, columns = net.shape.patch
    x = torch.randn(2, net.shape.channels, 3 * rows, 5 * columns)
    with torch.no_grad():
        assert torch.allclose(read.network()(x), net(x), atol=1e-6)


def test_heads_are_said_where_no_shape_tells_them(tmp_path: Path) -> None:
    path = saved(network(dim=48, heads=3).published(), tmp_path)
    with pytest.raises(RunError, match=r"heads of a DINO model of width 48 is not known[\s\S]*inflate.heads"):
        read_vit2d(path)
    assert read_vit2d(path, heads=3).shape.heads == 3
    with pytest.raises(RunError, match="5 heads"):
        read_vit2d(path, heads=5)


def test_heads_that_rotary_periods_deny_are_refused(tmp_path: Path) -> None:
    path = saved(network(grid=None, heads=2).published(), tmp_path)
    assert read_vit2d(path).shape.heads == 2
    with pytest.raises(RunError, match="heads 32 wide"):
        read_vit2d(path, heads=4)


def _empty(shape: Planar) -> State:
    """Weights of a large model that take no memory."""
    with torch.device("meta"):
        net = PlanarViT(shape)
    return {name: torch.zeros(1).expand(t.shape) for name, t in net.published().items()}


@pytest.mark.parametrize(("width", "heads"), [(1280, 16), (384, 6), (1024, 16), (192, 3)])
def test_heads_of_published_widths(width: int, heads: int, tmp_path: Path) -> None:
    """ViT-H of MAE and torchvision has heads of 80; all others of 64."""
    shape = Planar(dim=width, depth=1, heads=heads, hidden=8, patch=(2, 2), grid=(2, 2))
    assert read_vit2d(saved(_empty(shape), tmp_path)).shape == shape


@pytest.mark.parametrize(("width", "heads"), [(4096, 32), (1280, 20)])
def test_heads_of_published_widths_with_rotary_positions(width: int, heads: int, tmp_path: Path) -> None:
    shape = Planar(width, 1, heads, 8, (2, 2), None, prefix=5, layer_scale=True, eps=1e-5)
    state = _empty(shape)
    assert read_vit2d(saved(state, tmp_path)).heads_from == "from its rotary periods"
    # timm keeps no periods: the width must do
    words = (("storage_tokens", "reg_token"), ("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2"))
    del state["rope_embed.periods"]
    for ours, theirs in words:
        state = {name.replace(ours, theirs): t for name, t in state.items()}
    read = read_vit2d(saved(state, tmp_path))
    assert (read.family, read.shape) == ("timm DINOv3", shape)


def _without(name: str) -> Callable[[State], State]:
    return lambda state: {k: t for k, t in state.items() if k != name}


def _with(name: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: tensor}


NOT_A_MODEL: list[tuple[Callable[[State], State], str]] = [
    (_without("blocks.1.attn.proj.bias"), r"block 1 lacks 'proj\.bias'"),
    (_without("blocks.0.mlp.fc2.weight"), r"block 0 lacks 'fc2\.weight'"),
    (_without("norm.weight"), r"lacks 'norm\.weight'"),
    (_without("pos_embed"), "lacks 'table'"),
    (_without("patch_embed.proj.bias"), r"lacks 'patch\.bias'"),
    (_without("patch_embed.proj.weight"), "no 2-D vision transformer"),
    (_with("norm_pre.weight", torch.ones(64)), r"1 unknown tensors: norm_pre\.weight"),
    (_with("blocks.0.attn.q_norm.weight", torch.ones(64)), r"unknown tensors: blocks\.0\.attn\.q_norm"),
    (_with("dist_token", torch.ones(1, 1, 64)), "unknown tensors: dist_token"),
    (_with("fpn1.0.weight", torch.ones(2)), r"unknown tensors: fpn1\.0\.weight"),
    (_with("class_token", torch.ones(1, 1, 64)), "repeated tensors: class_token"),
    (_with("blocks.0.norm1.bias", torch.ones(65)), r"blocks\.0\.norm1\.bias has shape \(65,\), not \(64,\)"),
    (_with("blocks.1.ls1.gamma", torch.ones(64)), r"unexpected blocks\.1\.ls1\.gamma"),
    (_with("blocks.1.norm1.bias", torch.full((64,), torch.nan)), "is not finite"),
    (_with("pos_embed", torch.ones(1, 8, 64)), "positions for 8 tokens"),
    (_with("patch_embed.proj.weight", torch.ones(64, 4, 4, 4)), "3 or 1 colours"),
    (_with("patch_embed.proj.weight", torch.ones(64, 3, 16)), "rows, columns"),
    (_with("blocks.0.attn.qkv.bias_mask", torch.full((192,), torch.nan)), "mask of the bias"),
    (lambda s: {k: t for k, t in s.items() if not k.startswith("blocks.0.")}, "block 0 lacks"),
    (lambda s: {k: t for k, t in s.items() if not k.startswith("blocks.")}, "0 blocks"),
    (
        lambda s: {
            "downsample_layers.0.0.weight": torch.ones(8, 3, 4, 4),
            "stages.0.0.dwconv.weight": torch.ones(8, 1, 7, 7),
        },
        "is a ConvNeXt",
    ),
    (lambda s: {"layer1.0.conv1.weight": torch.ones(8, 3, 3, 3)}, "no 2-D vision transformer"),
]


@pytest.mark.parametrize(("change", "words"), NOT_A_MODEL)
def test_what_is_not_exactly_a_model_is_refused(change: Callable[[State], State], words: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words):
        read_vit2d(saved(change(network().published()), tmp_path), heads=1)


def test_what_is_of_no_use_is_dropped_and_named(tmp_path: Path) -> None:
    extra = {
        "head.weight": "classification or projection head",
        "mask_token": "token of hidden patches",
        "decoder_embed.weight": "decoder",
        "local_cls_norm.weight": "norm of other class tokens",
    }
    read = read_vit2d(saved({**network().published(), **{n: torch.zeros(3) for n in extra}}, tmp_path))
    assert read.dropped == extra


def test_a_model_that_pools_before_its_norm_says_so(tmp_path: Path) -> None:
    net = network()
    state = {k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: t for k, t in net.published().items()}
    read = read_vit2d(saved(state, tmp_path), heads=1)
    assert torch.equal(read.tensors["norm.weight"], net.norm.weight)
    assert any("pools before its last norm" in note for note in read.notes)


def test_a_norm_after_pooling_is_dropped_where_there_is_one_of_tokens(tmp_path: Path) -> None:
    extra = {"fc_norm.weight": torch.zeros(64), "fc_norm.bias": torch.zeros(64)}
    read = read_vit2d(saved({**network().published(), **extra}, tmp_path), heads=1)
    assert read.dropped == dict.fromkeys(extra, "norm after pooling")
    assert torch.equal(read.tensors["norm.weight"], torch.ones(64))


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    read = read_vit2d(saved({k: t.bfloat16() for k, t in network().published().items()}, tmp_path))
    assert {t.dtype for t in read.tensors.values()} == {torch.float32}


def _hugging(tmp_path: Path, **config: Any) -> Path:
    """A folder under the names of Hugging Face's ViT."""
    net = network()
    words = (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("blocks.", "encoder.layer."),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    )
    state = {}
    for name, tensor in net.published().items():
        for ours, theirs in words:
            name = name.replace(ours, theirs)
        name = f"layernorm.{name[5:]}" if name.startswith("norm.") else name
        if "attn.qkv" in name:
            for part, chunk in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[name.replace("attn.qkv", f"attention.attention.{part}")] = chunk.clone()
        else:
            state[name] = tensor
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64, **config}))
    return tmp_path


def test_a_config_beside_is_believed_where_it_fits(tmp_path: Path) -> None:
    read = read_vit2d(_hugging(tmp_path, num_attention_heads=4, layer_norm_eps=0.01))
    assert (read.shape.heads, read.shape.eps, read.heads_from) == (4, 0.01, "from its config.json")


@pytest.mark.parametrize(
    ("config", "words"),
    [({"hidden_size": 96}, "says width 96, the weights 64"), ({"hidden_act": "quick_gelu"}, "activation quick_gelu")],
)
def test_a_config_that_does_not_fit_is_refused(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=words):
        read_vit2d(_hugging(tmp_path, **config))
