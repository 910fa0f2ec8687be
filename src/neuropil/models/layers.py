"""Building blocks of the convolutional networks; shapes are (B, C, Z, Y, X)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuropil.geometry import Int3


def conv(inputs: int, outputs: int, kernel: Int3, *, bias: bool = False) -> nn.Conv3d:
    """A convolution that keeps the extent (odd kernels, zero padding)."""
    z, y, x = kernel
    layer = nn.Conv3d(inputs, outputs, kernel, padding=(z // 2, y // 2, x // 2), bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm(kind: str, channels: int) -> nn.Module:
    """Normalisation over one crop: "group" (8 channels a group), "instance" or "none"."""
    if kind == "none":
        return nn.Identity()
    groups = channels if kind == "instance" else max(1, channels // 8)
    return nn.GroupNorm(groups, channels)


class ResBlock(nn.Module):
    """Two convolutions with a shortcut, normalised and rectified."""

    def __init__(self, inputs: int, outputs: int, kernels: tuple[Int3, Int3], kind: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, kernels[0]), norm(kind, outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, kernels[1]), norm(kind, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, (1, 1, 1))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm1(self.conv1(x_BCZYX)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x_BCZYX))


def fold(x_BCZYX: Tensor, factor: Int3) -> Tensor:
    """Move each `factor` neighbourhood of voxels into channels (space to depth)."""
    b, c, z, y, x = x_BCZYX.shape
    fz, fy, fx = factor
    parts = x_BCZYX.permute(0, 2, 3, 4, 1).reshape(b, z // fz, fz, y // fy, fy, x // fx, fx, c)
    folded = parts.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, z // fz, y // fy, x // fx, fz * fy * fx * c)
    return folded.permute(0, 4, 1, 2, 3)


def unfold(x_BCZYX: Tensor, factor: Int3) -> Tensor:
    """The inverse of `fold` (depth to space)."""
    b, c, z, y, x = x_BCZYX.shape
    fz, fy, fx = factor
    out = c // (fz * fy * fx)
    parts = x_BCZYX.permute(0, 2, 3, 4, 1).reshape(b, z, y, x, fz, fy, fx, out)
    spread = parts.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, z * fz, y * fy, x * fx, out)
    return spread.permute(0, 4, 1, 2, 3)


class Down(nn.Module):
    """A strided convolution with kernel = stride, as one matrix product (several times faster on CPUs)."""

    def __init__(self, inputs: int, outputs: int, factor: Int3) -> None:
        super().__init__()
        self.factor = factor
        self.proj = conv(inputs * factor[0] * factor[1] * factor[2], outputs, (1, 1, 1))

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        out: Tensor = self.proj(fold(x_BCZYX, self.factor))
        return out


class Up(nn.Module):
    """A transposed convolution with kernel = stride, as one matrix product."""

    def __init__(self, inputs: int, outputs: int, factor: Int3) -> None:
        super().__init__()
        self.factor = factor
        self.proj = conv(inputs, outputs * factor[0] * factor[1] * factor[2], (1, 1, 1))

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        return unfold(self.proj(x_BCZYX), self.factor)
