"""Zarr through tensorstore: reads versions 2 and 3 and OME-Zarr 0.4 and 0.5; writes sharded OME-Zarr 0.5.

A shard is the unit of writing and has one writer at a time; different shards may be written by different processes
(started by spawn: tensorstore ends a forked process that uses it). An output is marked incomplete from `create_zarr`
to `finish`, and `open_volume` refuses it in between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from neuropil.errors import IncompleteError, VolumeError
from neuropil.geometry import Block, Box, Int3
from neuropil.io.base import file_errors, listing, require_new
from neuropil.io.ome import (
    Node,
    array_attributes,
    arrays_in,
    multiscales_of,
    ome_metadata,
    read_node,
    write_group,
)
from neuropil.io.pyramid import downsampled, level_factors
from neuropil.io.zarr_array import ZarrArray, checked_layout, create_array, default_layout
from neuropil.lazy import Stored
from neuropil.progress import written
from neuropil.remote import Place
from neuropil.volume import Volume

_FIRST = "s0"


class NewZarr(TypedDict, total=False):
    """The options of `create_zarr`."""

    offset: Sequence[float]
    axes: str
    kind: str
    attrs: Mapping[str, Any]
    chunk: Int3
    shard: Int3


class ZarrFormat:
    """Reads ``x.zarr`` and ``x.zarr:path``; writes OME-Zarr 0.5."""

    name = "zarr"
    suffixes: tuple[str, ...] = (".zarr",)
    remote = True

    def matches(self, path: Place) -> bool:
        """Whether the folder holds Zarr metadata, or is called so."""
        return path.is_dir() and (path.suffix == ".zarr" or read_node(path) is not None)

    def open(self, path: Place, inner: str) -> Stored:
        """Open an array; of a group, its first multiscale level or its only array.

        Raises
        ------
        VolumeError
            If it is damaged, or the array is not there (those present are listed).
        IncompleteError
            If its writing was interrupted.
        """
        node = read_node(path / inner) if inner else read_node(path)
        if node is None:
            if inner and read_node(path) is not None:
                raise VolumeError(
                    f"'{path}' has no array '{inner}'", _listing(path), f"give one of them as {path}:PATH"
                )
            raise VolumeError(f"'{path}' holds no Zarr metadata", "zarr.json, .zarray or .zgroup", "copy it again")
        _refuse_incomplete(node.path)
        if node.array:
            group, level = _multiscale_parent(node.path)
            return Stored(
                ZarrArray(node.path, node), array_attributes(node, group, level), f"{path}:{inner}".rstrip(":")
            )
        level = _chosen_array(node)
        array = read_node(node.path / level)
        if array is None or not array.array:
            raise VolumeError(f"'{node.path}' has lost its array '{level}'", _listing(node.path), "copy it again")
        name = f"{path}:{inner}/{level}" if inner else f"{path}:{level}"
        own = level == _FIRST and "neuropil" in node.attrs
        return Stored(
            ZarrArray(array.path, array), array_attributes(array, node, level), str(path) if own and not inner else name
        )

    def save(self, path: Path, inner: str, volume: Volume) -> None:
        """Write a volume as a whole OME-Zarr with its pyramid, block by block."""
        if inner:
            raise VolumeError(f"'{path}:{inner}'", "a whole x.zarr to write", f"write to '{path}'")
        more = {k: v for k, v in volume.attributes().items() if k not in ("resolution", "offset", "axes", "kind")}
        options: NewZarr = {"offset": volume.offset, "axes": volume.axes, "kind": volume.kind, "attrs": more}
        out = create_zarr(path, volume.shape, volume.dtype, volume.voxel_size, **options)
        for block in written("writing", out.blocks(), out.box.size):
            out.write(block.write, volume.read(block.write))
        build_pyramid(path)
        finish(path)


FORMAT = ZarrFormat()


def create_zarr(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    voxel_size: Sequence[float],
    **options: Unpack[NewZarr],
) -> Volume:
    """Create an empty OME-Zarr 0.5 to be written shard by shard, and marked complete by `finish`.

    Parameters
    ----------
    path
        A new folder. An output of ours that was interrupted is replaced.
    shape, dtype, voxel_size
        (Z, Y, X) or (C, Z, Y, X); nm, z, y, x.
    **options
        `offset` (nm), `axes`, `kind` and `attrs` as for `Volume`; `chunk` and `shard` in voxels z, y, x (a shard holds
        whole chunks, and all channels).

    Returns
    -------
    Volume
        Writable; it can be sent to processes started by spawn, which may write different shards at the same time.

    Raises
    ------
    VolumeError
        If the place is taken or cannot be written.
    GeometryError
        If shape, axes, chunk and shard do not fit together.
    """
    final, dtype = Path(path), np.dtype(dtype)
    axes = options.get("axes", "zyx" if len(shape) == 3 else "czyx")
    volume = Volume(
        np.empty((1,) * len(shape), dtype), voxel_size, options.get("offset", (0, 0, 0)), axes, options.get("kind")
    )
    chunk, shard = checked_layout(tuple(shape), volume.voxel_size, options.get("chunk"), options.get("shard"))
    _make_room(final)
    attrs = {**options.get("attrs", {}), **volume.attributes(), "axes": axes}
    ome = ome_metadata(final.stem, axes, volume.kind, [(_FIRST, volume.voxel_size, (1.0, 1.0, 1.0))], volume.offset)
    with file_errors(str(final), "writing"):
        final.mkdir(exist_ok=True)
        write_group(final, {**attrs, "ome": ome, "neuropil": {"complete": False}})
        create_array(final / _FIRST, tuple(shape), dtype, attrs, (chunk, shard))
    return resume_zarr(final)


def resume_zarr(path: str | os.PathLike[str]) -> Volume:
    """Open an output of `create_zarr` for writing, to fill in what is missing.

    Raises
    ------
    VolumeError
        If it is no such output, or was finished.
    """
    final = Path(path)
    group, array = read_node(final), read_node(final / _FIRST)
    if group is None or array is None or group.attrs.get("neuropil", {}).get("complete", True):
        raise VolumeError(f"'{final}' is not an unfinished output", "one made by create_zarr and not finished")
    return open_level(final, _FIRST, writable=True)


def missing_shards(path: str | os.PathLike[str]) -> list[str]:
    """The shard files of the full resolution that no one has written yet."""
    node = read_node(Path(path) / _FIRST)
    if node is None:
        raise VolumeError(f"'{path}' is not an output of create_zarr", f"a folder with an array '{_FIRST}'")
    return list(ZarrArray(node.path, node).missing())


def finish(path: str | os.PathLike[str]) -> None:
    """Mark an output as complete, so that it can be opened.

    Raises
    ------
    IncompleteError
        If a shard was never written.
    """
    final = Path(path)
    if left := missing_shards(final):
        raise IncompleteError(
            f"'{final}': {len(left)} shards were never written, the first is {left[0]}",
            "every shard written before finish",
            "write the blocks of volume.blocks(), then finish again",
        )
    group = read_node(final)
    attrs = dict(group.attrs) if group else {}
    with file_errors(str(final), "writing"):
        write_group(final, {**attrs, "neuropil": {**attrs.get("neuropil", {}), "complete": True}})


def build_pyramid(path: str | os.PathLike[str]) -> list[str]:
    """Write the coarser levels of an output, section plane first until voxels are near isotropic.

    Images and affinities are averaged; labels and masks take the most frequent value. Memory is bounded by a shard.

    Returns
    -------
    list of str
        Paths of all levels, finest first.
    """
    levels = create_pyramid(path)
    for name in levels[1:]:
        level = open_level(path, name)
        for block in written(f"scale {name}", level.blocks(), level.box.size):
            fill_level(path, name, block)
    return levels


def create_pyramid(path: str | os.PathLike[str], smallest: Int3 | None = None) -> list[str]:
    """Create the coarser levels of an output, empty, in the place of any that are there; see `build_pyramid`.

    The last one fits into `smallest` voxels, or else into a chunk.
    """
    final = Path(path)
    first, total = open_level(final, _FIRST), (1.0, 1.0, 1.0)
    levels, level = [(_FIRST, first.voxel_size, total)], first
    end = smallest or first.layout["chunk"][-3:]
    for number, factor in enumerate(level_factors(first.shape[-3:], first.voxel_size, end), start=1):
        level = _empty_level(final / f"s{number}", level, factor)
        total = (total[0] * factor[0], total[1] * factor[1], total[2] * factor[2])
        levels.append((f"s{number}", level.voxel_size, total))
    group = read_node(final)
    attrs = dict(group.attrs) if group else {}
    ome = ome_metadata(final.stem, first.axes, first.kind, levels, first.offset)
    with file_errors(str(final), "writing"):
        write_group(final, {**attrs, "ome": ome})
    return [name for name, _, _ in levels]


def fill_level(path: str | os.PathLike[str], level: str, block: Block) -> None:
    """Write one block (whole shards) of a coarser level from the level before it."""
    source = open_level(path, f"s{int(level.removeprefix('s')) - 1}")
    target = open_level(path, level, writable=True)
    z, y, x = (round(a / b) for a, b in zip(target.voxel_size, source.voxel_size, strict=True))
    fine, factor = source.box, (z, y, x)
    local = block.write.shifted(tuple(-s for s in target.box.start))  # type: ignore[arg-type]
    start = tuple(s * f + o for s, f, o in zip(local.start, factor, fine.start, strict=True))
    stop = tuple(min(s * f + o, e) for s, f, o, e in zip(local.stop, factor, fine.start, fine.stop, strict=True))
    data = source.read(Box(start, stop, fine.voxel_size))  # type: ignore[arg-type]
    target.write(block.write, downsampled(data, factor, source.kind))


def _empty_level(path: Path, source: Volume, factor: Int3) -> Volume:
    """Create one coarser level of `source`."""
    z, y, x = (-(-n // f) for n, f in zip(source.shape[-3:], factor, strict=True))
    voxel = tuple(v * f for v, f in zip(source.voxel_size, factor, strict=True))
    layout = default_layout((z, y, x), source.voxel_size)
    attrs = {**source.attributes(), "resolution": list(voxel)}
    attrs.pop("offsets", None)  # steps in voxels of the finest level mean nothing here
    attrs["offset"] = [s * v for s, v in zip(source.box.start, source.voxel_size, strict=True)]
    if path.exists():
        shutil.rmtree(path)
    create_array(path, (*source.shape[:-3], z, y, x), source.dtype, attrs, layout)
    return open_level(path.parent, path.name)


def open_level(path: str | os.PathLike[str], level: str = _FIRST, *, writable: bool = False) -> Volume:
    """One level of an output of ours, complete or not.

    Raises
    ------
    VolumeError
        If there is no such level.
    """
    final = Path(path)
    node = read_node(final / level)
    if node is None:
        raise VolumeError(f"'{final}' has no level '{level}'", "an output of create_zarr")
    attrs = node.attrs
    array = ZarrArray(node.path, node, writable=writable)
    more = {k: v for k, v in attrs.items() if k != "neuropil"}
    size, offset, axes = attrs["resolution"], attrs["offset"], attrs["axes"]
    return Volume(array, size, offset, axes, attrs["kind"], attrs=more, name=str(final))


def written_whole(path: str | os.PathLike[str]) -> bool | None:
    """Whether an output of ours was finished; None for whatever `create_zarr` did not write."""
    try:
        node = read_node(Path(path))
    except VolumeError:
        return None
    mark = node.attrs.get("neuropil") if node is not None and not node.array else None
    return bool(mark["complete"]) if isinstance(mark, Mapping) and "complete" in mark else None


def _make_room(final: Path) -> None:
    """Remove an unfinished output or an empty folder, and refuse the rest."""
    if written_whole(final) is False:
        shutil.rmtree(final)
    if final.is_dir() and not any(final.iterdir()):
        final.rmdir()
    require_new(final)


def _refuse_incomplete(path: Place) -> None:
    """Raise if this node, or a group that it lies in, is an output that was never finished."""
    around: list[Place] = [path, *path.absolute().parents]
    for folder in around:
        node = read_node(folder)
        if node is None:
            return
        if node.attrs.get("neuropil", {}).get("complete") is False:
            raise IncompleteError(
                f"'{folder}' is incomplete: its writing was interrupted or is still going on",
                "a finished output",
                "run the command that writes it again; it replaces the unfinished one",
            )


def _multiscale_parent(path: Place) -> tuple[Node | None, str]:
    """The nearest group above an array that lists it as a level, and the array's path in that group."""
    above: list[Place] = [*path.absolute().parents][:3]
    for folder in above:
        node = read_node(folder)
        if node is None or node.array:
            break
        if multiscales_of(node.attrs):
            return node, path.absolute().as_posix().removeprefix(f"{folder.as_posix()}/")
    return None, ""


def _chosen_array(group: Node) -> str:
    """Path of the array that a group stands for."""
    multiscales = multiscales_of(group.attrs)
    if multiscales:
        return str(multiscales["datasets"][0].get("path", ""))
    found = arrays_in(group.path)
    if len(found) == 1:
        return next(iter(found))
    got = f"'{group.path}' is a group of {len(found)} arrays" if found else f"'{group.path}' is a group without arrays"
    raise VolumeError(got, _listing(group.path), f"give one of them as {group.path}:PATH")


def _listing(group: Place) -> str:
    rows = []
    for name, node in arrays_in(group).items():
        attrs = array_attributes(node, *_multiscale_parent(node.path))
        dtype = node.meta.get("data_type") or str(node.meta.get("dtype")).lstrip("<|")
        rows.append((name, node.meta.get("shape", ()), dtype, attrs))
    return listing(rows)
