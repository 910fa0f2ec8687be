"""A vision transformer over patches of a volume whose weights come from a 2-D one; see `neuropil.models.inflate`.

In the plane it is what its source was: positions are a learned table, stretched to the grid of the crop (DINO, MAE),
or rotary angles (DINOv3; Su et al. 2021, arXiv 2104.09864), the same on every section. Depth is told by a second table
that begins at zero. A volume shows G sections of patches where the source saw one, beside the same few tokens without
a place (class token, registers); log G on the logits of these keeps their share, so that G equal sections are answered
exactly as the source answers one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuropil.config import ModelConfig, ViTConfig
from neuropil.geometry import Float3, Int3
from neuropil.models.transformer import Places
from neuropil.models.vit3d import ViT3d

#: How wide the fresh table in the plane is drawn.
_TABLE_STD = 0.02


def build_encoder(config: ModelConfig, voxel_size: Float3) -> nn.Module:
    """The encoder (nm; z, y, x) that settings ask for; see `neuropil.models.build_encoder`."""
    return InflatedViT(config.vit, voxel_size)


class InflatedViT(ViT3d):
    """Image (B, 1, Z, Y, X) to tokens (B, N, D), as `ViT3d`, with the positions of a 2-D transformer.

    Parameters
    ----------
    config
        Sizes; see `ViTConfig`. `config.inflated` says what the positions are.
    voxel_size
        nm, z, y, x; decides the patch where the settings leave it empty. Positions count patches, not nanometres.

    Attributes
    ----------
    pos_embed
        (Y, X, D) table in the plane; absent with rotary positions, whose `rope_periods` (d/4,) it has instead.
    depth_embed
        (Z, D) table through depth, zero at first.
    """

    def __init__(self, config: ViTConfig, voxel_size: Float3) -> None:
        super().__init__(config, voxel_size)
        z, y, x = config.inflated.table
        self._rope = config.inflated.positions == "rope"
        self._even_prefix = config.inflated.even_prefix
        if self._rope:
            self.register_buffer("rope_periods", rope_periods(config.dim // config.heads, config.inflated.rope_theta))
        else:
            self.pos_embed = nn.Parameter(torch.empty(y, x, config.dim))
            nn.init.trunc_normal_(self.pos_embed, std=_TABLE_STD)
        self.depth_embed = nn.Parameter(torch.zeros(z, config.dim))

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: those of `ViT3d`, and positions."""
        return super().no_decay() | ({"pos_embed", "depth_embed"} & dict(self.named_parameters()).keys())

    def positions(self, grid: Int3, voxel_size: Float3 | None = None) -> Tensor:
        """Codes (N, D) of patches: of the place in the plane, and of the depth. Voxel sizes change nothing."""
        z, y, x = grid
        depth_ZD = stretched_line(self.depth_embed, z)
        if self._rope:
            return depth_ZD.repeat_interleave(y * x, dim=0)
        plane_ND = stretched_table(self.pos_embed, (y, x)).flatten(0, 1)
        return (depth_ZD[:, None] + plane_ND[None]).flatten(0, 1)

    def _places(self, x_BCZYX: Tensor, keep_BK: Tensor | None) -> Places | None:
        z, y, x = self.grid((x_BCZYX.shape[2], x_BCZYX.shape[3], x_BCZYX.shape[4]))
        prefix = 0 if self.prefix_tokens is None else len(self.prefix_tokens)
        rotation = None
        if self._rope:
            angles_ND = rope_angles((y, x), self.rope_periods).repeat(z, 1)  # type: ignore[arg-type]
            angles_BND = angles_ND[None] if keep_BK is None else angles_ND[keep_BK]
            rotation = turned(angles_BND, prefix)
        bias = None
        if prefix and z > 1 and self._even_prefix:
            tokens = z * y * x if keep_BK is None else keep_BK.shape[1]
            bias = torch.zeros(prefix + tokens, device=x_BCZYX.device)
            bias[:prefix] = math.log(z)
        return None if rotation is None and bias is None else Places(rotation, bias)


def stretched_table(table_YXD: Tensor, grid: tuple[int, int]) -> Tensor:
    """A table of positions resized to a grid (bicubic, antialiased); itself where it fits."""
    if tuple(table_YXD.shape[:2]) == grid:
        return table_YXD
    resized = F.interpolate(table_YXD.movedim(-1, 0)[None], size=grid, mode="bicubic", antialias=True)
    return resized[0].movedim(0, -1)


def stretched_line(table_ZD: Tensor, count: int) -> Tensor:
    """A table of depths resized to so many (linear; means where it shrinks); itself where it fits."""
    if len(table_ZD) == count:
        return table_ZD
    if len(table_ZD) > count:
        return F.adaptive_avg_pool1d(table_ZD.T[None], count)[0].T
    return F.interpolate(table_ZD.T[None], size=count, mode="linear")[0].T


def rope_periods(head_dim: int, theta: float) -> Tensor:
    """Periods (d/4,) of the angles of DINOv3 (Siméoni et al. 2025, arXiv 2508.10104), in half widths of the image."""
    return torch.tensor([theta ** (4 * n / head_dim) for n in range(head_dim // 4)])


def rope_angles(grid: tuple[int, int], periods: Tensor) -> Tensor:
    """Angles (N, d) of patches: rows, then columns, twice; the image runs from -1 to 1 along both."""
    parts = []
    for axis, count in enumerate(grid):
        centre = 2 * (torch.arange(count, device=periods.device, dtype=torch.float32) + 0.5) / count - 1
        angle = 2 * math.pi * centre[:, None] / periods.float()
        shape = (count, 1, -1) if axis == 0 else (1, count, -1)
        parts.append(angle.view(shape).expand(*grid, -1))
    return torch.cat(parts, dim=-1).flatten(0, 1).repeat(1, 2)


def turned(angles_BND: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, prefix + N, d); tokens without a place come first and are not turned."""
    whole = F.pad(angles_BND, (0, 0, prefix, 0))[:, None]
    return whole.cos(), whole.sin()
