"""A folder of PNG, JPEG or TIFF sections, one file a section, in natural order of the names ("2" before "10").

Such files say nothing of voxel size; a `neuropil.json` beside them may hold our attributes, else it must be given.
Hidden files and files of other kinds are left out. Names that differ in more than their number, and numbers that are
missing, are told of in a note.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from neuropil.errors import InputError, VolumeError, listed
from neuropil.io.base import SectionStack, file_errors, grey_of, our_attributes, replace_when_whole, require_new
from neuropil.lazy import Stored
from neuropil.volume import Volume

_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff"}
_SIDECAR = "neuropil.json"
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
# a volume is often opened more than once, and one note is enough
_noted: set[str] = set()


class SectionFiles:
    """Loads one file a section, and insists that all are alike."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self._first: tuple[tuple[int, ...], np.dtype[Any]] | None = None

    def load(self, index: int) -> npt.NDArray[Any]:
        """The (Y, X) pixels of a file."""
        path = self.files[index]
        with file_errors(str(path), "reading"):
            data = _decoded(path)
        if data.ndim == 3 and data.shape[-1] in (2, 3, 4):
            data = grey_of(data, str(path))
        if data.ndim != 2:
            raise VolumeError(
                f"'{path}' has pixels of shape {data.shape}", "grey (Y, X) sections", "convert it to grey"
            )
        if self._first is None:
            self._first = (data.shape, data.dtype)
        if (data.shape, data.dtype) != self._first:
            raise VolumeError(
                f"'{path}' is {data.shape} {data.dtype}", f"{self._first[0]} {self._first[1]}, as the others are"
            )
        return data

    def close(self) -> None:
        """Nothing is kept open."""


class ImagesFormat:
    """Reads and writes folders of sections."""

    name = "images"
    suffixes: tuple[str, ...] = ("",)

    def matches(self, path: Path) -> bool:
        """Whether it is a folder (the formats that are folders of another kind are asked first)."""
        return path.is_dir()

    def open(self, path: Path, inner: str) -> Stored:
        """Open a folder.

        Raises
        ------
        VolumeError
            If it holds no sections, or sections of different size (the file is named).
        """
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a folder of sections", f"open '{path}'")
        files = sorted((f for f in path.iterdir() if _is_section(f)), key=_natural)
        if not files:
            raise VolumeError(f"folder '{path}' holds no sections", "PNG, JPEG or TIFF files", "check the path")
        loader = SectionFiles(files)
        first = loader.load(0)
        for file in files:
            with file_errors(str(file), "reading"):
                shape = _header_shape(file)
            if shape != first.shape:
                raise VolumeError(
                    f"'{file}' has {shape} pixels", f"{first.shape}, as '{files[0].name}' has", "crop or remove it"
                )
        attrs: dict[str, Any] = {}
        if (path / _SIDECAR).is_file():
            with file_errors(str(path / _SIDECAR), "reading"):
                attrs = our_attributes(dict(json.loads((path / _SIDECAR).read_text())), str(path))
        _tell_of_names(path, files)
        layout = {"format": "images", "chunk": (1, *first.shape), "codec": _KINDS[files[0].suffix.lower()]}
        return Stored(SectionStack(loader, (len(files), *first.shape), first.dtype, layout), attrs, str(path))

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a folder of PNG sections with `neuropil.json`; it appears when it is whole.

        Raises
        ------
        InputError
            If the values do not fit PNG: 8 or 16 bits, one channel.
        """
        if volume.axes != "zyx" or volume.dtype.name not in ("bool", "uint8", "uint16"):
            raise InputError(
                f"{volume.name}: {volume.axes} of type {volume.dtype}", "zyx of uint8 or uint16 for PNG", "use x.zarr"
            )
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a folder of sections", f"write '{path}'")
        require_new(path)
        partial = replace_when_whole(path)
        digits = len(str(max(0, volume.shape[0] - 1)))
        try:
            with file_errors(str(path), "writing"):
                partial.mkdir()
                y, x = (max(1, n) for n in volume.shape[1:])
                for number, block in enumerate(volume.blocks((1, y, x))):
                    section = volume.read(block.write)[0]
                    section = section.astype(np.uint8) if section.dtype.kind == "b" else section
                    (partial / f"section_{number:0{digits}d}.png").write_bytes(imagecodecs.png_encode(section))
                (partial / _SIDECAR).write_text(json.dumps(volume.attributes(), indent=1))
                os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


FORMAT = ImagesFormat()


def _is_section(path: Path) -> bool:
    return path.suffix.lower() in _KINDS and not path.name.startswith(".") and path.is_file()


def _natural(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", path.stem)
    return [[int(p), ""] if p.isdigit() else [-1, p.lower()] for p in parts] + [[-1, path.name]]


def _tell_of_names(folder: Path, files: list[Path]) -> None:
    """Print, once, what is odd about the names of the sections, which come in their order."""
    found = [_LAST_NUMBER.fullmatch(file.stem) for file in files]
    numbers = [int(f[2]) if f else None for f in found]
    if len(set(numbers)) < 2:
        return
    said = _mixed(files)
    # where other numbers differ too, the last ones may begin anew with each of them
    if not said and len({(f[1].lower(), f[3].lower()) for f in found if f}) == 1:
        said = _first_gap([n for n in numbers if n is not None])
    text = f"note: '{folder}': {said}"
    if said and text not in _noted:
        _noted.add(text)
        print(text, file=sys.stderr)


def _mixed(files: list[Path]) -> str:
    """The order taken, where names differ in their text, case apart; else nothing."""
    texts = [re.split(r"\d+", file.stem.lower()) for file in files]
    other = next((i for i, text in enumerate(texts) if text != texts[0]), 0)
    if not other:
        return ""
    names = [file.name for file in files]
    first, then = listed(names[:other]), listed(names[other:])
    return f"names of sections differ in more than their numbers; the order taken is {first}, then {then}"


def _first_gap(numbers: list[int]) -> str:
    """The first numbers that are missing among ascending ones, or nothing."""
    gaps = [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]
    if not gaps:
        return ""
    low, high = gaps[0]
    which = f"section {low} to {high}" if high > low else f"section {low}"
    more = f" (the first of {len(gaps)} gaps)" if len(gaps) > 1 else ""
    return f"no {which}{more}; sections are taken to follow each other"


def _decoded(path: Path) -> npt.NDArray[Any]:
    kind = _KINDS[path.suffix.lower()]
    if kind == "tiff":
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise VolumeError(f"'{path}' has {len(file.pages)} pages", "one page a section", "open the file itself")
            page: npt.NDArray[Any] = file.pages[0].asarray()
            return page
    raw = path.read_bytes()
    if kind == "jpeg" and b"\xff\xd9" not in raw[-64:]:
        raise VolumeError(f"'{path}' is truncated", "a JPEG file with its end marker", "copy it again")
    data: npt.NDArray[Any] = imagecodecs.png_decode(raw) if kind == "png" else imagecodecs.jpeg_decode(raw)
    return data


def _header_shape(path: Path) -> tuple[int, ...]:
    """(Y, X) without decoding."""
    kind = _KINDS[path.suffix.lower()]
    if kind == "tiff":
        with tifffile.TiffFile(path) as file:
            return tuple(file.pages[0].shape[:2])
    with path.open("rb") as file:
        if kind == "png":
            head = file.read(24)
            x, y = struct.unpack(">II", head[16:24]) if len(head) == 24 else (0, 0)
            return int(y), int(x)
        file.read(2)
        while True:
            marker, length = struct.unpack(">HH", file.read(4))
            # start-of-frame markers, but for those in the same range that mean tables
            if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
                y, x = struct.unpack(">xHH", file.read(5))
                return int(y), int(x)
            file.seek(length - 2, os.SEEK_CUR)
