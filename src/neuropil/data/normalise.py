"""Grey values to [0, 1]-ish float32, by one straight line for each volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError
from neuropil.geometry import Box, Int3
from neuropil.lazy import check_finite

if TYPE_CHECKING:
    from neuropil.config import DataConfig

Image = npt.NDArray[np.float32]

#: Values beyond this are hot pixels or charging, whatever the volume; they would only dominate the activations.
CLIP = (-0.5, 1.5)
#: Half the width, in standard deviations, of the range that 'zscore' maps to 0..1: EM then fills it like 'percentile'.
ZSCORE_REACH = 2.5
#: A volume of more voxels than this is judged by evenly spaced blocks.
_SAMPLE_VOXELS = 1 << 23
_SAMPLE_BLOCK: Int3 = (32, 64, 64)


class Readable(Protocol):
    """Whatever can be read by world-aligned box: a `Volume`, or an array held in memory."""

    @property
    def box(self) -> Box:
        """All that can be read."""

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The values inside a box."""


@dataclass(frozen=True)
class Normaliser:
    """The line ``(value - low) / (high - low)``, clipped softly beyond 0..1.

    It is fitted once for each volume, never for each crop: a crop of pure cytoplasm must stay grey. When a new volume
    is predicted its own line is fitted in the same way, which makes volumes of different exposure comparable.
    """

    kind: str
    low: float
    high: float

    def __call__(self, values: npt.NDArray[Any]) -> Image:
        """Normalise an array of any shape to float32."""
        scale = 1.0 / (self.high - self.low)
        out: Image = np.multiply(values, np.float32(scale), dtype=np.float32)
        out -= np.float32(self.low * scale)
        np.clip(out, *CLIP, out=out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normaliser:
        """The inverse of `to_dict`."""
        return cls(str(values["kind"]), float(values["low"]), float(values["high"]))


def fit_normaliser(volume: Readable, config: DataConfig, box: Box | None = None) -> Normaliser:
    """Fit the line of a volume from a deterministic sample of it.

    Parameters
    ----------
    volume
        Grey values; read by box.
    config
        `normalise` chooses *percentile* (the two `percentiles` become 0 and 1), *zscore* (mean ± 2.5 standard
        deviations become 0 and 1) or *uint8* (the range of the integer type becomes 0 to 1).
    box
        Part to judge by; all of it when empty.

    Raises
    ------
    InputError
        If values are NaN or infinite, all equal, or not integers where the type's range is asked for.
    """
    values = np.concatenate([part.ravel() for part in _sampled(volume, volume.box if box is None else box)])
    name = getattr(volume, "name", "image")
    check_finite(values, name)
    low, high = _ends(values, config, name)
    if not high > low:
        raise InputError(
            f"{name} has one grey value only ({low:g})", "an image with contrast", "is it the right dataset?"
        )
    return Normaliser(config.normalise, low, high)


def padded_share(volume: Readable) -> float:
    """The share of a volume that is padding: zeros whose next voxels in the section are zeros too; of a sample."""
    black = total = 0
    for part in _sampled(volume, volume.box):
        zero = part == 0
        black += int((zero[..., :-1, :-1] & zero[..., 1:, :-1] & zero[..., :-1, 1:] & zero[..., 1:, 1:]).sum())
        total += math.prod((*zero.shape[:-2], zero.shape[-2] - 1, zero.shape[-1] - 1))
    return black / max(1, total)


def _ends(values: npt.NDArray[Any], config: DataConfig, name: str) -> tuple[float, float]:
    if config.normalise == "percentile":
        low, high = np.percentile(values, config.percentiles)
        if not high > low:  # e.g. mostly empty: fall back to the whole range before giving up
            low, high = values.min(), values.max()
        return float(low), float(high)
    if config.normalise == "zscore":
        mean, reach = float(values.mean(dtype=np.float64)), ZSCORE_REACH * float(values.std(dtype=np.float64))
        return mean - reach, mean + reach
    if values.dtype.kind not in "ui":
        raise InputError(
            f"{name} holds {values.dtype} values with normalise=uint8",
            "integer grey values, whose type says what white is",
            "set data.normalise=percentile",
        )
    limits = np.iinfo(values.dtype)
    return float(limits.min), float(limits.max)


def _sampled(volume: Readable, box: Box) -> Iterator[npt.NDArray[Any]]:
    if box.size <= _SAMPLE_VOXELS:
        yield volume.read(box)
        return
    for probe in probes(box, _SAMPLE_BLOCK, 4):
        yield volume.read(probe)


def probes(box: Box, shape: Int3, each: int) -> list[Box]:
    """At most `each`³ evenly spaced boxes of at most `shape` inside a box, for judging what is too large to read."""
    size = [min(s, n) for s, n in zip(shape, box.shape, strict=True)]
    starts = []
    for begin, n, s in zip(box.start, box.shape, size, strict=True):
        count = max(1, min(each, math.ceil(n / s)))
        starts.append(np.unique(np.linspace(begin, begin + n - s, count).round().astype(int)))
    return [
        Box((int(z), int(y), int(x)), (int(z + size[0]), int(y + size[1]), int(x + size[2])), box.voxel_size)
        for z in starts[0]
        for y in starts[1]
        for x in starts[2]
    ]
