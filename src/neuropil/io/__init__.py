"""File formats, one a file; `save_volume` writes any of them (`neuropil.volume.open_volume` reads any)."""

from __future__ import annotations

import os
from pathlib import Path

from neuropil.errors import VolumeError
from neuropil.lazy import Format
from neuropil.registry import FORMATS
from neuropil.volume import Volume

__all__ = ["save_volume"]


def save_volume(volume: Volume, url: str | os.PathLike[str]) -> None:
    """Write a volume to a new place, whole or not at all; the name's ending chooses the format.

    Parameters
    ----------
    volume
        What to write; it is read block by block.
    url
        ``x.zarr``, ``file.h5:dataset``, ``a.tif``, or ``folder/`` (with the slash) for PNG sections.

    Raises
    ------
    VolumeError
        If the place is taken or cannot be written, or the ending names no format.
    """
    text = os.fspath(url)
    head, colon, inner = text.rpartition(":")
    for name in FORMATS:
        handler: Format = FORMATS.resolve(name)
        for path, part in [(text, "")] + ([(head, inner)] if colon else []):
            suffix = Path(path).suffix.lower()
            if (suffix and suffix in handler.suffixes) or (path.endswith("/") and "" in handler.suffixes):
                handler.save(Path(path), part, volume)
                return
    raise VolumeError(f"'{text}' names no format to write", "x.zarr, file.h5:dataset, a.tif, or folder/ for sections")
