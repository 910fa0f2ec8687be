"""Neuroglancer's precomputed volumes, on disk or on a server: ``x.precomputed``, ``https://server/x:8_8_8``.

The format counts x, y, z and holds no metadata of other programs; what it cannot say stands in a `neuropil.json` beside
its `info` when we write, in single files of compressed 64³ chunks with all coarser scales. Sharded ones are read.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError, VolumeError
from neuropil.geometry import Block, Box, Int3
from neuropil.io.base import file_errors, listing, our_attributes, read_json, replace_when_whole, require_new
from neuropil.io.pyramid import downsampled, level_factors
from neuropil.io.zarr_array import ZarrArray
from neuropil.lazy import Stored
from neuropil.progress import written
from neuropil.remote import Place, kvstore_of, tensorstore_for
from neuropil.volume import Volume

_INFO, _SIDECAR = "info", "neuropil.json"
_CHUNK: Int3 = (64, 64, 64)
_BLOCK: Int3 = (128, 256, 256)
#: Types that the format does not have, and what takes them without loss (labels are never negative).
_STORED_AS = {"bool": "uint8", "int64": "uint64"}
_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")


class PrecomputedArray(ZarrArray):
    """One scale, (C, Z, Y, X); chunks that are not there are zero, unless we wrote it."""

    def __init__(
        self, path: Place, info: Mapping[str, Any], number: int, *, writable: bool = False, whole: bool = False
    ) -> None:
        scale = info["scales"][number]
        self.path, self.writable, self.name = path, writable, f"{path}:{scale['key']}"
        self.shape = (int(info["num_channels"]), *(int(n) for n in scale["size"][::-1]))
        self.dtype = np.dtype(info["data_type"])
        chunk = (self.shape[0], *(int(n) for n in scale["chunk_sizes"][0][::-1]))
        self.layout = {"format": "precomputed", "chunk": chunk, "codec": scale["encoding"]}
        dense = whole or (path / _SIDECAR).is_file()
        self._more = {"scale_index": number, "fill_missing_data_reads": not dense}
        self._driver, self._dense, self._handle = "neuroglancer_precomputed", False, None

    def _opened(self) -> Any:
        if self._handle is None and not (self.path / _INFO).is_file():
            raise VolumeError(f"'{self.path}' has lost its {_INFO}", "a precomputed volume", "copy it again")
        return super()._opened().T[tensorstore_for(self.path).d[:].translate_to[0]]


class PrecomputedFormat:
    """Reads ``x.precomputed`` and ``x.precomputed:key``; writes the former."""

    name = "precomputed"
    suffixes: tuple[str, ...] = (".precomputed",)
    remote = True

    def matches(self, path: Place) -> bool:
        """Whether the folder holds an `info` with scales, or is called so."""
        if not path.is_dir():
            return False
        return path.suffix == ".precomputed" or ((path / _INFO).is_file() and "scales" in read_json(path / _INFO, ""))

    def open(self, path: Place, inner: str) -> Stored:
        """Open a scale, named by its key; the finest, if none is named.

        Raises
        ------
        VolumeError
            If `info` is damaged, or the scale is not there (those present are listed).
        """
        info = read_json(path / _INFO, "precomputed")
        try:
            arrays = [PrecomputedArray(path, info, n) for n in range(len(info["scales"]))]
            keys = [str(scale["key"]) for scale in info["scales"]]
            found = [_attributes(info, scale) for scale in info["scales"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise VolumeError(
                f"'{path / _INFO}' is unusable ({error!r})", "precomputed metadata", "copy it again"
            ) from (error)
        if not keys or (inner and inner not in keys):
            rows = [(k, a.shape, a.dtype, f) for k, a, f in zip(keys, arrays, found, strict=True)]
            got = f"'{path}' has no scale '{inner}'" if keys else f"'{path}' has no scales"
            raise VolumeError(got, listing(rows), f"give one of them as {path}:KEY")
        number = keys.index(inner) if inner else 0
        attrs = found[number]
        if number == 0 and (path / _SIDECAR).is_file():
            attrs |= our_attributes(read_json(path / _SIDECAR, "our"), str(path))
        # axes as they are stored: always with channels
        return Stored(arrays[number], {**attrs, "axes": "czyx"}, f"{path}:{inner}" if inner else str(path))

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume and its coarser scales; the folder appears when it is whole.

        Raises
        ------
        InputError
            If the format has no such data type.
        """
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "a whole x.precomputed to write", f"write to '{path}'")
        dtype = _STORED_AS.get(volume.dtype.name, volume.dtype.name)
        if dtype not in _TYPES or (volume.dtype.name == "int64" and volume.kind != "labels"):
            raise InputError(f"{volume.name} of type {volume.dtype}", "one of " + ", ".join(_TYPES), "write x.zarr")
        require_new(path)
        partial = replace_when_whole(path)
        try:
            with file_errors(str(path), "writing"):
                partial.mkdir()
                _write(partial, volume, np.dtype(dtype))
                (partial / _SIDECAR).write_text(json.dumps(volume.attributes(), indent=1))
                os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


FORMAT = PrecomputedFormat()


def _attributes(info: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """What `info` says of one scale, under our names."""
    size = [float(v) for v in scale["resolution"][::-1]]
    offset = [o * v for o, v in zip(scale.get("voxel_offset", (0, 0, 0))[::-1], size, strict=True)]
    kind = "labels" if info["type"] == "segmentation" else "image"
    return {"resolution": size, "offset": offset, "kind": kind}


def scale_boxes(box: Box) -> Iterator[tuple[Box, Int3]]:
    """The coarser scales of a volume: the cells of the world's grid that it touches, and the factor z, y, x to each."""
    for factor in level_factors(box.shape, box.voxel_size, _CHUNK):
        z, y, x = (v * f for v, f in zip(box.voxel_size, factor, strict=True))
        start = tuple(s // f for s, f in zip(box.start, factor, strict=True))
        stop = tuple(-(-s // f) for s, f in zip(box.stop, factor, strict=True))
        box = Box(start, stop, (z, y, x))  # type: ignore[arg-type]
        yield box, factor


def create_scales(path: Path, like: Volume, dtype: np.dtype[Any], chunk: Int3 = _CHUNK) -> None:
    """Create all scales of a volume, empty, in a folder of their own; `chunk` is that of the finest."""
    with file_errors(str(path), "writing"):
        path.mkdir()
        _scale(path, like, like.box, dtype, chunk)
        for box, _ in scale_boxes(like.box):
            _scale(path, like, box, dtype, _CHUNK)


def open_scale(path: Path, number: int = 0, *, writable: bool = False) -> Volume:
    """One scale of a volume with one channel that `create_scales` made, whole or not."""
    info = read_json(path / _INFO, "precomputed")
    found = _attributes(info, info["scales"][number])
    array = PrecomputedArray(path, info, number, writable=writable, whole=True)
    return Volume(_Cube(array), found["resolution"], found["offset"], "zyx", found["kind"], name=str(path))


def fill_scale(path: Path, number: int, block: Block) -> None:
    """Write one block (whole chunks) of a coarser scale from the scale before it."""
    fine, coarse = open_scale(path, number - 1), open_scale(path, number, writable=True)
    z, y, x = (round(a / b) for a, b in zip(coarse.voxel_size, fine.voxel_size, strict=True))
    coarse.write(block.write, _cells(fine, block, (z, y, x)))


def chunk_files(path: Path, number: int, box: Box) -> list[str]:
    """Names in the volume's folder of the files that hold a box of a scale, which begins and ends with chunks."""
    scale = read_json(path / _INFO, "precomputed")["scales"][number]
    ranges = []
    for axis, (low, high) in enumerate(zip(box.start[::-1], box.stop[::-1], strict=True)):
        step = int(scale["chunk_sizes"][0][axis])
        ranges.append([f"{at}-{min(at + step, high)}" for at in range(low, high, step)])
    return [f"{scale['key']}/{'_'.join(place)}" for place in itertools.product(*ranges)]


def add_to_info(path: Path, more: Mapping[str, Any]) -> None:
    """Name what else lies in a volume's folder: `mesh`, `skeletons`."""
    with file_errors(str(path), "writing"):
        (path / _INFO).write_text(json.dumps({**read_json(path / _INFO, "precomputed"), **more}, indent=1))


def finish_scales(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write what the format cannot say beside it; until then the volume is not whole."""
    with file_errors(str(path), "writing"):
        (path / _SIDECAR).write_text(json.dumps(attributes, indent=1))


def made_here(path: Path) -> bool:
    """Whether a folder is a volume that we wrote."""
    return (path / _INFO).is_file() and (path / _SIDECAR).is_file()


def _write(path: Path, volume: Volume, dtype: np.dtype[Any]) -> None:
    """All scales, block by block, finest first."""
    level = _scale(path, volume, volume.box, dtype, _CHUNK)
    for block in written("writing", level.blocks(_BLOCK), level.box.size):
        level.write(block.write, volume.read(block.write).astype(dtype))
    for box, factor in scale_boxes(volume.box):
        coarse = _scale(path, level, box, dtype, _CHUNK)
        for block in written("scale", coarse.blocks(_CHUNK), coarse.box.size):
            coarse.write(block.write, _cells(level, block, factor))
        level = coarse


def _cells(fine: Volume, block: Block, factor: Int3) -> npt.NDArray[Any]:
    """A block of a coarser scale: cells lie on the grid of the world, so those at either end may be cut."""
    start = [s * f for s, f in zip(block.write.start, factor, strict=True)]
    stop = [s * f for s, f in zip(block.write.stop, factor, strict=True)]
    box = Box(tuple(start), tuple(stop), fine.voxel_size).intersected(fine.box)  # type: ignore[arg-type]
    data = fine.read(box)
    front = [(low - s, 0) for low, s in zip(box.start, start, strict=True)]
    return downsampled(np.pad(data, [(0, 0)] * (data.ndim - 3) + front, mode="edge"), factor, fine.kind)


def _scale(path: Path, like: Volume, box: Box, dtype: np.dtype[Any], chunk: Sequence[int]) -> Volume:
    """Create one scale, empty."""
    packed = like.kind == "labels" and dtype.name in ("uint32", "uint64")
    metadata: dict[str, Any] = {
        "size": box.shape[::-1],
        "voxel_offset": box.start[::-1],
        "resolution": box.voxel_size[::-1],
        "chunk_size": tuple(chunk)[::-1],
        "encoding": "compressed_segmentation" if packed else "raw",
    }
    if packed:
        metadata["compressed_segmentation_block_size"] = (8, 8, 8)
    whole = {
        "type": "segmentation" if like.kind == "labels" else "image",
        "data_type": dtype.name,
        "num_channels": like.shape[0] if like.axes == "czyx" else 1,
    }
    spec = {"driver": "neuroglancer_precomputed", "kvstore": kvstore_of(path)}
    spec |= {"multiscale_metadata": whole, "scale_metadata": metadata}
    tensorstore_for(path).open(spec, open=True, create=True).result()
    info = read_json(path / _INFO, "precomputed")
    array = PrecomputedArray(path, info, len(info["scales"]) - 1, writable=True)
    return Volume(_Cube(array) if like.axes == "zyx" else array, box.voxel_size, box.offset_nm, like.axes, like.kind)


class _Cube:
    """The only channel of a scale that is being written, (Z, Y, X)."""

    writable = True

    def __init__(self, array: PrecomputedArray) -> None:
        self.array, self.shape, self.dtype, self.write_unit = array, array.shape[1:], array.dtype, array.write_unit
        self.layout = array.layout

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        only: npt.NDArray[Any] = self.array[(slice(0, 1), *key)][0]
        return only

    def __setitem__(self, key: tuple[slice, ...], data: npt.NDArray[Any]) -> None:
        self.array[(slice(0, 1), *key)] = data[None]
