"""Building blocks of transformers; shapes are (B, N, D). Names of parameters are those of published 2-D models."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuropil.config import ViTConfig

#: Tokens up to which attention on a processor holds its table of N x N weights.
_TABLE = 2048


class Places(NamedTuple):
    """What attention is told of where tokens lie.

    Parameters
    ----------
    rotation
        Cosines and sines (B or 1, 1, N, d), by which queries and keys are turned.
    bias_N
        Added to the logits of every key.
    """

    rotation: tuple[Tensor, Tensor] | None
    bias_N: Tensor | None


def rotated(x_BHND: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Channels n and n + d/2 turned as a plane (rotary positions: Su et al. 2021, arXiv 2104.09864)."""
    cos, sin = rotation
    one, other = x_BHND.chunk(2, dim=-1)
    out: Tensor = x_BHND * cos + torch.cat([-other, one], dim=-1) * sin
    return out.to(x_BHND.dtype)


def attention(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + bias) v, fused where that is the faster way.

    On processors the fused kernel is two to five times slower in bf16 than two matrix products (bench/bench_layers.py).
    """
    if q_BHND.device.type != "cpu" or q_BHND.dtype != torch.bfloat16 or q_BHND.shape[2] > _TABLE:
        mask = None if bias_N is None else bias_N.to(q_BHND.dtype).expand(q_BHND.shape[2], -1)
        return F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, attn_mask=mask)
    weights_BHNN = (q_BHND * q_BHND.shape[-1] ** -0.5) @ k_BHND.transpose(-1, -2)
    if bias_N is not None:
        weights_BHNN = weights_BHNN + bias_N.to(weights_BHNN.dtype)
    mixed: Tensor = weights_BHNN.softmax(-1) @ v_BHND
    return mixed


class Attention(nn.Module):
    """Self-attention: softmax(q kᵀ / √d) v in each head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor, places: Places | None = None) -> Tensor:
        b, n, d = x_BND.shape
        q, k, v = self.qkv(x_BND).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if places is not None and places.rotation is not None:
            q, k = rotated(q, places.rotation), rotated(k, places.rotation)
        mixed = attention(q, k, v, None if places is None else places.bias_N)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, d))
        return out


class Mlp(nn.Module):
    """Two linear layers on every token by itself."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x_BND)))
        return out


class SwiGlu(nn.Module):
    """A gated MLP: half of the first layer's channels open the other half (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        gate, value = self.w12(x_BND).chunk(2, dim=-1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class LayerScale(nn.Module):
    """A learned gain for each channel (Touvron et al. 2021, arXiv 2103.17239)."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), start))

    def forward(self, x_BND: Tensor) -> Tensor:
        return x_BND * self.gamma


class DropPath(nn.Module):
    """In training a crop's branch is left out by chance, and the others are made larger by as much.

    Stochastic depth: Huang et al. 2016 (arXiv 1603.09382).
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, x_BND: Tensor) -> Tensor:
        if not self.training or self.chance == 0:
            return x_BND
        kept = torch.rand(len(x_BND), 1, 1, device=x_BND.device) >= self.chance
        return x_BND * (kept / (1 - self.chance)).to(x_BND.dtype)


class Block(nn.Module):
    """Attention, then an MLP, each normed before and added to what came in.

    Parameters
    ----------
    config
        Widths, heads, kind of MLP, and the first value of the learned gains.
    drop_path
        Chance to leave a branch out in training.
    """

    def __init__(self, config: ViTConfig, *, drop_path: float) -> None:
        super().__init__()
        dim, scale = config.dim, config.layer_scale
        self.norm1 = nn.LayerNorm(dim, eps=config.eps)
        self.attn = Attention(dim, config.heads)
        self.ls1 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.norm2 = nn.LayerNorm(dim, eps=config.eps)
        self.mlp = (Mlp if config.mlp == "gelu" else SwiGlu)(dim, round(config.mlp_ratio * dim))
        self.ls2 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: Tensor, places: Places | None = None) -> Tensor:
        x_BND = x_BND + self.drop_path(self.ls1(self.attn(self.norm1(x_BND), places)))
        out: Tensor = x_BND + self.drop_path(self.ls2(self.mlp(self.norm2(x_BND))))
        return out


def init_linear(module: nn.Module) -> None:
    """Fresh weights of linear layers: narrow normal, biases zero; for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
