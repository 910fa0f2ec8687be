"""`Volume`: an array that knows its voxel size, place, axes and kind; and `open_volume`, which finds one on disk.

What a file says about its array travels in attributes of one name in every format: `resolution` (nm, z, y, x),
`offset` (nm), `axes` ("zyx" or "czyx"), `kind` (image, labels, affinities, mask, prediction) and, for affinities,
`offsets`.
Two conventions hold where a file is silent: three axes are z, y, x; and the kind is inferred from offsets, data type
and name (see `inferred_kind`), which `require_kind` compares with the values. Nothing else is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neuropil.conversions import how_to_convert
from neuropil.errors import GeometryError, InputError, VolumeError
from neuropil.geometry import Block, Box, Float3, Int3, same_voxel_size
from neuropil.lazy import (
    KINDS,
    LOOKS_LIKE,
    Arranged,
    Array,
    Format,
    Stored,
    Window,
    channel_of,
    check_ids,
    check_kind,
    how_to_be,
    inferred_kind,
    resembled_kind,
    stored_axes,
    stored_voxel_size,
)
from neuropil.registry import FORMATS
from neuropil.remote import split_remote
from neuropil.urls import cut_out, split_part, split_url

#: Ids that CREMI gives to "background" and "ignore": never objects.
IGNORED_IDS = (2**64 - 1, 2**64 - 2)
#: Bytes up to which whole numbers can be grey values though their name says labels.
_GREY_BYTES = 2
_OWN_ATTRS = ("resolution", "offset", "axes", "kind")


class Volume:
    """A lazy array with its geometry.

    Parameters
    ----------
    array
        Anything with shape, dtype and slicing; (Z, Y, X) or (C, Z, Y, X).
    voxel_size
        nm, z, y, x.
    offset
        Place of the first voxel in nm, z, y, x; rounded to whole voxels in `box`.
    axes
        "zyx" or "czyx".
    kind
        image, labels, affinities, mask or prediction; inferred (see `inferred_kind`) when not stated.
    attrs
        Further metadata, such as the `offsets` of affinities.
    name
        Where it came from, for messages.

    Raises
    ------
    GeometryError
        If axes, voxel size or offset do not fit the array.
    InputError
        If the data type cannot be read as this kind.

    Examples
    --------
    >>> volume = Volume(np.zeros((4, 6, 8), np.uint8), (40, 4, 4), offset=(80, 0, 0))
    >>> volume.box.start, volume.read(volume.box.grown((-1, -1, -1))).shape
    ((2, 0, 0), (2, 4, 6))
    """

    def __init__(
        self,
        array: Array,
        voxel_size: Sequence[float],
        offset: Sequence[float] = (0.0, 0.0, 0.0),
        axes: str = "zyx",
        kind: str | None = None,
        *,
        attrs: Mapping[str, Any] | None = None,
        name: str = "array",
    ) -> None:
        self.array, self.axes, self.name = array, axes, name
        self.attrs = {k: v for k, v in (attrs or {}).items() if k not in _OWN_ATTRS}
        self.kind_stated = kind is not None
        self.kind = inferred_kind(array.dtype, self.attrs, name) if kind is None else kind
        if axes not in ("zyx", "czyx") or len(array.shape) != len(axes):
            raise GeometryError(f"{name}: axes '{axes}' for an array of shape {tuple(array.shape)}", "'zyx' or 'czyx'")
        if len(offset) != 3 or not np.isfinite(offset).all():
            raise GeometryError(f"{name}: an offset of {tuple(offset)}", "three finite numbers z, y, x in nm")
        origin = Box((0, 0, 0), (0, 0, 0), (voxel_size[0], *voxel_size[1:]))  # type: ignore[arg-type]
        self.voxel_size: Float3 = origin.voxel_size
        self.offset: Float3 = (float(offset[0]), float(offset[1]), float(offset[2]))
        z, y, x = (round(o / v) for o, v in zip(self.offset, self.voxel_size, strict=True))
        self._start: Int3 = (z, y, x)
        check_kind(self.dtype, self.kind, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of every axis, channels included."""
        return tuple(int(n) for n in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of what is read, in this machine's byte order: of labels with a sign uint64, see `read`."""
        stored = np.dtype(self.array.dtype).newbyteorder("=")
        return np.dtype(np.uint64) if self.kind == "labels" and stored.kind == "i" else stored

    @property
    def ndim(self) -> int:
        """Number of axes, channels included."""
        return len(self.axes)

    @property
    def box(self) -> Box:
        """The voxels that exist, on the grid of this voxel size."""
        a, b, c = self.shape[-3:]
        z, y, x = self._start
        return Box(self._start, (z + a, y + b, x + c), self.voxel_size)

    @property
    def layout(self) -> dict[str, Any]:
        """How it is stored: format, chunk, shard and codec where they are known."""
        return dict(getattr(self.array, "layout", {"format": "memory"}))

    @property
    def writable(self) -> bool:
        """Whether `write` is allowed; volumes opened by `open_volume` are for reading."""
        flags = getattr(self.array, "flags", None)
        return bool(getattr(self.array, "writable", flags is not None and flags.writeable))

    @property
    def write_unit(self) -> Int3:
        """Voxels z, y, x that must be written together (a shard), counted from the first voxel of the volume."""
        z, y, x = getattr(self.array, "write_unit", (1, 1, 1))
        return z, y, x

    def read(self, box: Box) -> npt.NDArray[Any]:
        """A fresh array of the voxels in `box`: (Z, Y, X) or (C, Z, Y, X).

        Labels -1 and -2, other programs' marks of what was not annotated, become 2⁶⁴-1 and 2⁶⁴-2, which are ours.

        Raises
        ------
        GeometryError
            If the box leaves the volume or has another voxel size.
        InputError
            If labels are below -2.
        VolumeError
            If the file cannot be read there.
        """
        # an array in memory gives views, which the caller could change by mistake: take what is ours, copy the rest
        stored = self.array[self._key(box)]
        if self.kind == "labels":
            check_ids(stored, f"{self.name} in {box.start}..{box.stop}")
        return np.require(stored, self.dtype, ["C", "O", "W", "E"])

    def numpy(self) -> npt.NDArray[Any]:
        """All of it, in memory."""
        return self.read(self.box)

    def write(self, box: Box, data: npt.NDArray[Any]) -> None:
        """Write the voxels of `box`, which must cover whole write units (the last ones may be cut by the volume).

        Raises
        ------
        VolumeError
            If the volume is open for reading only, or the disk refuses.
        GeometryError
            If the box leaves the volume, cuts a write unit, or has another shape than the data.
        InputError
            If the data type cannot be stored without loss.
        """
        if not self.writable:
            raise VolumeError(f"{self.name} is open for reading only", "", "write to a new volume (create_zarr)")
        key, data = self._key(box), np.asarray(data)
        shape = tuple(k.stop - k.start for k in key)
        if data.shape != shape:
            raise GeometryError(f"{self.name}: data of shape {data.shape} for a box of shape {shape}", "equal shapes")
        stored = np.dtype(self.array.dtype).newbyteorder("=")
        if not np.can_cast(data.dtype, stored, "safe"):
            raise InputError(f"{self.name}: data of type {data.dtype}", f"{stored}", f"astype('{stored}')")
        for k, unit, extent in zip(key[-3:], self.write_unit, self.shape[-3:], strict=True):
            if k.start % unit or (k.stop % unit and k.stop != extent):
                raise GeometryError(
                    f"{self.name}: writing {box.start}..{box.stop}",
                    f"whole shards of {self.write_unit} voxels from {self._start}, because a shard has one writer",
                    "write the blocks of volume.blocks()",
                )
        self.array[key] = data.astype(stored, copy=False)  # type: ignore[index]

    def blocks(self, shape: Int3 | None = None, halo: Int3 = (0, 0, 0)) -> Iterator[Block]:
        """Tile the volume from its own first voxel, by default in write units: what parallel writers share out.

        (`Box.blocks` tiles from index 0 of the world, which cuts the shards of a volume that starts elsewhere.)
        """
        z, y, x = self._start
        for block in self.box.shifted((-z, -y, -x)).blocks(shape or self.write_unit, halo):
            yield Block(block.index, block.write.shifted(self._start), block.read.shifted(self._start))

    def crop(self, box: Box) -> Volume:
        """The part inside `box`, still lazy, open for reading."""
        window = Window(self.array, self._key(box))
        return self._like(window, offset=box.offset_nm)

    def channel(self, number: int) -> Volume:
        """One channel (counted from 0) of an array (C, Z, Y, X) as (Z, Y, X), still lazy, open for reading.

        Raises
        ------
        GeometryError
            If there is no such channel.
        """
        array = channel_of(self.array, self.axes, number, self.name)
        kind = (self.kind if self.kind in ("image", "labels", "mask") else "image") if self.kind_stated else None
        attrs = {k: v for k, v in self.attrs.items() if k not in ("offsets", "channels")}
        return Volume(array, self.voxel_size, self.offset, "zyx", kind, attrs=attrs, name=self.name)

    def with_kind(self, kind: str) -> Volume:
        """The same array, stated to be of another kind."""
        return self._like(self.array, kind=kind)

    def named(self, name: str) -> Volume:
        """The same under another name, by which messages and records call it."""
        stated = self.kind if self.kind_stated else None
        return Volume(self.array, self.voxel_size, self.offset, self.axes, stated, attrs=self.attrs, name=name)

    def attributes(self) -> dict[str, Any]:
        """What belongs beside the array on disk: our five names and whatever else `attrs` holds."""
        own = {"resolution": list(self.voxel_size), "offset": list(self.offset), "axes": self.axes, "kind": self.kind}
        return {**self.attrs, **own}

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        getattr(self.array, "close", lambda: None)()

    def __repr__(self) -> str:
        return f"Volume({self.name}: {self.kind} {self.axes} {self.shape} {self.dtype}, {self.voxel_size} nm)"

    def _repr_html_(self) -> str:
        from neuropil.notebook import volume_html

        return volume_html(self)

    def _like(self, array: Array, *, offset: Float3 | None = None, kind: str | None = None) -> Volume:
        stated = kind or (self.kind if self.kind_stated else None)
        return Volume(
            array, self.voxel_size, offset or self.offset, self.axes, stated, attrs=self.attrs, name=self.name
        )

    def _key(self, box: Box) -> tuple[slice, ...]:
        common = self.box.intersected(box)
        # compared by place: metadata may round the voxel size of one of them
        if (common.start, common.stop) != (box.start, box.stop):
            raise GeometryError(
                f"{self.name}: box {box.start}..{box.stop}", f"a box inside {self.box.start}..{self.box.stop}"
            )
        spatial = box.slices(self._start)
        return spatial if self.axes == "zyx" else (slice(0, self.shape[0]), *spatial)


VolumeLike: TypeAlias = "Volume | str | os.PathLike[str]"


def open_volume(
    url: str | os.PathLike[str],
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    kind: str | None = None,
) -> Volume:
    """Open a volume for reading.

    Parameters
    ----------
    url
        ``file.h5:dataset``, ``x.zarr``, ``x.zarr:path``, ``a.tif``, a folder of sections, or Zarr and N5 at
        ``https://``, ``s3://`` or ``gs://``; with ``[z0:z1,y0:y1,x0:x1]`` behind it, that part, and with ``[c=1]``, or
        ``[c=1,z0:z1]``, that channel (see `neuropil.urls`).
    voxel_size, axes, kind
        Overrule what the file says. `axes` names the stored axes in their order, any of "tczyx"; they are read as
        z, y, x (with c first).

    Raises
    ------
    VolumeError
        If the file is missing, truncated or of no known format.
    GeometryError
        If voxel size or axes are unknown or impossible.
    IncompleteError
        If it is an output whose writing was interrupted.
    """
    whole, part = split_part(url)
    remote = split_remote(whole)
    path, inner = remote or split_url(url)
    names = [name for name in FORMATS if remote is None or getattr(_format(name), "remote", False)]
    for name in names:
        if (handler := _format(name)).matches(path):
            volume = _believed(handler.open(path, inner), voxel_size, axes, kind)
            return cut_out(volume, part, whole) if part else volume
    over = " that is read over a network" if remote else ""
    fix = how_to_convert(Path(os.fspath(whole)))
    raise VolumeError(f"'{path}' is of no known format{over}", "one of " + ", ".join(names), fix)


def as_volume(source: VolumeLike, *, kind: str | None = None, voxel_size: Float3 | None = None) -> Volume:
    """A volume, opened if it was given by its url; `kind` and `voxel_size` (nm, z, y, x) overrule its own."""
    if not isinstance(source, Volume):
        return open_volume(source, voxel_size=voxel_size, kind=kind)
    stated = kind or (source.kind if source.kind_stated else None)
    size = voxel_size or source.voxel_size
    if (stated, size) == (source.kind if source.kind_stated else None, source.voxel_size):
        return source
    return Volume(source.array, size, source.offset, source.axes, stated, attrs=source.attrs, name=source.name)


def require_kind(volume: Volume, kind: str) -> Volume:
    """The volume, known to be of this kind.

    An inferred kind gives way where data type and values (see `resembled_kind`) allow it, so that 8-bit labels under
    any name can be used as labels; but what looks like labels is never taken as an image, nor an image as labels.

    Raises
    ------
    InputError
        If it is something else.
    """
    if volume.kind_stated and volume.kind == kind:
        return volume
    why = "stated" if volume.kind_stated else f"inferred from its type {volume.dtype} and name"
    got = f"{volume.name} holds {volume.kind} ({why})"
    fits = kind in ("labels", "mask") and volume.dtype.kind in "uib" and volume.kind != "affinities"
    named = kind == "image" and volume.kind == "labels" and volume.dtype.itemsize <= _GREY_BYTES
    if not volume.kind_stated and (fits or named or volume.kind == kind):
        # a telling name or a wide type is enough; what is an image for want of either is looked at
        looks = resembled_kind(volume.array) if volume.kind == "image" or named else None
        if looks == "image" if named else looks is None or (looks == "image") == (kind == "image"):
            return volume.with_kind(kind)
        got = got if looks is None else f"{volume.name} looks like {LOOKS_LIKE[looks]}"
    raise InputError(got, kind, how_to_be(kind, volume.array))


def require_same_grid(image: Volume, labels: Volume) -> None:
    """Check that labels belong to an image: equal voxel size, and the same box (or a stated offset inside it).

    Raises
    ------
    GeometryError
        If they do not.
    """
    pair = f"{image.name} and {labels.name}"
    if not same_voxel_size(image.voxel_size, labels.voxel_size):
        raise GeometryError(
            f"{pair} have voxel sizes {image.voxel_size} and {labels.voxel_size} nm",
            "equal voxel sizes",
            "resample one of them; or, if the metadata is wrong, correct it or give --voxel-size z,y,x",
        )
    inside = image.box.intersected(labels.box)
    same = (image.box.start, image.box.stop) == (labels.box.start, labels.box.stop)
    if not same and not (any(labels.offset) and (inside.start, inside.stop) == (labels.box.start, labels.box.stop)):
        raise GeometryError(
            f"{pair} have shapes {image.box.shape} at {image.box.start} and {labels.box.shape} at {labels.box.start}",
            "the same shape and place, or labels with an 'offset' (nm) that puts them inside the image",
            "set that attribute, or name the part of the image that is labelled, as in image.h5:raw[0:24,0:80,0:80]",
        )


def _believed(stored: Stored, voxel_size: Sequence[float] | None, axes: str | None, kind: str | None) -> Volume:
    """Turn what a format found into a `Volume`, refusing what is unknown or impossible."""
    attrs, name = dict(stored.attrs), stored.name
    said = attrs.get("kind")
    if said is not None and said not in KINDS:
        # other people's files describe the content in words here; that states no kind of ours
        attrs["kind_text"], said = said, None
    have = stored_axes(stored, axes, kind or said)
    channels = "offsets" in attrs or said == "prediction"  # even if there is one only
    want = "czyx" if "c" in have and (channels or stored.array.shape[have.index("c")] > 1) else "zyx"
    array = stored.array if have == want else Arranged(stored.array, have, want)
    size = stored_voxel_size(stored, have, voxel_size)
    return Volume(array, size, attrs.get("offset") or (0, 0, 0), want, kind or said, attrs=attrs, name=name)


def _format(name: str) -> Format:
    handler: Format = FORMATS.resolve(name)
    return handler
