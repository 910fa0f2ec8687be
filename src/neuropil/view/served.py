"""What a server hands out for one layer: files of Neuroglancer's precomputed format, made when they are asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Box
from neuropil.view.scales import CHUNK, Scale, locked, scales_of, stored_scales
from neuropil.volume import IGNORED_IDS, Volume

_PIECE = re.compile(r"(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)_(-?\d+)-(-?\d+)")
_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")


class Served(Protocol):
    """One layer's files, by their path below its name."""

    def get(self, path: str) -> bytes | None:
        """The content of a file, or None where there is none."""


class Files:
    """A folder on disk, and nothing above it.

    Parameters
    ----------
    folder
        What it holds is handed out as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def get(self, path: str) -> bytes | None:
        """The content of a file below the folder."""
        if "\0" in path:
            return None  # no name of a file
        file = (self.folder / PurePosixPath(path)).resolve()
        return file.read_bytes() if self.folder in file.parents and file.is_file() else None


class Memory:
    """Files that are held in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def get(self, path: str) -> bytes | None:
        """The content of a file."""
        return self.files.get(path)


class Pieces:
    """A volume as a precomputed one, each piece read when it is asked for.

    Parameters
    ----------
    volume
        Read by one thread at a time.
    more
        Further keys of its `info`.
    folders
        What lies in folders below it, such as meshes.
    """

    def __init__(
        self, volume: Volume, *, more: dict[str, Any] | None = None, folders: dict[str, Served] | None = None
    ) -> None:
        self.volume, self.folders = locked(volume), folders or {}
        self.dtype = served_type(volume)
        self.scales = scales_of(self.volume, stored_scales(volume))
        self._info = json.dumps({**self._described(), **(more or {})}).encode()

    def get(self, path: str) -> bytes | None:
        """The info, a piece `KEY/x0-x1_y0-y1_z0-z1`, or what a folder holds."""
        if path == "info":
            return self._info
        first, _, rest = path.partition("/")
        if first in self.folders:
            return self.folders[first].get(rest)
        scale, found = self._scale(first), _PIECE.fullmatch(rest)
        if scale is None or found is None:
            return None
        x0, x1, y0, y1, z0, z1 = map(int, found.groups())
        if min(x1 - x0, y1 - y0, z1 - z0) <= 0 or max(x1 - x0, y1 - y0, z1 - z0) > max(CHUNK):
            return None
        box = Box((z0, y0, x0), (z1, y1, x1), scale.box.voxel_size)
        if not scale.box.contains(box):
            return None
        # as they lie in memory: x fastest, channels last of all
        return np.ascontiguousarray(sendable(scale.read(box), self.dtype, self.volume.kind)).tobytes()

    def _scale(self, key: str) -> Scale | None:
        return next((scale for scale in self.scales if _key(scale) == key), None)

    def _described(self) -> dict[str, Any]:
        return {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation" if self.volume.kind == "labels" else "image",
            "data_type": self.dtype.name,
            "num_channels": self.volume.shape[0] if self.volume.axes == "czyx" else 1,
            "scales": [
                {
                    "key": _key(scale),
                    "size": scale.box.shape[::-1],
                    "resolution": scale.box.voxel_size[::-1],
                    "voxel_offset": scale.box.start[::-1],
                    "chunk_sizes": [CHUNK[::-1]],
                    "encoding": "raw",
                }
                for scale in self.scales
            ],
        }


def served_type(volume: Volume) -> np.dtype[Any]:
    """The type that voxels are sent as: their own, or where the format has none, one that holds them.

    Ids go as they are; grey values of 64 bits lose digits that a picture does not show.
    """
    name = volume.dtype.name
    if volume.kind in ("labels", "mask"):
        return np.dtype({"bool": "uint8", "int64": "uint64"}.get(name, name))
    return np.dtype(name if name in _TYPES and name != "uint64" else "uint8" if name == "bool" else "float32")


class Sendable:
    """An array in a type that the format has (see `served_type`); ids that mean background are 0."""

    writable = False

    def __init__(self, volume: Volume) -> None:
        self.volume, self.source, self.shape, self.dtype = volume, volume.array, volume.shape, served_type(volume)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        return sendable(self.source[key], self.dtype, self.volume.kind)


def sendable(data: npt.NDArray[Any], dtype: np.dtype[Any], kind: str) -> npt.NDArray[Any]:
    """Voxels in the type that is sent; ids that mean background as 0."""
    if kind == "labels" and data.dtype == np.uint64:
        data = np.where(data >= min(IGNORED_IDS), np.uint64(0), data)
    return data.astype(dtype)


def _key(scale: Scale) -> str:
    return "_".join(str(f) for f in scale.factor[::-1])
