"""A lean residual U-Net that is built from the voxel size.

The idea of anisotropic residual U-Nets for serial sections is from Lee et al. 2017 (arXiv 1706.00120). Ours spends its
arithmetic below full resolution: one thin convolution and one thin block run on every voxel, all else on folded voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from neuropil.config import ModelConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models.layers import Climbing, Down, ResBlock, Up, conv, norm
from neuropil.models.levels import Level, plan_levels


def build(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The network (nm; z, y, x) that settings ask for; see `neuropil.models.build_model`."""
    return ResUNet(voxel_size, outputs, config.channels, blocks=config.blocks, norm_kind=config.norm)


def build_encoder(config: ModelConfig, voxel_size: Float3) -> nn.Module:
    """Its encoder alone; see `neuropil.models.build_encoder`."""
    return ResUNetEncoder(voxel_size, config.channels, blocks=config.blocks, norm_kind=config.norm)


class ResUNetEncoder(nn.Module):
    """The way down: image (B, 1, Z, Y, X) to features at several strides; extents must be multiples of `stride`.

    Parameters
    ----------
    voxel_size
        nm, z, y, x; decides where pooling and kernels are (1, ·, ·).
    channels
        Width of each level, finest first.
    blocks
        Residual blocks a level (full resolution has none).
    norm_kind
        "group", "instance", "standardised" or "none".

    Attributes
    ----------
    dim
        Width of the coarsest level.
    stride
        Of the coarsest level, z, y, x.
    key_prefix
        What a network puts before the names of its encoder's tensors.
    """

    key_prefix = ""

    def __init__(self, voxel_size: Float3, channels: Sequence[int], *, blocks: int, norm_kind: str) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ConfigError(
                f"model.channels = {list(channels)}",
                "at least two levels, for example [16, 32, 64]",
                "--set model.channels=[16,32,64]",
            )
        self.voxel_size, self.dim = voxel_size, channels[-1]
        self.levels: tuple[Level, ...] = plan_levels(voxel_size, len(channels))
        self.stride = self.levels[-1].stride
        first = self.levels[0]
        self.stem = nn.Sequential(
            conv(1, channels[0], (first.kernel[0], 3, 3), norm_kind), norm(norm_kind, channels[0]), nn.ReLU()
        )
        self.downs, self.encoders = nn.ModuleList(), nn.ModuleList()
        for upper, width, level in zip(channels[:-1], channels[1:], self.levels[1:], strict=True):
            self.downs.append(Down(upper, width, level.factor, norm_kind))
            self.encoders.append(_stack(width, (level.kernel, level.kernel), blocks, norm_kind))

    @property
    def layers(self) -> int:
        """Number of the last layer; see `layer_of`."""
        return len(self.levels)

    def layer_of(self, name: str) -> int:
        """Layer of a parameter: 0 is the stem, then one for each level down; the way up is the last."""
        part, _, rest = name.partition(".")
        if part == "stem":
            return 0
        return int(rest.partition(".")[0]) + 1 if part in {"downs", "encoders"} else self.layers

    def encoder_names(self) -> set[str]:
        """Names of the state that pretraining makes: all of the way down."""
        return {name for name in self.state_dict() if self.layer_of(name) < self.layers}

    def pyramid(self, x_BCZYX: Tensor) -> list[tuple[Tensor, Int3]]:
        """Encoder features with their strides (z, y, x), finest first."""
        features = [(self.stem(x_BCZYX), self.levels[0].stride)]
        for down, encoder, level in zip(self.downs, self.encoders, self.levels[1:], strict=True):
            features.append((encoder(down(features[-1][0])), level.stride))
        return features

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: biases and normalisation."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 1}


class ResUNet(ResUNetEncoder, Climbing):
    """Image to logits: (B, 1, Z, Y, X) → (B, outputs, Z, Y, X); extents must be multiples of `stride`.

    Parameters
    ----------
    voxel_size, channels, norm_kind
        See `ResUNetEncoder`.
    outputs
        Number of output channels, one for each affinity offset.
    blocks
        Residual blocks a level, in the encoder and in the decoder (full resolution has just one, in the decoder).
    """

    def __init__(
        self, voxel_size: Float3, outputs: int, channels: Sequence[int], *, blocks: int, norm_kind: str
    ) -> None:
        super().__init__(voxel_size, channels, blocks=blocks, norm_kind=norm_kind)
        self.ups, self.merges, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for n in range(len(channels) - 2, -1, -1):
            level, width = self.levels[n], channels[n]
            self.ups.append(Up(channels[n + 1], width, self.levels[n + 1].factor, norm_kind))
            # An affinity joins two sections, so the last convolution before the head sees both whatever the voxel size
            kernels = (level.kernel, (3, 3, 3)) if n == 0 else (level.kernel, level.kernel)
            self.merges.append(norm(norm_kind, width))
            self.decoders.append(_stack(width, kernels, blocks if n else 1, norm_kind))
        self.climb_channels = tuple(reversed(channels[:-1]))
        self.head = conv(channels[0], outputs, (1, 1, 1), bias=True)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        skips = [[tensor] for tensor, _ in self.pyramid(x_BCZYX)]
        (y,) = skips.pop()
        return self.answer(y, skips)

    def skip_names(self) -> set[str]:
        """Names of the state that only skips use: none, they are added as they are."""
        return set()


def _stack(width: int, kernels: tuple[Int3, Int3], blocks: int, norm_kind: str) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(width, width, kernels, norm_kind) for _ in range(blocks)))
