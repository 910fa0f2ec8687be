"""What a format hands to `neuropil.volume`: lazy arrays, views of them, and what their axes and kind can mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.errors import GeometryError

if TYPE_CHECKING:
    from neuropil.volume import Volume

_LABEL_WORDS = {"label", "labels", "ids", "seg", "segmentation", "supervoxels", "groundtruth", "instances"}


class Array(Protocol):
    """The least that a stored array must offer; `writable`, `layout`, `write_unit`, `close` are optional extras."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of every axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    def __getitem__(self, key: tuple[slice, ...], /) -> npt.NDArray[Any]:
        """Read one slice an axis."""


@dataclass(frozen=True)
class Stored:
    """What a format hands over: a lazy array with its attributes under our names, not checked yet."""

    array: Array
    attrs: dict[str, Any]
    name: str


class Format(Protocol):
    """One file format; `neuropil.registry.FORMATS` names those that there are."""

    name: str
    suffixes: tuple[str, ...]

    def matches(self, path: Path) -> bool:
        """Whether the existing `path` is of this format."""

    def open(self, path: Path, inner: str) -> Stored:
        """Open an array (`inner` names it inside the file) for reading."""

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume, whole or not at all."""


@dataclass(frozen=True)
class Window:
    """A lazy part of an array, for reading."""

    source: Array
    key: tuple[slice, ...]
    writable: bool = field(default=False, init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(k.stop - k.start for k in self.key)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def layout(self) -> dict[str, Any]:
        return dict(getattr(self.source, "layout", {"format": "memory"}))

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        moved = tuple(slice(k.start + w.start, k.stop + w.start) for k, w in zip(key, self.key, strict=True))
        return self.source[moved]

    def close(self) -> None:
        getattr(self.source, "close", lambda: None)()


@dataclass(frozen=True)
class Arranged:
    """An array whose stored axes are in another order, or have length-one axes too many or too few."""

    source: Array
    have: str
    want: str
    writable: bool = field(default=False, init=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape[self.have.index(a)] if a in self.have else 1 for a in self.want)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def layout(self) -> dict[str, Any]:
        return {**getattr(self.source, "layout", {}), "axes": self.have}

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        asked = dict(zip(self.want, key, strict=True))
        data = self.source[tuple(asked.get(a, slice(0, 1)) for a in self.have)]
        kept = [a for a in self.want if a in self.have]
        order = [self.have.index(a) for a in kept] + [i for i, a in enumerate(self.have) if a not in self.want]
        return np.transpose(data, order).reshape([k.stop - k.start for k in key])

    def close(self) -> None:
        getattr(self.source, "close", lambda: None)()


def stored_axes(stored: Stored, axes: str | None, kind: str | None) -> str:
    """The axes of a stored array in their order, one letter each."""
    ndim, text = len(stored.array.shape), axes if axes is not None else stored.attrs.get("axes")
    got = f"{stored.name} of shape {tuple(stored.array.shape)}"
    how = "set its attribute axes='czyx' (or 'zyx'), or open it with axes="
    if text is None:
        if ndim == 3:
            return "zyx"
        if ndim == 4 and (kind == "affinities" or "offsets" in stored.attrs):
            return "czyx"
        raise GeometryError(f"{got} does not state its axes", "the attribute 'axes'", how)
    # others add words, as in "czyx (one channel per neuron)": keep what is spelt in axis letters only
    words = re.findall(r"[a-z]+", text.lower()) if isinstance(text, str) else [str(t).lower() for t in text]
    letters = "".join(w for w in words if set(w) <= set("tczyx"))
    if len(letters) != ndim or len(set(letters)) != ndim or not {"y", "x"} <= set(letters):
        raise GeometryError(f"{got} states axes '{text}'", f"{ndim} different letters of 't', 'c', 'z', 'y', 'x'", how)
    if "t" in letters and stored.array.shape[letters.index("t")] != 1:
        raise GeometryError(
            f"{got} is a time series (axes '{letters}')",
            "one time point",
            "save one time point, or open it with axes= if 't' is really z",
        )
    return letters


def inferred_kind(dtype: npt.DTypeLike, attrs: Mapping[str, Any], name: str) -> str:
    """The kind of an array that does not state one.

    `offsets` mean affinities; bool a mask; integers of 32 bits or more, or integers under a name such as `labels` or
    `neuron_ids`, are labels; all else is an image.
    """
    dtype = np.dtype(dtype)
    if "offsets" in attrs:
        return "affinities"
    if dtype.kind == "b":
        return "mask"
    words = set(re.findall(r"[a-z]+", re.split(r"[:/\\]", name.rstrip("/"))[-1].lower()))
    if dtype.kind in "ui" and (dtype.itemsize >= 4 or words & _LABEL_WORDS):
        return "labels"
    return "image"
