"""One Zarr array on disk, read and written through tensorstore."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Float3, Int3
from neuropil.io.base import file_errors
from neuropil.io.ome import Node, array_type
from neuropil.remote import Place, RemotePath, context_of, kvstore_of, tensorstore_for


class ZarrArray:
    """An array that is opened at the first use, and again in every process that it is sent to."""

    def __init__(self, path: Place, node: Node, *, writable: bool = False) -> None:
        self.path, self.writable, self.name = path, writable, str(path)
        self.shape, self.dtype = array_type(node)
        self._driver = {2: "zarr", 3: "zarr3"}[node.version]
        self.layout = {"format": f"zarr v{node.version}", **_chunking(node)}
        # our own arrays store every shard, so one that is missing was lost, and must not be read as zeros
        self._dense = "neuropil" in node.attrs
        # on a server a shard is not looked for before it is read: tensorstore tells of one that is missing
        self._more: dict[str, Any] = {}
        if isinstance(path, RemotePath):
            self._more["fill_missing_data_reads"] = not self._dense
        self._handle: Any = None

    @property
    def write_unit(self) -> Int3:
        """Voxels z, y, x of a shard, or of a chunk where there are no shards."""
        unit = self.layout.get("shard") or self.layout.get("chunk") or (1, 1, 1)
        z, y, x = unit[-3:]
        return int(z), int(y), int(x)

    def __getitem__(self, key: tuple[slice, ...]) -> npt.NDArray[Any]:
        if self._dense and isinstance(self.path, Path) and (lost := next(self.missing(key), None)) is not None:
            raise VolumeError(f"'{self.path}' has lost its file {lost}", "every shard in place", "copy it again")
        with file_errors(self.name, "reading"):
            data: npt.NDArray[Any] = self._opened()[key].read().result()
            return data

    def __setitem__(self, key: tuple[slice, ...], data: npt.NDArray[Any]) -> None:
        with file_errors(self.name, "writing"):
            self._opened()[key].write(data).result()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def close(self) -> None:
        """Let go of the handle; the next use opens it again."""
        self._handle = None

    def missing(self, key: tuple[slice, ...] | None = None) -> Iterator[str]:
        """Names of the shard files that a key (or the whole array) needs and that are not there; version 3 only."""
        key = key or tuple(slice(0, n) for n in self.shape)
        unit = self.layout.get("shard") or self.layout["chunk"]
        for index in itertools.product(*(range(k.start // u, -(-k.stop // u)) for k, u in zip(key, unit, strict=True))):
            name = "/".join(("c", *map(str, index)))
            if not (self.path / name).is_file():
                yield name

    def _opened(self) -> Any:
        # also where a forked child inherits an open handle
        library = tensorstore_for(self.path)
        if self._handle is None:
            spec = {
                "driver": self._driver,
                "kvstore": kvstore_of(self.path),
                **context_of(self.path),
                "store_data_equal_to_fill_value": True,
                **self._more,
            }
            self._handle = library.open(spec, read=True, write=self.writable).result()
        return self._handle


def default_layout(shape: Sequence[int], voxel_size: Float3) -> tuple[Int3, Int3]:
    """Chunk and shard in voxels z, y, x: 2**18 voxels a chunk, flat for thick sections; up to 2**3 chunks a shard."""
    wide = voxel_size[0] >= 3 * max(voxel_size[1:])
    chunk = tuple(max(1, min(c, n)) for c, n in zip((16, 128, 128) if wide else (64, 64, 64), shape[-3:], strict=True))
    shard = tuple(c * min(2, -(-n // c) or 1) for c, n in zip(chunk, shape[-3:], strict=True))
    return (chunk[0], chunk[1], chunk[2]), (shard[0], shard[1], shard[2])


def checked_layout(
    shape: tuple[int, ...], voxel_size: Float3, chunk: Int3 | None, shard: Int3 | None
) -> tuple[Int3, Int3]:
    """Chunk and shard as asked for, with defaults for what was not; refuses what does not fit together."""
    own_chunk, own_shard = default_layout(shape, voxel_size)
    chosen = chunk or (own_chunk if shard is None else shard)
    whole = shard or (chosen if chunk else own_shard)
    if any(n < 1 for n in shape) or any(c < 1 or s % c for c, s in zip(chosen, whole, strict=True)):
        raise GeometryError(
            f"shape {shape}, chunk {chosen}, shard {whole}", "positive extents, and shards that hold whole chunks"
        )
    return chosen, whole


def create_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], attrs: Mapping[str, Any], layout: tuple[Int3, Int3]
) -> None:
    """Create one sharded version 3 array."""
    chunk, shard = layout
    lead, channels = (1,) * (len(shape) - 3), tuple(max(1, n) for n in shape[:-3])
    little = {"name": "bytes"} if dtype.itemsize == 1 else {"name": "bytes", "configuration": {"endian": "little"}}
    packed = {"cname": "zstd", "clevel": 3, "shuffle": "shuffle" if dtype.itemsize > 1 else "noshuffle"}
    codecs = [little, {"name": "blosc", "configuration": packed}]
    metadata = {
        "shape": list(shape),
        "data_type": dtype.name,
        "fill_value": False if dtype.kind == "b" else 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*channels, *shard]}},
        "codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [*lead, *chunk], "codecs": codecs}}],
        "dimension_names": list(str(attrs["axes"])),
        "attributes": {**attrs, "neuropil": {"level": path.name}},
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata}
    with file_errors(str(path), "writing"):
        tensorstore_for(path).open(spec, create=True).result()


def _chunking(node: Node) -> dict[str, Any]:
    """Chunk, shard and codec of an array, as far as its metadata says."""
    if node.version == 2:
        return {"chunk": tuple(node.meta.get("chunks", ())), "codec": (node.meta.get("compressor") or {}).get("id")}
    outer = tuple(node.meta.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape", ()))
    codecs = node.meta.get("codecs") or []
    names = [c.get("name") for c in codecs if isinstance(c, dict)]
    if "sharding_indexed" in names:
        inside = codecs[names.index("sharding_indexed")].get("configuration", {})
        packed = [c.get("name") for c in inside.get("codecs", []) if c.get("name") != "bytes"]
        return {"chunk": tuple(inside.get("chunk_shape", ())), "shard": outer, "codec": "+".join(packed) or None}
    return {"chunk": outer, "codec": "+".join(n for n in names if n not in (None, "bytes")) or None}
