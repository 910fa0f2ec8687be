"""A ConvNeXt over volumes, and a decoder on it; its weights may come from a 2-D one.

ConvNeXt: Liu et al. 2022 (arXiv 2201.03545). In the plane it is what its source was: a stem of 4 x 4, four stages of
depthwise 7 x 7 kernels with an MLP, and steps of 2 x 2 between them, under the names of its authors. Depth is seen by
kernels of a few sections and put together where voxels have become about as long along all axes. Sections beyond the
crop are those at its ends, so that equal sections are answered as the source answers one of them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuropil.config import ConvNeXtConfig, ModelConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models.decoder import OnEncoder, fine_stem
from neuropil.models.layers import Down, ResBlock, conv
from neuropil.models.levels import Level, plan_levels, plan_to, with_factors
from neuropil.models.transformer import DropPath, init_linear

#: Side of the stem's kernel in the plane, and of the depthwise ones.
STEM, KERNEL = 4, 7


def build(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The network (nm; z, y, x) that settings ask for; see `neuropil.models.build_model`."""
    return ConvNeXtUNet(config, voxel_size, outputs)


def build_encoder(config: ModelConfig, voxel_size: Float3) -> nn.Module:
    """Its encoder alone; see `neuropil.models.build_encoder`."""
    return ConvNeXt3d(config.convnext, voxel_size)


def plan_fold(voxel_size: Float3, stem_stride: int) -> tuple[int, int, int, int]:
    """Sections (nm; z, y, x) that the stem and the three steps down put together.

    Examples
    --------
    >>> plan_fold((8, 8, 8), 4), plan_fold((40, 4, 4), 4)
    ((4, 2, 2, 2), (1, 1, 2, 2))
    """
    halvings = round(math.log2(stem_stride))
    levels = plan_levels(voxel_size, halvings + 4)
    first, second, third = (level.factor[0] for level in levels[halvings + 1 :])
    return levels[halvings].stride[0], first, second, third


class Step(nn.Conv3d):
    """A strided convolution as one matrix product of its windows: no convolution of torch's is asked.

    Those in bf16 on a processor are slow where kernel and stride are equal, and not to be trusted where inputs are thin
    and wide (see `neuropil.models.layers.Conv`).
    """

    def forward(self, input: Tensor) -> Tensor:
        _, y, x = (int(p) for p in self.padding)
        windows = F.pad(input, (x, x, y, y))
        for axis, (size, step) in enumerate(zip(self.kernel_size, self.stride, strict=True), start=2):
            windows = windows.unfold(axis, size, step)
        rows = windows.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4)
        return F.linear(rows, self.weight.flatten(1), self.bias).movedim(-1, 1)


class Depthwise(nn.Conv3d):
    """Each channel by itself, over some sections and 7 x 7 pixels; sections beyond the ends are those at the ends.

    As 2-D convolutions of sections, added up: the gradients of 3-D ones in bf16 are not to be trusted on a processor
    (see `neuropil.models.layers.Conv`).
    """

    def __init__(self, dim: int, sections: int) -> None:
        super().__init__(dim, dim, (sections, KERNEL, KERNEL), groups=dim)

    def forward(self, input: Tensor) -> Tensor:
        b, c, z, y, x = input.shape
        reach = self.kernel_size[0] // 2
        ends = [input[:, :, :1]] * reach, [input[:, :, -1:]] * reach
        sections = torch.cat([*ends[0], input, *ends[1]], dim=2).transpose(1, 2).flatten(0, 1)
        parts = [
            F.conv2d(sections, kernel, padding=KERNEL // 2, groups=c).view(b, z + 2 * reach, c, y, x)[:, n : n + z]
            for n, kernel in enumerate(self.weight.unbind(2))
        ]
        out = torch.stack(parts).sum(0).transpose(1, 2)
        return out if self.bias is None else out + self.bias.to(out.dtype)[:, None, None, None]


class ConvNeXtBlock(nn.Module):
    """(B, C, Z, Y, X) → the same: neighbours within a channel, then channels within a voxel, added to it."""

    def __init__(self, dim: int, config: ConvNeXtConfig, *, drop_path: float) -> None:
        super().__init__()
        self.dwconv = Depthwise(dim, config.sections)
        self.norm = nn.LayerNorm(dim, eps=config.eps)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = None if config.layer_scale is None else nn.Parameter(torch.full((dim,), config.layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        extent = x_BCZYX.shape[2:]
        tokens_BNC = self.norm(self.dwconv(x_BCZYX).flatten(2).transpose(1, 2))
        tokens_BNC = self.pwconv2(F.gelu(self.pwconv1(tokens_BNC)))
        if self.gamma is not None:
            tokens_BNC = tokens_BNC * self.gamma
        out: Tensor = x_BCZYX + self.drop_path(tokens_BNC).transpose(1, 2).unflatten(2, extent)
        return out


class ChannelNorm(nn.LayerNorm):
    """The norm over the channels of (B, C, Z, Y, X)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class ConvNeXt3d(nn.Module):
    """Image (B, 1, Z, Y, X) to features at four strides; extents must be multiples of `stride`.

    Parameters
    ----------
    config
        Sizes; see `ConvNeXtConfig`.
    voxel_size
        nm, z, y, x; decides where sections are put together, where the settings leave that empty.

    Attributes
    ----------
    dim
        Width of the last stage.
    steps
        Kernels along z, y, x of the stem's stride and of the three steps down.
    stride
        Of the last stage, z, y, x.
    key_prefix
        What a network puts before the names of its encoder's tensors.
    """

    key_prefix = "encoder."

    def __init__(self, config: ConvNeXtConfig, voxel_size: Float3) -> None:
        super().__init__()
        self.voxel_size, self.dim = voxel_size, config.dims[-1]
        first, *downs = config.fold or plan_fold(voxel_size, config.stem_stride)
        self.steps: tuple[Int3, ...] = (
            (first, config.stem_stride, config.stem_stride),
            *((z, 2, 2) for z in downs),
        )
        self.stride: Int3 = _product(self.steps)
        aside = (STEM - config.stem_stride) // 2
        stem = Step(1, config.dims[0], (first, STEM, STEM), self.steps[0], padding=(0, aside, aside))
        self.downsample_layers = nn.ModuleList([nn.Sequential(stem, ChannelNorm(config.dims[0], eps=config.eps))])
        for step, (upper, lower) in zip(self.steps[1:], pairwise(config.dims), strict=True):
            self.downsample_layers.append(
                nn.Sequential(ChannelNorm(upper, eps=config.eps), Step(upper, lower, step, step))
            )
        last = max(1, sum(config.depths) - 1)
        chances = [config.drop_path * n / last for n in range(last + 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(dim, config, drop_path=chances.pop(0)) for _ in range(depth)))
            for dim, depth in zip(config.dims, config.depths, strict=True)
        )
        self.norm = ChannelNorm(self.dim, eps=config.eps)
        self.apply(init_linear)

    @property
    def layers(self) -> int:
        """Number of the last layer; see `layer_of`."""
        return len(self.stages) + 1

    def layer_of(self, name: str) -> int:
        """Layer of a parameter: 0 is the stem, then one for each stage with the step into it; the norm is the last."""
        part, _, rest = name.partition(".")
        if part == "norm":
            return self.layers
        number = int(rest.partition(".")[0])
        return number + (part == "stages" or number > 0)

    def encoder_names(self) -> set[str]:
        """Names of the state that pretraining makes: all."""
        return set(self.state_dict())

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: biases, norms and gains."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 1}

    def pyramid(self, x_BCZYX: Tensor) -> list[tuple[Tensor, Int3]]:
        """Features of the four stages with their strides (z, y, x), finest first; the last ones are normed."""
        found: list[tuple[Tensor, Int3]] = []
        y = x_BCZYX
        for n, (down, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True), start=1):
            y = stage(down(y))
            found.append((y, _product(self.steps[:n])))
        return [*found[:-1], (self.norm(y), self.stride)]


class ConvNeXtUNet(OnEncoder):
    """Image to logits: (B, 1, Z, Y, X) → (B, outputs, Z, Y, X); extents must be multiples of `stride`.

    The decoder is that of `unetr`: features are added, not concatenated, and what is finer than the stem comes from a
    few thin convolutions on the image itself.

    Parameters
    ----------
    config
        Settings of the network: `convnext`, `blocks`, `norm`.
    voxel_size
        nm, z, y, x; decides where pooling and kernels are (1, ·, ·).
    outputs
        Number of output channels, one for each affinity offset.

    Raises
    ------
    ConfigError
        If there are not as many channels of the decoder as levels.

    Attributes
    ----------
    dim, stride
        Of the encoder's last stage.
    """

    def __init__(self, config: ModelConfig, voxel_size: Float3, outputs: int) -> None:
        super().__init__()
        kind, own = config.norm, config.convnext
        self.encoder = ConvNeXt3d(own, voxel_size)
        self.dim, self.stride = self.encoder.dim, self.encoder.stride
        levels = _levels(self.encoder, voxel_size)
        widths = own.decoder[: len(levels)]
        if len(widths) < len(levels):
            raise ConfigError(
                f"model.convnext.decoder = {list(own.decoder)} with steps of {list(self.encoder.steps)} voxels",
                f"channels for {len(levels)} levels",
                "give one channel count for each level, finest first",
            )
        # the last stage is where the decoder begins; the others join it at their own strides
        fine = len(levels) - 3
        self.tap_norms = nn.ModuleList(ChannelNorm(dim, eps=own.eps) for dim in own.dims[:3])
        self.taps = nn.ModuleList(
            conv(dim, width, (1, 1, 1), kind) for dim, width in zip(own.dims[:3], widths[fine:], strict=True)
        )
        self.stem = fine_stem(widths[0], levels[0].kernel, kind)
        self.half_res = nn.ModuleList(
            nn.Sequential(
                Down(upper, lower, level.factor, kind), ResBlock(lower, lower, (level.kernel, level.kernel), kind)
            )
            for upper, lower, level in zip(widths[: fine - 1], widths[1:fine], levels[1:fine], strict=True)
        )
        self.way_up(levels, widths, outputs, config.blocks, kind)

    def skip_names(self) -> set[str]:
        """Names of the state that only skips use: earlier stages, and the convolutions on the image itself."""
        parts = {"tap_norms", "taps", "stem", "half_res"}
        return {name for name in self.state_dict() if name.partition(".")[0] in parts}

    def pyramid(self, x_BCZYX: Tensor) -> list[tuple[Tensor, Int3]]:
        """Features of the encoder; see `ConvNeXt3d.pyramid`."""
        found: list[tuple[Tensor, Int3]] = self.encoder.pyramid(x_BCZYX)
        return found

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        *early, (y, _) = self.encoder.pyramid(x_BCZYX)
        skips = [[self.stem(x_BCZYX)]]
        for down in self.half_res:
            skips.append([down(skips[-1][0])])
        for tap_norm, tap, (features, _) in zip(self.tap_norms, self.taps, early, strict=True):
            skips.append([tap(tap_norm(features))])
        return self.answer(y, skips)


def _levels(encoder: ConvNeXt3d, voxel_size: Float3) -> tuple[Level, ...]:
    """Resolutions above the last stage, finest first."""
    to_stem = [level.factor for level in plan_to(voxel_size, encoder.steps[0])]
    return with_factors(voxel_size, [*to_stem, *encoder.steps[1:-1]])


def _product(steps: tuple[Int3, ...]) -> Int3:
    z, y, x = (math.prod(step[axis] for step in steps) for axis in range(3))
    return z, y, x
