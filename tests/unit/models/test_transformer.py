"""Blocks against a plain transcription of the formulas, and the statistics of what is left out by chance."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from neuropil.config import ViTConfig
from neuropil.models.transformer import Attention, Block, DropPath


def attention_by_hand(module: Attention, x: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d) v, token by token and head by head."""
    weight, bias = module.qkv.weight, module.qkv.bias
    dim, width = x.shape[-1], x.shape[-1] // module.heads
    out = torch.empty_like(x)
    for b in range(len(x)):
        for head in range(module.heads):
            rows = [slice(part * dim + head * width, part * dim + (head + 1) * width) for part in range(3)]
            q, k, v = (x[b] @ weight[r].T + bias[r] for r in rows)
            for i in range(x.shape[1]):
                score = torch.stack([q[i] @ k[j] for j in range(x.shape[1])]) / math.sqrt(width)
                share = score.exp() / score.exp().sum()
                out[b, i, head * width : (head + 1) * width] = sum(s * row for s, row in zip(share, v, strict=True))
    return out @ module.proj.weight.T + module.proj.bias


def layer_norm_by_hand(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that a wrong formula shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module.eval()


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_softmax_of_scaled_products(heads: int) -> None:
    module = randomised(Attention(12, heads))
    x = torch.randn(2, 5, 12)
    assert torch.allclose(module(x), attention_by_hand(module, x), atol=1e-5)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_block_is_the_classic_one_normed_before(scale: float | None) -> None:
    block = randomised(Block(ViTConfig(dim=12, heads=3, mlp_ratio=2, layer_scale=scale), drop_path=0.0))
    x = torch.randn(2, 5, 12)
    gains = (1, 1) if scale is None else (block.ls1.gamma, block.ls2.gamma)
    y = x + gains[0] * attention_by_hand(block.attn, layer_norm_by_hand(x, block.norm1.weight, block.norm1.bias))
    z = layer_norm_by_hand(y, block.norm2.weight, block.norm2.bias)
    hidden = F.linear(z, block.mlp.fc1.weight, block.mlp.fc1.bias)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = y + gains[1] * F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_names_and_shapes_are_those_of_published_models() -> None:
    block = Block(ViTConfig(dim=24, heads=2, layer_scale=1e-5), drop_path=0.0)
    shapes = {name: tuple(t.shape) for name, t in block.state_dict().items()}
    assert shapes == {
        "norm1.weight": (24,),
        "norm1.bias": (24,),
        "attn.qkv.weight": (72, 24),
        "attn.qkv.bias": (72,),
        "attn.proj.weight": (24, 24),
        "attn.proj.bias": (24,),
        "ls1.gamma": (24,),
        "norm2.weight": (24,),
        "norm2.bias": (24,),
        "mlp.fc1.weight": (96, 24),
        "mlp.fc1.bias": (96,),
        "mlp.fc2.weight": (24, 96),
        "mlp.fc2.bias": (24,),
        "ls2.gamma": (24,),
    }
    assert torch.all(block.ls1.gamma == 1e-5)


@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_paths_are_dropped_for_whole_crops_at_their_rate_and_the_mean_stays(chance: float) -> None:
    torch.manual_seed(0)
    crops = 20_000
    y = DropPath(chance).train()(torch.ones(crops, 2, 3)).view(crops, 6)
    assert torch.equal(y.amin(1), y.amax(1))
    kept = y[:, 0] > 0
    assert torch.allclose(y[kept], torch.tensor(1 / (1 - chance)))
    # five standard deviations of a binomial share
    assert abs(float(kept.float().mean()) - (1 - chance)) < 5 * math.sqrt(chance * (1 - chance) / crops)


def test_nothing_is_dropped_outside_training() -> None:
    x = torch.randn(50, 2, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_attention_in_bf16_is_that_of_fp32_within_its_precision() -> None:
    from neuropil.models.transformer import attention

    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 50, 16) for _ in range(3))
    exact = (q @ k.transpose(-1, -2) / 4).softmax(-1) @ v
    assert torch.allclose(attention(q, k, v), exact, atol=1e-5)
    rounded = attention(*(t.bfloat16() for t in (q, k, v))).float()
    assert (rounded - exact).abs().max() < 0.03
