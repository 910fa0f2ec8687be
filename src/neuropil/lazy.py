"""What a format hands to `neuropil.volume`: lazy arrays, views of them, and what their axes and kind can mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.errors import GeometryError, InputError
from neuropil.remote import Place

if TYPE_CHECKING:
    from neuropil.volume import Volume

#: What is told of arrays that resemble a kind (see `resembled_kind`).
LOOKS_LIKE = {
    "image": "an image: its neighbouring voxels are seldom equal",
    "labels": "labels: its neighbouring voxels are nearly always equal",
}
KINDS = ("image", "labels", "affinities", "mask", "prediction")
_LABEL_WORDS = {"label", "labels", "ids", "seg", "segmentation", "supervoxels", "groundtruth", "instances"}
#: Places that `resembled_kind` looks at, the edge of each in voxels, and the fewest pairs of neighbours it believes.
_LOOKS, _EDGE, _FEWEST = 8, 128, 2000
#: Shares of equal neighbours: EM images have 0.02 to 0.05 (probability maps 0.3), labels and masks 0.84 to 0.97.
_FEW_EQUAL, _MOST_EQUAL = 0.5, 0.8
# fractions that spread evenly over a cube for any number of them (R3 sequence)
_SPREAD = (0.8191725134, 0.6710436067, 0.5497004779)
#: Extents up to which a last axis may be one of channels.
_CHANNELS = 4
#: The least label that can be meant; see `check_ids`.
_LEAST_ID = -2


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
    """One file format; `neuropil.registry.FORMATS` names those that there are.

    A format with an attribute `remote` that is true is asked for urls too; all others meet files and folders only.
    """

    name: str
    suffixes: tuple[str, ...]

    def matches(self, path: Place) -> bool:
        """Whether the existing `path` is of this format."""

    def open(self, path: Place, inner: str) -> Stored:
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


def channel_of(array: Array, axes: str, number: int, name: str) -> Array:
    """One channel of an array (C, Z, Y, X) as (Z, Y, X).

    Raises
    ------
    GeometryError
        If there is no such channel.
    """
    count = array.shape[0] if axes == "czyx" else 0
    if not 0 <= number < count:
        expected = f"one from 0 to {count - 1}" if count else "a volume with channels"
        raise GeometryError(f"{name}: channel {number}", expected, "" if count else "leave out the channel")
    one = Window(array, (slice(number, number + 1), *(slice(0, n) for n in array.shape[1:])))
    return Arranged(one, axes, "zyx")


def only_section(array: Array, axes: str) -> bool:
    """Whether an array has one section in all, as projections have: a section cropped out of a stack is none."""
    if array.shape[axes.index("z")] != 1:
        return False
    while isinstance(array, Window | Arranged) and "z" in axes:
        if isinstance(array, Arranged):
            axes = array.have
        elif array.source.shape[axes.index("z")] > 1:
            return False
        array = array.source
    return True


def stored_axes(stored: Stored, axes: str | None, kind: str | None) -> str:
    """The axes of a stored array in their order, one letter each."""
    ndim, text = len(stored.array.shape), axes if axes is not None else stored.attrs.get("axes")
    got = f"{stored.name} of shape {tuple(stored.array.shape)}"
    last = stored.array.shape[-1] <= _CHANNELS < min(stored.array.shape[-3:-1], default=0)
    spelt = {4: "zyxc" if last else "czyx", 5: "tzyxc" if last else "tczyx"}.get(ndim, "zyx")
    how = f"set its attribute axes, such as axes='{spelt}', in the order stored (in Python: open_volume(..., axes=...))"
    if text is None:
        if ndim in (2, 3):
            return "zyx"[-ndim:]
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
            "save one time point; or, if 't' is really z, say so (in Python: open_volume(..., axes='zyx'))",
        )
    return letters


class NoVoxelSize(GeometryError):
    """Neither a file nor the user says how large its voxels are."""


def stored_voxel_size(stored: Stored, axes: str, given: Sequence[float] | None) -> Sequence[float]:
    """The voxel size of a stored array in nm, z, y, x: the one that was given, or the one that the file states."""
    size = given if given is not None else stored.attrs.get("resolution")
    if size is None:
        chunk = getattr(stored.array, "layout", {}).get("chunk")
        known = f"shape {tuple(stored.array.shape)}, axes {axes}, type {stored.array.dtype}"
        raise NoVoxelSize(
            f"{stored.name} does not state its voxel size ({known}{f', chunks {tuple(chunk)}' if chunk else ''})",
            "an attribute 'resolution' in nm, z, y, x (or the format's own metadata)",
            "give --voxel-size z,y,x, for example --voxel-size 40,4,4",
        )
    if len(size) != 3 or any(not v > 0 for v in size):
        raise GeometryError(
            f"{stored.name}: a voxel size of {list(size)}",
            "three positive numbers z, y, x in nm",
            "give --voxel-size z,y,x",
        )
    return size


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
    whole = name.split("[", 1)[0] if name.endswith("]") else name
    words = set(re.findall(r"[a-z]+", re.split(r"[:/\\]", whole.rstrip("/"))[-1].lower()))
    if dtype.kind in "ui" and (dtype.itemsize >= 4 or words & _LABEL_WORDS):
        return "labels"
    return "image"


def check_kind(dtype: np.dtype[Any], kind: str, name: str) -> None:
    """Raise an InputError unless this is a kind, and of a data type that it can have."""
    if kind not in KINDS:
        raise InputError(
            f"{name}: kind '{kind}'", "one of " + ", ".join(KINDS), "correct the attribute kind, or leave it out"
        )
    allowed = {"labels": "uib", "mask": "uib"}.get(kind, "uif")
    if dtype.kind not in allowed or dtype.itemsize > 8:
        what = "integers" if "f" not in allowed else "integers or floats of at most 64 bits"
        raise InputError(f"{name}: {kind} of type {dtype}", what, "convert it, or state another kind")


def how_to_be(kind: str, array: Array) -> str:
    """What a user can do who gave this array as another kind than it seems to be of."""
    if kind in ("labels", "mask") and np.dtype(array.dtype).kind == "f":
        return f"give the {kind} here; if that is what it is, write it again as whole numbers (uint32, uint64)"
    said = f"give the {kind} here, or, if that is what it is, "
    stored = getattr(array, "layout", {}).get("format")
    if stored == "tiff":
        return f'{said}write it so: tifffile.imwrite("new.tif", data, metadata={{"kind": "{kind}"}})'
    where = " in a file neuropil.json beside the sections" if stored == "images" else ""
    return f"{said}set its attribute kind='{kind}'{where}"


def resembled_kind(array: Array) -> str | None:
    """What whole numbers look like, from a few sections of some of them: "image", "labels", or None for no verdict.

    In labels, neighbours in the section are equal almost everywhere, background apart; in images they mostly differ.
    Few voxels, two values only, constant or sparse volumes, floats and all that lies in between give no verdict.

    Parameters
    ----------
    array
        (Z, Y, X) or (C, Z, Y, X); of channels, the first is looked at.
    """
    if array.dtype.kind not in "ui" or min(array.shape, default=0) < 1:
        return None
    values: set[int] = set()
    pairs, equal, apart, equal_apart = 0, 0, 0, 0
    for section_YX in _looked_at(array):
        found, counts = np.unique(section_YX, return_counts=True)
        values.update(found.tolist())
        background = found[np.argmax(counts)]
        for one, other in ((section_YX[1:], section_YX[:-1]), (section_YX[:, 1:], section_YX[:, :-1])):
            same, of_background = one == other, (one == background) & (other == background)
            pairs, equal = pairs + same.size, equal + int(same.sum())
            apart, equal_apart = apart + int((~of_background).sum()), equal_apart + int((same & ~of_background).sum())
    if pairs >= _FEWEST and equal < _FEW_EQUAL * pairs:
        return "image"
    if apart >= _FEWEST and len(values) > 2 and equal_apart > _MOST_EQUAL * apart:
        return "labels"
    return None


def _looked_at(array: Array) -> Iterator[npt.NDArray[Any]]:
    """Pieces of sections, (Y, X), spread over a volume."""
    extent = array.shape[-3:]
    edge = (1, min(_EDGE, extent[1]), min(_EDGE, extent[2]))
    for i in range(_LOOKS):
        start = [int((0.5 + i * s) % 1 * (n - e + 1)) for s, n, e in zip(_SPREAD, extent, edge, strict=True)]
        place = tuple(slice(a, a + e) for a, e in zip(start, edge, strict=True))
        data = array[place if len(array.shape) == 3 else (slice(0, 1), *place)]
        yield data.reshape(edge[1:])


def check_ids(array: npt.NDArray[Any], name: str) -> None:
    """Refuse labels below -2: -1 and -2 are other programs' marks of what was not annotated.

    Raises
    ------
    InputError
        Naming the least label.
    """
    if array.dtype.kind == "i" and array.size and array.min() < _LEAST_ID:
        raise InputError(
            f"{name}: label {array.min()}",
            "ids of zero (background) and above; -1 where nothing was annotated",
            "relabel them",
        )


def check_finite(array: npt.NDArray[Any], name: str) -> None:
    """Refuse NaN and infinity, which would spread through a network.

    Raises
    ------
    InputError
        If there are any; says how many and where the first one is.
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape))
    raise InputError(
        f"{name}: {int(bad.sum())} values are NaN or infinite, the first at index {first}",
        "finite values",
        "replace them, for example with numpy.nan_to_num",
    )
