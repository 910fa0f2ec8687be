"""HDF5: `file.h5:dataset`, with our attributes; CREMI files state `resolution` and `offset` in the same way.

What other programs say in their own words is understood too: the `axistags` of ilastik, and `element_size_um`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from neuropil.errors import VolumeError
from neuropil.io.base import (
    file_errors,
    listing,
    our_attributes,
    replace_when_whole,
    require_new,
    with_element_size,
)
from neuropil.lazy import Stored
from neuropil.volume import Volume

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHUNK = 64
_SLAB_BYTES = 128 * 2**20
# handles that a forked child inherited: closing them there could disturb the parent, so they are only forgotten
_inherited: list[Any] = []


class HDF5Array:
    """A dataset that is opened at the first read, and again in every process that it is sent to or forked into."""

    writable = False

    def __init__(self, path: Path, dataset: str) -> None:
        self.path, self.dataset, self.name = path, dataset, f"{path}:{dataset}"
        self._file: Any = None
        self._pid = 0
        with file_errors(self.name, "reading"):
            handle = self._handle()
            self.shape: tuple[int, ...] = tuple(handle.shape)
            self.dtype: np.dtype[Any] = handle.dtype
            self.layout = {"format": "hdf5", "chunk": handle.chunks, "codec": handle.compression}

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        with file_errors(self.name, "reading"):
            data: npt.NDArray[Any] = self._handle()[key]
            return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_pid": 0}

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def _handle(self) -> Any:
        if self._pid != os.getpid():
            if self._file is not None:
                _inherited.append(self._file)
            self._file = None
        if self._file is None:
            self._file, self._pid = h5py.File(self.path, "r"), os.getpid()
        return self._file[self.dataset]


class HDF5Format:
    """Reads and writes ``file.h5:dataset``."""

    name = "hdf5"
    suffixes: tuple[str, ...] = (".h5", ".hdf5", ".hdf")

    def matches(self, path: Path) -> bool:
        """Whether it ends like HDF5, or begins like it."""
        if not path.is_file():
            return False
        if path.suffix.lower() in self.suffixes:
            return True
        with path.open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE

    def open(self, path: Path, inner: str) -> Stored:
        """Open a dataset; without a name, the only one that is a volume.

        Raises
        ------
        VolumeError
            If the file is damaged, or the dataset is not there (those present are listed).
        """
        with file_errors(str(path), "reading"), h5py.File(path, "r") as file:
            dataset = _chosen(file, path, inner)
            attrs = with_element_size(our_attributes(dict(file[dataset].attrs), f"{path}:{dataset}"))
            attrs = _with_axes(attrs, file[dataset].ndim)
        return Stored(HDF5Array(path, dataset), attrs, f"{path}:{dataset}")

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume as one dataset; a file that exists gets it added, and is replaced whole or not at all."""
        write_hdf5(path, {inner or volume.kind: volume})


FORMAT = HDF5Format()


def write_hdf5(path: str | os.PathLike[str], volumes: Mapping[str, Volume]) -> None:
    """Write volumes as datasets of one file; the file appears (or changes) only when all are written.

    Parameters
    ----------
    path
        A new file, or one that has none of these datasets yet (it is copied first: meant for small files).
    volumes
        Dataset name → volume.

    Raises
    ------
    VolumeError
        If a dataset exists already, or the file cannot be written.
    """
    final = Path(path)
    if not final.exists():
        require_new(final)
    partial = replace_when_whole(final)
    try:
        with file_errors(str(final), "writing"):
            if final.exists():
                shutil.copyfile(final, partial)
            adding = final.exists()
            with open(partial, "r+b" if adding else "w+b", buffering=0) as raw:
                _write_all(_Disk(raw), "r+" if adding else "w", volumes, str(final))
            os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


class _Disk:
    """A file that remembers its first refusal instead of raising it.

    The HDF5 library crashes the process when a write fails while it closes a file. So it is told that all is well, and
    `check` raises afterwards; the file is thrown away then.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise what was remembered."""
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while self.error is None and len(left):
                left = left[self.raw.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
        return size

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        return bytes(self.raw.read(size))

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        got = self.raw.readinto(view) or 0
        view[got:] = bytes(len(view) - got)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self.raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self.raw.tell())

    def flush(self) -> None:
        self.raw.flush()


def _write_all(disk: _Disk, mode: str, volumes: Mapping[str, Volume], name: str) -> None:
    with h5py.File(disk, mode) as file:
        for dataset, volume in volumes.items():
            _write_dataset(file, dataset, volume, name)
            disk.check()
    disk.check()


def _write_dataset(file: Any, dataset: str, volume: Volume, name: str) -> None:
    if dataset in file:
        raise VolumeError(f"'{name}' already has a dataset '{dataset}'", "a new name", "choose another name")
    chunk = tuple(max(1, min(_CHUNK, n)) for n in volume.shape[-3:])
    target = file.create_dataset(
        dataset,
        shape=volume.shape,
        dtype=volume.dtype,
        chunks=(1,) * (volume.ndim - 3) + chunk,
        compression="gzip",
        compression_opts=1,
        shuffle=volume.dtype.itemsize > 1,
    )
    for key, value in volume.attributes().items():
        target.attrs[key] = _storable(value)
    section_bytes = volume.dtype.itemsize * int(np.prod(volume.shape)) // max(1, volume.shape[-3])
    slab = max(1, _SLAB_BYTES // max(1, section_bytes) // _CHUNK) * _CHUNK
    z, y, x = volume.shape[-3:]
    for block in volume.blocks((min(slab, max(1, z)), max(1, y), max(1, x))):
        start = block.write.start[0] - volume.box.start[0]
        stop = start + block.write.shape[0]
        target[..., start:stop, :, :] = volume.read(block.write)


def _storable(value: Any) -> Any:
    """An attribute as HDF5 knows it; what has names within becomes JSON."""
    if isinstance(value, dict):
        return json.dumps(value)
    if not isinstance(value, list | tuple):
        return value
    array = np.asarray(value)
    return array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array


def _with_axes(attrs: dict[str, Any], ndim: int) -> dict[str, Any]:
    """Attributes with the axes that ilastik states in `axistags`, where they state none and these fit the array."""
    tags = _axis_keys(attrs.get("axistags"))
    if "axes" in attrs or len(tags) != ndim or len(set(tags)) != ndim or not set(tags) <= set("tczyx"):
        return attrs
    # a copy has its axes in our order, and would contradict the tags
    return {**{k: v for k, v in attrs.items() if k != "axistags"}, "axes": "".join(tags)}


def _axis_keys(text: Any) -> list[str]:
    """The keys in ``{"axes": [{"key": "z", ...}, ...]}``; none where it says anything else."""
    try:
        return [str(axis["key"]).lower() for axis in json.loads(text)["axes"]]
    except (ValueError, TypeError, KeyError):
        return []


def _chosen(file: Any, path: Path, inner: str) -> str:
    """The name of the dataset that is meant."""
    found: dict[str, Any] = {}
    file.visititems(lambda name, node: found.update({name: node}) if isinstance(node, h5py.Dataset) else None)
    # a link is not visited, but is as good a name
    if inner and isinstance(file.get(inner), h5py.Dataset):
        return inner
    under = f"{inner}/" if inner else ""
    volumes = [name for name, node in found.items() if name.startswith(under) and node.ndim in (3, 4, 5)]
    if (not inner or inner in file) and len(volumes) == 1:
        return volumes[0]
    got = f"'{path}' has no dataset '{inner}'" if inner and inner not in file else f"'{path}' holds several volumes"
    if not volumes and not (inner and inner not in file):
        got = f"'{path}' holds no volume"
    rows = [(name, node.shape, node.dtype, dict(node.attrs)) for name, node in sorted(found.items())]
    raise VolumeError(got, listing(rows), f"give one of them as {path}:NAME")
