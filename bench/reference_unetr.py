"""The peer of the speed benchmark: a plain UNETR as published for affinities (ViT encoder, full-resolution decoder).

After Hatamizadeh et al. 2022 (arXiv 2103.10504) at the sizes used for serial-section EM: width 192, depth 6, patch
4 x 16 x 16, feature size 32, about 18 M parameters. Written for timing; experiments/isbi2012_unetr.yaml trains it, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATCH = (4, 16, 16)
CROP = (32, 160, 160)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
        )
        self.shortcut = nn.Conv3d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.body(x) + self.shortcut(x), 0.01)


def _up(inputs: int, outputs: int, factor: tuple[int, int, int]) -> nn.ConvTranspose3d:
    return nn.ConvTranspose3d(inputs, outputs, factor, stride=factor, bias=False)


class ReferenceUNETR(nn.Module):
    """(B, 1, Z, Y, X) → (B, 3, Z, Y, X) for crops of one size, multiples of `PATCH`."""

    def __init__(
        self,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        features: int = 32,
        crop: tuple[int, int, int] = CROP,
    ) -> None:
        super().__init__()
        f = features
        tokens = (crop[0] // PATCH[0]) * (crop[1] // PATCH[1]) * (crop[2] // PATCH[2])
        self.embed = nn.Conv3d(1, dim, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        layer = {
            "dim_feedforward": 4 * dim,
            "dropout": 0.0,
            "activation": "gelu",
            "batch_first": True,
            "norm_first": True,
        }
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(dim, heads, **layer) for _ in range(depth))
        self.stem = _Block(1, f)
        # strides of the skips: (1,2,2), (1,4,4), (2,8,8); the bottom is (4,16,16)
        self.skip1 = nn.Sequential(_up(dim, 2 * f, (2, 2, 2)), _Block(2 * f, 2 * f), _up(2 * f, 2 * f, (2, 2, 2)), _Block(2 * f, 2 * f), _up(2 * f, 2 * f, (1, 2, 2)), _Block(2 * f, 2 * f))  # fmt: skip
        self.skip2 = nn.Sequential(_up(dim, 4 * f, (2, 2, 2)), _Block(4 * f, 4 * f), _up(4 * f, 4 * f, (2, 2, 2)), _Block(4 * f, 4 * f))  # fmt: skip
        self.skip3 = nn.Sequential(_up(dim, 8 * f, (2, 2, 2)), _Block(8 * f, 8 * f))
        self.up3, self.dec3 = _up(dim, 8 * f, (2, 2, 2)), _Block(16 * f, 8 * f)
        self.up2, self.dec2 = _up(8 * f, 4 * f, (2, 2, 2)), _Block(8 * f, 4 * f)
        self.up1, self.dec1 = _up(4 * f, 2 * f, (1, 2, 2)), _Block(4 * f, 2 * f)
        self.up0, self.dec0 = _up(2 * f, f, (1, 2, 2)), _Block(2 * f, f)
        self.head: nn.Module = nn.Conv3d(f, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.embed(x)
        shape = grid.shape
        tokens = grid.flatten(2).transpose(1, 2) + self.position
        taps = []
        for block in self.blocks:
            tokens = block(tokens)
            taps.append(tokens.transpose(1, 2).reshape(shape))
        y = self.dec3(torch.cat([self.up3(taps[-1]), self.skip3(taps[4])], 1))
        y = self.dec2(torch.cat([self.up2(y), self.skip2(taps[3])], 1))
        y = self.dec1(torch.cat([self.up1(y), self.skip1(taps[1])], 1))
        y = self.dec0(torch.cat([self.up0(y), self.stem(x)], 1))
        out: Tensor = self.head(y)
        return out
