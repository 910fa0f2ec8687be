"""TIFF stacks: OME, ImageJ and plain multi-page files, read lazily; pages are sections along z unless said otherwise.

The voxel size is believed where it is truly there: OME physical sizes, ImageJ spacing with a unit of length, or our own
attributes. The dots-per-inch of a plain TIFF say nothing about sections and are ignored. Pixels that number the colours
of a palette are read as grey values where the palette says which ones they mean, and equal red, green and blue as one.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from neuropil.errors import VolumeError
from neuropil.io.base import (
    SectionStack,
    file_errors,
    grey_of,
    our_attributes,
    replace_when_whole,
    require_new,
    unit_nm,
)
from neuropil.lazy import Stored
from neuropil.volume import Volume

#: How bright red, green and blue are (Rec. 601).
_LUMINANCE = np.array([0.299, 0.587, 0.114])


class MappedArray:
    """Uncompressed pixels that lie in one piece, mapped at the first read of each process."""

    writable = False

    def __init__(self, path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.start, self.shape, self.dtype = path, start, shape, dtype
        self.layout: dict[str, Any] = {
            "format": "tiff",
            "chunk": (*(1 for _ in shape[:-2]), *shape[-2:]),
            "codec": None,
        }
        self._map: npt.NDArray[Any] | None = None

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        if self._map is None:
            with file_errors(str(self.path), "reading"):
                self._map = np.memmap(self.path, self.dtype, "r", self.start, self.shape)
        return self._map[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def close(self) -> None:
        """Drop the map; the next read makes it again."""
        self._map = None


class Greys:
    """Pixels that number the entries of a grey palette, as the grey values that these are."""

    writable = False

    def __init__(self, numbers: Any, grey: npt.NDArray[Any]) -> None:
        self.numbers, self.grey, self.shape, self.dtype = numbers, grey, numbers.shape, grey.dtype
        self.layout = numbers.layout

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self.grey[self.numbers[key]]
        return found

    def close(self) -> None:
        """Close what the pixels are read from."""
        self.numbers.close()


class OneColour:
    """Pixels whose red, green and blue are equal, as grey ones; others are an error where they are read."""

    writable = False

    def __init__(self, colours: MappedArray) -> None:
        self.colours, self.shape, self.dtype = colours, colours.shape[:-1], colours.dtype
        chunk: tuple[int, ...] = colours.layout["chunk"][:-1]
        self.layout = {**colours.layout, "chunk": chunk}

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        return grey_of(self.colours[(*key, slice(None))], str(self.colours.path))

    def close(self) -> None:
        """Close what the pixels are read from."""
        self.colours.close()


class TiffPages:
    """Loads single pages of the first series."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._pid = 0

    def load(self, index: int) -> npt.NDArray[Any]:
        """The (Y, X) pixels of a page."""
        with file_errors(f"{self.path} page {index}", "reading"):
            if self._file is None or self._pid != os.getpid():
                # a forked child shares the parent's file position, so it needs a handle of its own
                self._file, self._pid = tifffile.TiffFile(self.path), os.getpid()
            data: npt.NDArray[Any] = self._file.series[0].pages[index].asarray()
        return data if data.ndim == 2 else grey_of(data, f"{self.path} page {index}")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None, "_pid": 0}

    def close(self) -> None:
        """Close the file; the next load opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None


class TiffFormat:
    """Reads TIFF stacks; writes compressed ones that carry our attributes."""

    name = "tiff"
    suffixes: tuple[str, ...] = (".tif", ".tiff", ".btf", ".tf8")

    def matches(self, path: Path) -> bool:
        """Whether it is a file that ends like TIFF."""
        return path.is_file() and path.suffix.lower() in self.suffixes

    def open(self, path: Path, inner: str) -> Stored:
        """Open the first series.

        Raises
        ------
        VolumeError
            If the file is cut short, has colours that are not equal (or a palette that no grey values follow from), or
            an `inner` name was given.
        """
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a TIFF file", f"open '{path}'")
        with file_errors(str(path), "reading"):
            _require_whole_chain(path)
            with _quiet(), tifffile.TiffFile(path) as file:
                series = file.series[0]
                _require_whole_pages(path, series)
                attrs, grey = _attributes(file, series, path), _palette(series, path)
                shape, dtype, colour = tuple(series.shape), np.dtype(series.dtype), _has_colours(series)
                if colour:
                    grey_of(series.keyframe.asarray(), str(path))  # the others are looked at as they are read
                if series.dataoffset is not None:
                    placed = dtype.newbyteorder(file.byteorder)
                    mapped: Any = MappedArray(path, series.dataoffset, shape, placed)
                    mapped = OneColour(mapped) if colour else mapped
                    return Stored(mapped if grey is None else Greys(mapped, grey), attrs, str(path))
                shape = shape[:-1] if colour else shape
                codec = str(getattr(series.keyframe.compression, "name", series.keyframe.compression)).lower()
        layout = {"format": "tiff", "chunk": (*(1 for _ in shape[:-2]), *shape[-2:]), "codec": codec}
        pages = SectionStack(TiffPages(path), shape, dtype, layout)
        return Stored(pages if grey is None else Greys(pages, grey), attrs, str(path))

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume section by section; the file appears when it is whole. Boolean masks become 0 and 1."""
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a TIFF file", f"write '{path}'")
        require_new(path)
        partial = replace_when_whole(path)
        dtype = np.dtype(np.uint8) if volume.dtype.kind == "b" else volume.dtype
        attrs = {**volume.attributes(), "axes": volume.axes.upper()}
        try:
            with file_errors(str(path), "writing"):
                tifffile.imwrite(
                    partial,
                    _sections(volume, dtype),
                    shape=volume.shape,
                    dtype=dtype,
                    photometric="minisblack",
                    compression="zlib",
                    bigtiff=math.prod(volume.shape) * dtype.itemsize > 2**31,
                    metadata=attrs,
                )
                os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


FORMAT = TiffFormat()


def _sections(volume: Volume, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """The (Y, X) sections in the order of the stored axes."""
    box = volume.box
    channels = [None] if volume.ndim == 3 else range(volume.shape[0])
    for channel in channels:
        for block in volume.blocks((1, *(max(1, n) for n in box.shape[1:]))):  # type: ignore[arg-type]
            data = volume.read(block.write)
            yield (data if channel is None else data[channel])[0].astype(dtype)


def _attributes(file: Any, series: Any, path: Path) -> dict[str, Any]:
    """Our attributes, from whichever kind of metadata there is."""
    axes = str(series.axes).lower()
    if _has_colours(series):
        axes = axes[:-1]
    elif "s" in axes or len(series.keyframe.shape) != 2:
        raise VolumeError(
            f"'{path}' has pages of several planes (axes '{axes}')",
            "grey pages",
            "convert it to grey; if it is a stack of three or four sections, which tifffile takes for colours: "
            'tifffile.imwrite("new.tif", tifffile.imread(OLD), photometric="minisblack")',
        )
    found: dict[str, Any] = {}
    if series.kind == "shaped" and file.shaped_metadata:
        own = dict(file.shaped_metadata[0])
        found = our_attributes({k: v for k, v in own.items() if k not in ("shape", "axes")}, str(path))
    elif series.kind == "ome" and file.ome_metadata:
        found = _ome_resolution(file.ome_metadata)
    elif file.is_imagej and file.imagej_metadata:
        found = _imagej_resolution(file)
    if set(axes) <= set("tczyx"):
        found["axes"] = axes
    return found


def _has_colours(series: Any) -> bool:
    """Whether each pixel has several values, side by side."""
    return str(series.axes).lower().endswith("yxs") and len(series.keyframe.shape) == 3


def _palette(series: Any, path: Path) -> npt.NDArray[Any] | None:
    """The grey value of every number a pixel can have, None where the numbers are grey values themselves.

    They are where the palette's brightness rises with them: it is a tint for the screen then, as ImageJ stores one.
    """
    keyframe = series.keyframe
    if keyframe.photometric != tifffile.PHOTOMETRIC.PALETTE or keyframe.colormap is None:
        return None
    colours = np.asarray(keyframe.colormap)
    if (colours == colours[0]).all():
        grey = colours[0]
        fine = ((grey % 257 != 0) & (grey % 256 != 0)).any()
        grey = grey if fine else (grey >> 8).astype(np.uint8)
        return None if np.array_equal(grey, np.arange(len(grey))) else grey
    if (np.diff(_LUMINANCE @ colours) >= 0).all():
        return None
    raise VolumeError(
        f"'{path}' numbers the colours of a palette",
        "grey values, or a palette that rises from dark to bright",
        "a picture: PIL.Image.open(OLD).convert('L').save('new.tif'); labels, whose numbers count: "
        'tifffile.imwrite("new.tif", tifffile.imread(OLD), photometric="minisblack")',
    )


def _ome_resolution(xml: str) -> dict[str, Any]:
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.rsplit("}", 1)[-1] == "Pixels"), None)
    if pixels is None:
        return {}
    sizes = []
    for axis in "ZYX":
        value = pixels.get(f"PhysicalSize{axis}")
        nm = unit_nm(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if value is None or nm is None:
            return {}
        sizes.append(float(value) * nm)
    return {"resolution": sizes}


def _imagej_resolution(file: Any) -> dict[str, Any]:
    said, tags = file.imagej_metadata, file.pages[0].tags
    nm, spacing = unit_nm(said.get("unit")), said.get("spacing")
    if nm is None or not spacing or "XResolution" not in tags or "YResolution" not in tags:
        return {}
    per_unit = [tags[k].value[0] / max(1, tags[k].value[1]) for k in ("YResolution", "XResolution")]
    if min(per_unit) <= 0:
        return {}
    return {"resolution": [abs(float(spacing)) * nm, *(nm / p for p in per_unit)]}


def _require_whole_chain(path: Path) -> None:
    """Follow the chain of page directories to its end: a file that was cut short breaks it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            raise VolumeError(f"'{path}' is not a TIFF file", "a TIFF stack", "check what the file is")
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        count_type, entry, link_type = ("Q", 20, "Q") if big else ("H", 12, "I")
        at = struct.unpack(order + link_type, head[8:16] if big else head[4:8])[0]
        seen: set[int] = set()
        while at:
            file.seek(at)
            raw = file.read(struct.calcsize(count_type))
            count = struct.unpack(order + count_type, raw)[0] if len(raw) == struct.calcsize(count_type) else None
            end = at + len(raw) + (count or 0) * entry
            if count is None or end + struct.calcsize(link_type) > size or at in seen:
                raise _truncated(path, f"page {len(seen)} is cut off")
            seen.add(at)
            file.seek(end)
            at = struct.unpack(order + link_type, file.read(struct.calcsize(link_type)))[0]


def _require_whole_pages(path: Path, series: Any) -> None:
    """Check that the pixels of every page lie inside the file."""
    size = path.stat().st_size
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > size:
            raise _truncated(path, "its pixels end beyond it")
        return
    expected = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    if len(series.pages) != expected:
        raise _truncated(path, f"it has {len(series.pages)} of {expected} pages")
    for number in range(expected):
        page = series.pages[number]
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)] if page is not None else []
        if not ends or max(ends) > size:
            raise _truncated(path, f"page {number} is cut off")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep tifffile from logging what we are about to say in one error."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _truncated(path: Path, how: str) -> VolumeError:
    return VolumeError(f"'{path}' is truncated: {how}", "a whole TIFF file", "copy it again")
