"""Vaa3D's volumes: `.v3draw` and `.raw` (plain voxels behind a header), `.v3dpbd` (packed).

Neither says how large a voxel is. A `NAME.neuropil.json` beside the file may hold our attributes (we write one), else
the voxel size must be given. Plain files are mapped; a packed one can only be unpacked from its beginning, so it is
held in memory from the first read on. Axes are stored x fastest, then y, z, channel (and time).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import VolumeError
from neuropil.geometry import Box
from neuropil.io.base import file_errors, our_attributes, read_json, replace_when_whole, require_new
from neuropil.io.tiff import MappedArray
from neuropil.lazy import Stored
from neuropil.volume import Volume

_KEYS = {b"raw_image_stack_by_hpeng": 4, b"raw5image_stack_by_hpeng": 5, b"v3d_volume_pkbitdf_encod": 4}
_PACKED = b"v3d_volume_pkbitdf_encod"
_KEY_BYTES = 24
_TYPES = {1: "u1", 2: "u2", 4: "f4"}
_SIDECAR = ".neuropil.json"
#: Voxels that one byte can stand for: two bytes say up to 128 times the same value.
_MOST_PACKED = 64
#: Bytes that are written at once.
_AT_ONCE = 2**26


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file say: `shape` is (C, Z, Y, X), or (T, C, Z, Y, X)."""

    packed: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    length: int

    @property
    def size(self) -> int:
        """Voxels of all channels."""
        return math.prod(self.shape)


class RawArray(MappedArray):
    """Plain voxels, mapped at the first read of each process."""

    def __init__(self, path: Path, header: Header) -> None:
        super().__init__(path, header.length, header.shape, header.dtype)
        self.layout = {"format": "vaa3d", "chunk": header.shape, "codec": None}


class PackedArray:
    """Packed voxels, unpacked whole at the first read of each process."""

    writable = False

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header, self.shape = path, header, header.shape
        self.dtype = header.dtype.newbyteorder("=")
        self.layout = {"format": "vaa3d", "chunk": header.shape, "codec": "pbd"}
        self._held: npt.NDArray[Any] | None = None

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        if self._held is None:
            from neuropil.io.pbd import unpacked

            with file_errors(str(self.path), "reading"):
                raw = self.path.read_bytes()[self.header.length :]
                self._held = unpacked(raw, self.header.size, self.header.dtype, str(self.path)).reshape(self.shape)
        return self._held[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def close(self) -> None:
        """Let go of the voxels; the next read unpacks them again."""
        self._held = None


class Vaa3dFormat:
    """Reads and writes ``x.v3draw`` and ``x.v3dpbd``; reads ``x.raw`` where it begins as Vaa3D's do."""

    name = "vaa3d"
    suffixes: tuple[str, ...] = (".v3draw", ".v3dpbd")

    def matches(self, path: Path) -> bool:
        """Whether it is a file that ends like one of Vaa3D's, or a `.raw` that begins like one."""
        if not path.is_file():
            return False
        suffix = path.suffix.lower()
        return suffix in self.suffixes or (suffix == ".raw" and _begin(path)[:_KEY_BYTES] in _KEYS)

    def open(self, path: Path, inner: str) -> Stored:
        """Open a file.

        Raises
        ------
        VolumeError
            If it is no such file, is cut short, or of a kind that cannot be read without loss.
        """
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a Vaa3D file", f"open '{path}'")
        with file_errors(str(path), "reading"):
            header = read_header(path)
        array = PackedArray(path, header) if header.packed else RawArray(path, header)
        axes = "czyx" if len(header.shape) == 4 else "tczyx"
        return Stored(array, {**_beside(path, header), "axes": axes}, str(path))

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume, and beside it what Vaa3D's header has no room for. Boolean masks become 0 and 1.

        Raises
        ------
        VolumeError
            If the place is taken, cannot be written, or the data type is none of the format's.
        """
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "no name inside a Vaa3D file", f"write '{path}'")
        sidecar = path.with_name(path.name + _SIDECAR)
        for place in (path, sidecar):
            require_new(place)
        packed = path.suffix.lower() == ".v3dpbd"
        dtype = _storable(volume, path, ("uint8", "uint16") if packed else ("uint8", "uint16", "float32"))
        shape = (volume.shape[0] if volume.ndim == 4 else 1, *volume.shape[-3:])
        said = {**volume.attributes(), "shape": list(shape), "dtype": dtype.name}
        partial = replace_when_whole(path)
        try:
            with file_errors(str(path), "writing"):
                (_write_packed if packed else _write_raw)(volume, partial, shape, dtype)
                sidecar.write_text(json.dumps(said, indent=1) + "\n")
                os.replace(partial, path)
        except BaseException:
            sidecar.unlink(missing_ok=True)
            raise
        finally:
            partial.unlink(missing_ok=True)


FORMAT = Vaa3dFormat()


def read_header(path: Path) -> Header:
    """The header of a file, checked against its length.

    Sizes of two bytes instead of four, as old files have them, are told by the length of the file.

    Raises
    ------
    VolumeError
        If it is none of Vaa3D's, is cut short, or is packed with loss.
    """
    begin, size = _begin(path), path.stat().st_size
    axes = _KEYS.get(begin[:_KEY_BYTES])
    if axes is None or len(begin) < _KEY_BYTES + 3 or begin[_KEY_BYTES : _KEY_BYTES + 1] not in (b"L", b"B"):
        raise VolumeError(f"'{path}' does not begin as Vaa3D's files do", "a v3draw or v3dpbd file", "copy it again")
    packed, order = begin[:_KEY_BYTES] == _PACKED, "<" if begin[_KEY_BYTES : _KEY_BYTES + 1] == b"L" else ">"
    code = struct.unpack(order + "h", begin[_KEY_BYTES + 1 : _KEY_BYTES + 3])[0]
    if code not in _TYPES or (packed and code == 4):
        raise VolumeError(
            f"'{path}' has data of type {code}{' (packed)' if packed else ''}",
            "1 (8 bit), 2 (16 bit), or 4 (float) where it is not packed",
            "convert it in Vaa3D to v3draw: the 3-bit packing loses grey values",
        )
    dtype = np.dtype(order + _TYPES[code])
    for width in "ih":
        length = _KEY_BYTES + 3 + struct.calcsize(f"={axes}{width}")
        if len(begin) < length:
            continue
        sizes = struct.unpack(f"{order}{axes}{width}", begin[_KEY_BYTES + 3 : length])
        count, rest = math.prod(sizes), size - length
        if min(sizes) > 0 and (count <= _MOST_PACKED * rest if packed else count * dtype.itemsize == rest):
            return Header(packed, dtype, tuple(sizes[::-1]), length)
    raise VolumeError(f"'{path}' is of {size} bytes, which its header does not fit", "a whole file", "copy it again")


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_KEY_BYTES + 3 + 20)


def _beside(path: Path, header: Header) -> dict[str, Any]:
    """The attributes that lie beside a file, if there are any."""
    sidecar = path.with_name(path.name + _SIDECAR)
    if not sidecar.is_file():
        return {}
    raw = read_json(sidecar, "our")
    if (raw.pop("shape", None), raw.pop("dtype", None)) != (list(header.shape[-4:]), header.dtype.name):
        raise VolumeError(
            f"'{sidecar}' describes another volume than '{path.name}'", "the same shape and type", f"remove '{sidecar}'"
        )
    return our_attributes(raw, str(sidecar))


def _storable(volume: Volume, path: Path, allowed: tuple[str, ...]) -> np.dtype[Any]:
    """The data type to write, little endian."""
    dtype = np.dtype(np.uint8) if volume.dtype.kind == "b" else volume.dtype
    if dtype.name not in allowed or not volume.box.size:
        what = f"of type {dtype}" if dtype.name not in allowed else "without voxels"
        raise VolumeError(f"'{path}' would hold a volume {what}", ", ".join(allowed), "convert it, or write x.zarr")
    return dtype.newbyteorder("<")


def _write_raw(volume: Volume, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    code = {v: k for k, v in _TYPES.items()}[dtype.str[1:]]
    key = next(k for k, axes in _KEYS.items() if axes == 4 and k != _PACKED)
    with path.open("wb") as file:
        file.write(key + b"L" + struct.pack("<h4i", code, *shape[::-1]))
        for data in _slabs(volume, shape, dtype):
            file.write(np.ascontiguousarray(data, dtype).tobytes())


def _write_packed(volume: Volume, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    from v3dpy.loaders import PBD

    data = np.concatenate([s.reshape(-1) for s in _slabs(volume, shape, dtype)]).reshape(shape)
    # the package's own default packs 16 bit in a way that Vaa3D cannot read
    PBD(pbd16_full_blood=False).save(str(path), np.ascontiguousarray(data, dtype))


def _slabs(volume: Volume, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """The (Z, Y, X) sections of each channel in turn, several at once."""
    box = volume.box
    depth = max(1, _AT_ONCE // max(1, math.prod(volume.shape) // box.shape[0] * dtype.itemsize))
    for channel in range(shape[0]):
        for z in range(box.start[0], box.stop[0], depth):
            stop = (min(z + depth, box.stop[0]), box.stop[1], box.stop[2])
            data = volume.read(Box((z, box.start[1], box.start[2]), stop, box.voxel_size))
            yield data if volume.ndim == 3 else data[channel]
