"""What the formats share: attributes under our names, units, one clear error for a bad file, stacks of sections."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.errors import VolumeError
from neuropil.remote import Place

_UNIT_NM = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns"), 1e3),
    **dict.fromkeys(("micrometer", "micrometers", "micrometre", "micrometres"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    **dict.fromkeys(("a", "å", "angstrom"), 0.1),
}
#: Attributes that state the unit of `resolution`, the first one of them that is there; ours comes first.
_UNIT_NAMES = ("resolution_unit", "units", "unit")
_ELEMENT_SIZE = "element_size_um"
#: Arrays of a file that an error message names.
_LISTED = 30
_CACHE_BYTES = 64 * 2**20
_TO_GREY = "make it grey, for example PIL.Image.open(OLD).convert('L').save(NEW), or store each colour as a channel"


def unit_nm(unit: object) -> float | None:
    """Nanometres in a unit of length, or None for what is not one (such as "pixel")."""
    words = str(unit or "").strip().lower().split()
    return _UNIT_NM.get(words[0]) if words else None


def native(value: Any) -> Any:
    """An attribute's value as plain Python, so that it can be stored anywhere."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [native(v) for v in value.tolist()] if value.ndim else native(value.item())
    if isinstance(value, np.generic):
        return native(value.item())
    if isinstance(value, (list, tuple)):
        return [native(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): native(v) for k, v in value.items()}
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def our_attributes(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Attributes as plain Python, with `resolution` and `offset` as lists of nm.

    A `resolution_unit` beside them is honoured, and so are `units` or `unit` beside a `resolution` where they name a
    unit of length; without one they are nm.

    Raises
    ------
    VolumeError
        If `resolution`, `offset` or `offsets` are not numbers.
    """
    attrs = {str(k): native(v) for k, v in raw.items()}
    scale = unit_nm(_stated_unit(attrs)) or 1.0
    for key in ("resolution", "offset", "offsets"):
        if (value := attrs.get(key)) is None:
            continue
        try:
            array = np.asarray(value, dtype=float)
            if array.ndim != (2 if key == "offsets" else 1):
                raise ValueError(f"{array.ndim} axes")
        except (ValueError, TypeError) as error:
            expected = "rows of z, y, x steps" if key == "offsets" else "three numbers z, y, x in nm"
            raise VolumeError(f"{name}: attribute '{key}' is {value!r}", expected, "correct the attribute") from error
        steps = [[int(v) for v in row] for row in array.tolist()] if key == "offsets" else None
        attrs[key] = steps if steps is not None else [float(v) * scale for v in array]
    for key in _UNIT_NAMES[1:]:
        # what is kept is written beside a resolution in nm, and would scale that one when it is read again
        if isinstance(attrs.get(key), str) and unit_nm(attrs[key]):
            del attrs[key]
    if scale != 1.0:
        attrs["resolution_unit"] = "nm"
    return attrs


def with_element_size(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with `element_size_um` (micrometres, z, y, x) as their `resolution`, where they state none.

    Fiji, PlantSeg and others write it.
    """
    size, rest = attrs.get(_ELEMENT_SIZE), {k: v for k, v in attrs.items() if k != _ELEMENT_SIZE}
    if attrs.get("resolution") is not None or not isinstance(size, list) or len(size) != 3:
        return dict(attrs)
    # those programs write ones where they do not know it
    if not all(isinstance(v, int | float) and 0 < v < math.inf for v in size) or all(v == 1 for v in size):
        return dict(attrs)
    return {**rest, "resolution": [v * 1e3 for v in size]}


def _stated_unit(attrs: Mapping[str, Any]) -> str:
    """The unit that attributes state their resolution in, "nm" where they name none."""
    if _UNIT_NAMES[0] in attrs:
        return str(attrs[_UNIT_NAMES[0]])
    beside = [attrs.get(key) for key in _UNIT_NAMES[1:]] if attrs.get("resolution") is not None else []
    return next((unit for unit in beside if isinstance(unit, str) and unit_nm(unit)), "nm")


@contextmanager
def file_errors(name: str, doing: str) -> Iterator[None]:
    """Turn whatever a library raises over a bad file into one `VolumeError` that names it."""
    try:
        yield
    except VolumeError:
        raise
    except NotImplementedError as error:
        raise VolumeError(
            f"{name}: {doing} failed ({' '.join(str(error).split())[:300] or 'not supported'})",
            "a way of storing that the library knows",
            "convert it with the program that wrote it, for example to x.zarr or without compression",
        ) from error
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        IndexError,
        TypeError,
        EOFError,
        struct.error,
    ) as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        if "No space left" in text or "File too large" in text or "RESOURCE_EXHAUSTED" in text or "quota" in text:
            raise VolumeError(
                f"{name}: the disk is full or the file may not grow ({text})",
                "room to write",
                "free some space, then run the same command again; the output so far is marked incomplete",
            ) from error
        if doing == "reading":
            expected, hint = "an intact file", "check that the file was copied whole"
        else:
            expected, hint = "a place that can be written to", "check the place and its permissions"
        raise VolumeError(f"{name}: {doing} failed ({text})", expected, hint) from error


def listing(arrays: Iterable[tuple[str, Sequence[int], object, Mapping[str, Any]]]) -> str:
    """The arrays of a file for an error message, one a line: name, shape, type, and voxel size where it is stated.

    Tables and single numbers are left out.
    """
    rows = []
    for name, shape, dtype, attrs in (a for a in arrays if len(a[1]) > 1):
        stated = {k: native(v) for k, v in attrs.items() if k in ("resolution", _ELEMENT_SIZE, *_UNIT_NAMES)}
        size = with_element_size(stated).get("resolution")
        unit = _stated_unit(stated) if "resolution" in stated else "nm"
        text = " x ".join(f"{v:g}" if isinstance(v, float | int) else str(v) for v in size) if size else ""
        rows.append((name, str(tuple(shape)), str(dtype), f"{text} {unit}" if text else "no voxel size stated"))
    width = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = ["  ".join([*(t.ljust(w) for t, w in zip(row[:3], width, strict=True)), row[-1]]) for row in rows[:_LISTED]]
    if len(rows) > _LISTED:
        lines.append(f"... and {len(rows) - _LISTED} more")
    return "one of\n    " + "\n    ".join(lines) if rows else "a file with volumes in it"


def read_json(path: Place, what: str) -> dict[str, Any]:
    """The JSON object of a metadata file.

    Raises
    ------
    VolumeError
        If it cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise VolumeError(f"'{path}' cannot be read ({error})", f"{what} metadata in JSON", "copy it again") from error
    if not isinstance(value, dict):
        raise VolumeError(f"'{path}' holds no JSON object", f"{what} metadata", "copy it again")
    return value


def replace_when_whole(path: Path) -> Path:
    """The hidden name beside `path` under which it is written until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def require_new(path: Path) -> None:
    """Refuse to write over something.

    Raises
    ------
    VolumeError
        If `path` exists, or its folder does not or may not be written to.
    """
    if path.exists():
        raise VolumeError(
            f"'{path}' exists already",
            "a new name",
            "choose another name, remove it first, or give --overwrite to a command that has it",
        )
    require_folder(path.absolute().parent)


def require_folder(folder: Path) -> None:
    """Check that something can be made in a folder, before there is work in vain.

    Raises
    ------
    VolumeError
        If it does not exist, or may not be written to.
    """
    if not folder.is_dir():
        raise VolumeError(f"folder '{folder}' does not exist", "an existing folder", "create it")
    if not os.access(folder, os.W_OK):
        fix = "choose another place, or change its permissions"
        raise VolumeError(f"folder '{folder}' cannot be written to", "a folder that you may write to", fix)


class Loader(Protocol):
    """Reads one section by its number; can be pickled."""

    def load(self, index: int) -> npt.NDArray[Any]:
        """The (Y, X) pixels of a section."""

    def close(self) -> None:
        """Let go of open files."""


def grey_of(data: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Pixels (..., 2 to 4) of equal colours, and of one opacity if any, as grey ones: how screenshots are stored.

    Raises
    ------
    VolumeError
        If it has no such pixels.
    """
    colours = data.shape[-1] - (data.shape[-1] in (2, 4))
    grey = data[..., 0]
    if not all((data[..., c] == grey).all() for c in range(1, colours)):
        raise VolumeError(f"'{name}' has colours", "grey pixels, or red, green and blue that are equal", _TO_GREY)
    if colours < data.shape[-1] and data.size and np.ptp(data[..., -1]) > 0:
        raise VolumeError(f"'{name}' has pixels of several opacities", "opaque pixels", _TO_GREY)
    return np.ascontiguousarray(grey)


class SectionStack:
    """A lazy array over sections: any number of leading axes, then y and x; a few sections are kept in memory."""

    def __init__(self, loader: Loader, shape: tuple[int, ...], dtype: npt.DTypeLike, layout: dict[str, Any]) -> None:
        self.loader, self.shape, self.dtype, self.layout = loader, shape, np.dtype(dtype), layout
        self.writable = False
        self._keep = max(2, min(64, _CACHE_BYTES // max(1, math.prod(shape[-2:]) * self.dtype.itemsize)))
        self._cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        leading = [range(*k.indices(n)) for k, n in zip(key[:-2], self.shape[:-2], strict=True)]
        rows, columns = key[-2:]
        extents = [len(r) for r in leading] + [rows.stop - rows.start, columns.stop - columns.start]
        out = np.empty(extents, self.dtype)
        for place in itertools.product(*(range(len(r)) for r in leading)):
            index = tuple(r[i] for r, i in zip(leading, place, strict=True))
            flat = int(np.ravel_multi_index(index, self.shape[:-2]))
            out[place] = self._section(flat)[rows, columns]
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    def close(self) -> None:
        """Let go of open files and of the sections in memory."""
        self._cache.clear()
        self.loader.close()

    def _section(self, index: int) -> npt.NDArray[Any]:
        if index not in self._cache:
            self._cache[index] = self.loader.load(index)
            if len(self._cache) > self._keep:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]
