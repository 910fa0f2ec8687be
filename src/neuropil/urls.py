"""How a volume is named: the file, the array inside it, and a part of it.

As in ``file.h5:raw[0:16,:,100:400]``, or ``stack.ome.tif[c=1,0:16]`` for a part of one channel.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box

_PART = re.compile(r"(.+)\[([^\[\]/]*)\]")
_CHANNEL = re.compile(r"\s*c\s*=\s*(\d+)\s*(?:,(.*))?")
_RANGE = re.compile(r"\s*(\d*)\s*:\s*(\d*)\s*")
_UNCLOSED = re.compile(r"(.+)\[[\d\s:,c=]+")
_PARTS = "a part as [z0:z1,y0:y1,x0:x1], for example [0:16]; of one channel as [c=0] or [c=0,0:16]"


def split_url(url: str | os.PathLike[str]) -> tuple[Path, str]:
    """Separate ``file.h5:dataset`` into the existing file and the name inside it; a part is left out.

    Raises
    ------
    VolumeError
        If there is no such file.
    GeometryError
        If the bracket of a part is not closed.
    """
    text = split_part(url)[0]
    head, colon, inner = text.rpartition(":")
    if os.path.exists(text):
        return Path(text), ""
    if colon and os.path.exists(head):
        return Path(head), inner.strip("/")
    raise VolumeError(
        f"'{head if colon else text}' does not exist",
        "file.h5:dataset, x.zarr, a.tif or a folder of sections",
        f"check the path (looked from {Path.cwd()})",
    )


def split_part(url: str | os.PathLike[str]) -> tuple[str, str]:
    """Separate ``file.h5:raw[0:16]`` into the name of the whole and the text in the brackets, empty without any.

    Raises
    ------
    GeometryError
        If the bracket is not closed.
    """
    text = os.fspath(url)
    found = _PART.fullmatch(text)
    # a file may have brackets in its name
    if os.path.exists(text):
        return text, ""
    if _UNCLOSED.fullmatch(text) and not _in_file_with_bracket(text):
        raise GeometryError(
            f"'{text}' lacks its closing bracket", _PARTS, "add the missing ], and quote the whole name in the shell"
        )
    return (text, "") if found is None else (found[1], found[2])


def split_channel(text: str) -> tuple[int | None, str]:
    """Separate what stands in the brackets into the channel, None where none is named, and the ranges.

    Examples
    --------
    >>> split_channel("c=1,0:16"), split_channel("c=0"), split_channel("0:16")
    ((1, '0:16'), (0, ''), (None, '0:16'))
    """
    found = _CHANNEL.fullmatch(text)
    return (None, text) if found is None else (int(found[1]), found[2] or "")


def part_of(box: Box, text: str, name: str) -> Box:
    """The part of a volume that ``z0:z1,y0:y1,x0:x1`` means: voxels counted from the volume's first one.

    Axes left out at the end are whole, as are empty limits.

    Raises
    ------
    GeometryError
        If it is written otherwise, is empty, or leaves the volume.
    """
    ranges = [_RANGE.fullmatch(word) for word in text.split(",")]
    start, stop = list(box.start), list(box.stop)
    if len(ranges) > 3 or None in ranges:
        raise GeometryError(
            f"'{name}[{text}]'",
            _PARTS,
            "quote the whole name in the shell",
        )
    for axis, found in enumerate(ranges):
        assert found is not None
        extent = box.shape[axis]
        low, high = int(found[1] or 0), int(found[2] or extent)
        if not 0 <= low < high <= extent:
            raise GeometryError(
                f"'{name}[{text}]': {low}:{high} along {'zyx'[axis]}",
                f"a range that is not empty, within 0:{extent}",
                "count voxels from the first one of the volume",
            )
        start[axis], stop[axis] = box.start[axis] + low, box.start[axis] + high
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]), box.voxel_size)


def _in_file_with_bracket(text: str) -> bool:
    """Whether ``a[1:2`` names an array "2" in an existing file "a[1"."""
    head = text.rpartition(":")[0]
    return "[" in os.path.basename(head) and os.path.exists(head)


def cut_out(volume: Any, text: str, whole: str) -> Any:
    """What brackets behind the name of a `Volume` ask for: a channel, ranges, or both."""
    number, ranges = split_channel(text)
    part = volume if number is None else volume.channel(number)
    part = part if number is not None and not ranges else part.crop(part_of(part.box, ranges, whole))
    return part.named(f"{volume.name}[{text}]")
