"""The way up that networks put on an encoder which is a module of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from neuropil.geometry import Int3
from neuropil.models.layers import Climbing, ResBlock, Up, conv, norm
from neuropil.models.levels import Level


class OnEncoder(Climbing):
    """A network that is an encoder, a way up from its coarsest features, and a head.

    Attributes
    ----------
    encoder
        With `dim`, `stride`, `layers`, `layer_of`, `encoder_names` and `no_decay`; see `neuropil.models`.
    stride
        That of the encoder.
    climb_channels
        Of each level, coarsest first.
    """

    encoder: Any
    stride: Int3
    climb_channels: tuple[int, ...]

    def way_up(self, levels: Sequence[Level], widths: Sequence[int], outputs: int, blocks: int, kind: str) -> None:
        """Make the way from the encoder's coarsest features through these levels (finest first), and the head."""
        self.ups, self.merges, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        below, stride = self.encoder.dim, self.stride
        for width, level in zip(widths[::-1], levels[::-1], strict=True):
            self.ups.append(Up(below, width, ratio(stride, level.stride), kind))
            self.merges.append(norm(kind, width))
            self.decoders.append(_decoder(width, level, blocks, kind))
            below, stride = width, level.stride
        self.climb_channels = tuple(reversed(widths))
        self.head = conv(widths[0], outputs, (1, 1, 1), bias=True)
        nn.init.normal_(self.head.weight, std=0.01)

    @property
    def layers(self) -> int:
        """Number of the last layer; see `layer_of`."""
        return int(self.encoder.layers)

    def layer_of(self, name: str) -> int:
        """Layer of a parameter: those of the encoder, whose last holds the whole decoder too."""
        within = name.removeprefix("encoder.")
        return self.layers if within == name else int(self.encoder.layer_of(within))

    def encoder_names(self) -> set[str]:
        """Names of the state that pretraining makes: the encoder's."""
        return {f"encoder.{name}" for name in self.encoder.encoder_names()}

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: biases, norms, gains, and what the encoder names."""
        plain = {name for name, parameter in self.named_parameters() if parameter.ndim == 1}
        return plain | {f"encoder.{name}" for name in self.encoder.no_decay()}


def fine_stem(width: int, kernel: Int3, kind: str) -> nn.Sequential:
    """Two thin convolutions on the image itself, for what is finer than an encoder's first features."""
    first, second = conv(1, width, (kernel[0], 3, 3), kind), conv(width, width, kernel, kind)
    return nn.Sequential(first, norm(kind, width), nn.ReLU(), second, norm(kind, width), nn.ReLU())


def ratio(a: Int3, b: Int3) -> Int3:
    """How many times one stride is another, z, y, x."""
    return a[0] // b[0], a[1] // b[1], a[2] // b[2]


def _decoder(width: int, level: Level, blocks: int, kind: str) -> nn.Sequential:
    full = level.stride == (1, 1, 1)
    # an affinity joins two sections, so the last convolution before the head sees both whatever the voxel size
    kernels = (level.kernel, (3, 3, 3) if full else level.kernel)
    return nn.Sequential(*(ResBlock(width, width, kernels, kind) for _ in range(1 if full else blocks)))
