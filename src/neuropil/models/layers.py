"""Building blocks of the convolutional networks; shapes are (B, C, Z, Y, X)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.geometry import Int3
from neuropil.models import one_crop

#: From so many times wider than deep, inputs are convolved section by section; see `Conv`.
WIDE = 8


class Conv(nn.Conv3d):
    """A convolution whose gradient is right on processors too.

    With torch 2.13 on a processor with bf16 arithmetic, the weight gradient of a kernel three deep over an input two
    deep holds whatever lay in memory (LOG.md, 2026-11-25), and that of any kernel over a thin and wide input writes
    where it must not: the process dies (LOG.md, 2026-11-30). There, sections are convolved one by one, which is right.
    Without bf16 arithmetic, single crops are slow; see `neuropil.models.one_crop`.
    """

    @property
    def plain(self) -> bool:
        """Whether kernel and stride are those that `one_crop` knows."""
        simple = (self.stride, self.dilation, self.groups) == ((1, 1, 1), (1, 1, 1), 1)
        return simple and self.padding_mode == "zeros" and not isinstance(self.padding, str)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.plain and one_crop.concerns(input, weight):
            return one_crop.convolved(input, weight, bias, self.padding)  # type: ignore[arg-type]
        # only where gradients are asked for: exported networks see no branch on the extent
        aside = self.training and input.device.type == "cpu"
        if aside and self.stride == (1, 1, 1) and _in_bf16(input) and max(input.shape[3:]) > WIDE * input.shape[2]:
            out = by_sections(input, weight, bias)
        elif aside and self.kernel_size[0] == 3 and input.shape[2] == 2:
            # zeros put around by hand are what its own padding means
            padded = F.pad(input, (0, 0, 0, 0, 1, 1))
            beside = (0, self.kernel_size[1] // 2, self.kernel_size[2] // 2)
            out = F.conv3d(padded, weight, bias, self.stride, beside, self.dilation, self.groups)
        else:
            out = super()._conv_forward(input, weight, bias)
        return out


def _in_bf16(tensor: Tensor) -> bool:
    cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return cast or tensor.dtype == torch.bfloat16


def by_sections(x_BCZYX: Tensor, weight_OIZYX: Tensor, bias_O: Tensor | None) -> Tensor:
    """A 3-D convolution (odd kernel, zero padding, stride 1) as 2-D convolutions of sections, summed across them."""
    b, c, z, y, x = x_BCZYX.shape
    outputs, _, deep, high, wide = weight_OIZYX.shape
    sections = x_BCZYX.permute(0, 2, 3, 4, 1).reshape(b * z, y, x, c).permute(0, 3, 1, 2)
    # every kernel section over every section at once; those that would lie outside are left out
    reach = min(deep // 2, z - 1)
    taps = range(-reach, reach + 1)
    kernels = torch.cat([weight_OIZYX[:, :, deep // 2 + tap] for tap in taps])
    each = F.conv2d(sections, kernels, padding=(high // 2, wide // 2))
    parts = each.permute(0, 2, 3, 1).reshape(b, z, y, x, len(taps), outputs)
    out = parts[..., reach, :]
    for n, tap in enumerate(taps):
        if tap:
            # section s gets what the kernel's section `tap` makes of section s + tap
            there = parts[:, max(0, tap) : z + min(0, tap), ..., n, :]
            out = out + F.pad(there, (0, 0, 0, 0, 0, 0, max(0, -tap), max(0, tap)))
    if bias_O is not None:
        out = out + bias_O.to(out.dtype)
    return out.permute(0, 4, 1, 2, 3)


class StandardisedConv(Conv):
    """A convolution whose kernels have mean 0 and variance 2 / fan-in, times a learned gain for each output.

    What keeps networks without normalisation layers trainable (Qiao et al. 2019, arXiv 1903.10520; Brock et al. 2021,
    arXiv 2102.06171). The work is on the weights, not on the voxels, so it costs nothing on large crops.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Int3, *, padding: Int3) -> None:
        super().__init__(inputs, outputs, kernel, padding=padding, bias=True)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            fan_in = self.weight[0].numel()
            variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3, 4), correction=0, keepdim=True)
            scale = self.gain[:, None, None, None, None] * torch.rsqrt(variance * fan_in / 2 + 1e-4)
            weight = (self.weight - mean) * scale
        out: Tensor = self._conv_forward(input, weight, self.bias)
        return out


def conv(inputs: int, outputs: int, kernel: Int3, kind: str = "plain", *, bias: bool = False) -> nn.Conv3d:
    """A convolution that keeps the extent (odd kernels, zero padding); "standardised" networks have no norm layers."""
    z, y, x = kernel
    padding = (z // 2, y // 2, x // 2)
    if kind == "standardised":
        layer: nn.Conv3d = StandardisedConv(inputs, outputs, kernel, padding=padding)
    else:
        layer = Conv(inputs, outputs, kernel, padding=padding, bias=bias or kind == "none")
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm(kind: str, channels: int) -> nn.Module:
    """Normalisation over one crop: "group" (8 channels a group) or "instance"; nothing for other kinds."""
    if kind in {"none", "standardised"}:
        return nn.Identity()
    groups = channels if kind == "instance" else max(1, channels // 8)
    return nn.GroupNorm(groups, channels)


class ResBlock(nn.Module):
    """Two convolutions with a shortcut, normalised and rectified."""

    def __init__(self, inputs: int, outputs: int, kernels: tuple[Int3, Int3], kind: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, kernels[0], kind), norm(kind, outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, kernels[1], kind), norm(kind, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, (1, 1, 1), kind)
        self.act = nn.ReLU(inplace=True)
        if isinstance(self.conv2, StandardisedConv):
            # every block begins near the identity, so depth does not make the signal grow
            nn.init.constant_(self.conv2.gain, 0.1)

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

    def __init__(self, inputs: int, outputs: int, factor: Int3, kind: str) -> None:
        super().__init__()
        self.factor = factor
        self.proj = conv(inputs * factor[0] * factor[1] * factor[2], outputs, (1, 1, 1), kind)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        out: Tensor = self.proj(fold(x_BCZYX, self.factor))
        return out


class Up(nn.Module):
    """A transposed convolution with kernel = stride, as one matrix product."""

    def __init__(self, inputs: int, outputs: int, factor: Int3, kind: str) -> None:
        super().__init__()
        self.factor = factor
        self.proj = conv(inputs, outputs * factor[0] * factor[1] * factor[2], (1, 1, 1), kind)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        return unfold(self.proj(x_BCZYX), self.factor)


class Climbing(nn.Module):
    """A network whose way up ends in a head; it has these, of each level, coarsest first.

    Attributes
    ----------
    ups, merges, decoders
        From the level below, after what joins there, and what follows.
    head
        Voxels of the finest level → outputs.
    """

    ups: nn.ModuleList
    merges: nn.ModuleList
    decoders: nn.ModuleList
    head: nn.Module

    def climb(self, y_BCZYX: Tensor, skips: list[list[Tensor]]) -> Iterator[Tensor]:
        """The way up from the coarsest features: the map of each level, coarsest first.

        `skips` holds what joins each level, finest first, and is used up; without any, nothing joins.
        """
        y = y_BCZYX
        for up, merge, decoder in zip(self.ups, self.merges, self.decoders, strict=True):
            y = decoder(torch.relu(merge(sum(skips.pop() if skips else [], start=up(y)))))
            yield y

    def answer(self, y_BCZYX: Tensor, skips: list[list[Tensor]]) -> Tensor:
        """Logits, from the coarsest features; of the maps on the way only the last is held."""
        (y,) = deque(self.climb(y_BCZYX, skips), maxlen=1)
        out: Tensor = self.head(y)
        return out
