"""The 2-D vision transformer that weights are inflated from: what it computes, and how its weights are published.

The blocks are those of `vit3d`. It serves as the truth that inflated encoders are compared with, and can be trained and
saved under the names of DINO (Caron et al. 2021, arXiv 2104.14294) or, with rotary positions, DINOv3 (Siméoni et al.
2025, arXiv 2508.10104).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neuropil.config import ViTConfig
from neuropil.errors import InputError
from neuropil.models.transformer import Block, Places, init_linear
from neuropil.models.vit_inflated import rope_angles, rope_periods, stretched_table, turned


@dataclass(frozen=True)
class Planar:
    """Sizes of a 2-D vision transformer.

    Parameters
    ----------
    dim, depth, heads, hidden
        Width of tokens, number of blocks, of heads, and width of the hidden layer of a block.
    mlp
        "gelu", or "swiglu" (gated).
    patch, grid
        Pixels of a patch and places of the table of positions, y, x; `grid` is None with rotary positions.
    channels
        Of the image: 3 or 1.
    prefix
        Tokens without a place: the class token first, then registers.
    layer_scale
        Whether every branch has a learned gain.
    eps
        Added to variances in the norms.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    patch: tuple[int, int]
    grid: tuple[int, int] | None
    prefix: int = 1
    channels: int = 3
    mlp: str = "gelu"
    layer_scale: bool = False
    eps: float = 1e-6

    def blocks(self, start: float = 1.0) -> ViTConfig:
        """The sizes as settings of `vit3d`, with learned gains that begin at `start`."""
        return ViTConfig.model_validate(
            {
                "dim": self.dim,
                "depth": self.depth,
                "heads": self.heads,
                "mlp_ratio": self.hidden / self.dim,
                "mlp": self.mlp,
                "eps": self.eps,
                "layer_scale": start if self.layer_scale else None,
                "prefix_tokens": self.prefix,
            }
        )


class PlanarViT(nn.Module):
    """Image (B, C, Y, X) to tokens (B, prefix + N, D) after the final norm; N in C order of the grid of patches.

    Parameters
    ----------
    shape
        Sizes.
    gain
        First value of learned gains, where there are any.
    theta
        Base of rotary wavelengths, where positions are rotary.

    Attributes
    ----------
    pos_embed
        (Y, X, D) table; absent with rotary positions, whose `rope_periods` (d/4,) it has instead.
    prefix_tokens
        (prefix, D); the class token with its own position. Absent where there are none.
    """

    def __init__(self, shape: Planar, *, gain: float = 1.0, theta: float = 100.0) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(shape.channels, shape.dim, shape.patch, stride=shape.patch)}
        )
        self.prefix_tokens = nn.Parameter(torch.zeros(shape.prefix, shape.dim)) if shape.prefix else None
        if self.prefix_tokens is not None:
            nn.init.trunc_normal_(self.prefix_tokens, std=0.02)
        if shape.grid is None:
            self.register_buffer("rope_periods", rope_periods(shape.dim // shape.heads, theta))
        else:
            self.pos_embed = nn.Parameter(torch.empty(*shape.grid, shape.dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        config = shape.blocks(gain)
        self.blocks = nn.ModuleList(Block(config, drop_path=0.0) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.blocks.apply(init_linear)

    def forward(self, x_BCYX: Tensor, keep_BK: Tensor | None = None) -> Tensor:
        """Tokens of all patches, or of those that are kept: int64 numbers (B, K).

        Raises
        ------
        InputError
            If the image is not made of whole patches.
        """
        (height, width), (py, px) = x_BCYX.shape[2:], self.shape.patch
        if height % py or width % px:
            raise InputError(f"an image of {height} x {width}", f"multiples of the patch {self.shape.patch}")
        grid = (height // py, width // px)
        x_BND = self.patch_embed["proj"](x_BCYX).flatten(2).transpose(1, 2)
        if self.shape.grid is not None:
            x_BND = x_BND + stretched_table(self.pos_embed, grid).flatten(0, 1)
        if keep_BK is not None:
            x_BND = x_BND.gather(1, keep_BK[:, :, None].expand(-1, -1, x_BND.shape[2]))
        if self.prefix_tokens is not None:
            x_BND = torch.cat([self.prefix_tokens.expand(len(x_BND), -1, -1).to(x_BND.dtype), x_BND], dim=1)
        places = self._places(grid, keep_BK)
        for block in self.blocks:
            x_BND = block(x_BND, places)
        out: Tensor = self.norm(x_BND)
        return out

    def published(self) -> dict[str, Tensor]:
        """The weights under the names of DINO, or with rotary positions of DINOv3."""
        found = {}
        for name, tensor in self.state_dict().items():
            if name == "prefix_tokens":
                found["cls_token"] = tensor[None, :1]
                if len(tensor) > 1:
                    found["storage_tokens" if self.shape.grid is None else "register_tokens"] = tensor[None, 1:]
            elif name == "pos_embed":
                table = tensor.flatten(0, 1)
                # the class token holds its position already
                own = table.new_zeros(min(1, self.shape.prefix), table.shape[1])
                found["pos_embed"] = torch.cat([own, table])[None]
            else:
                found["rope_embed.periods" if name == "rope_periods" else name] = tensor
        return found

    def _places(self, grid: tuple[int, int], keep_BK: Tensor | None) -> Places | None:
        if self.shape.grid is not None:
            return None
        angles_ND = rope_angles(grid, self.rope_periods)  # type: ignore[arg-type]
        angles_BND = angles_ND[None] if keep_BK is None else angles_ND[keep_BK]
        return Places(turned(angles_BND, self.shape.prefix), None)
