"""Where models lie once they were fetched and unpacked; a folder of the user's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pooch

from neuropil.download.archive import unpack
from neuropil.errors import VolumeError
from neuropil.io.base import file_errors, replace_when_whole
from neuropil.zoo.package import sha256

#: A folder for the cache other than the system's own for it.
CACHE = "NEUROPIL_CACHE"


def cache_folder(name: str) -> Path:
    """A folder in the cache, made if it is not there.

    Raises
    ------
    VolumeError
        If it cannot be made.
    """
    folder = Path(os.environ.get(CACHE) or pooch.os_cache("neuropil")) / name
    with file_errors(str(folder), "making the cache"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def unpacked(archive: Path, wanted: Callable[[str], bool]) -> Path:
    """The folder with the content of an archive, unpacked once: the hash of the archive is its name.

    Parameters
    ----------
    wanted
        Whether a file of this name belongs into such an archive.

    Raises
    ------
    VolumeError
        If it is damaged, or holds anything else, such as names that lead out of the folder.
    """
    folder = cache_folder("models") / f"{archive.stem}-{sha256(archive)[:16]}"
    if folder.is_dir():
        return folder

    def place(name: str) -> str:
        if not wanted(name):
            raise VolumeError(
                f"'{archive}': '{name}' does not belong into a model",
                "what `neuropil share` packs",
                "do not use this archive",
            )
        return name

    staging = replace_when_whole(folder)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        unpack(archive, staging, place)
        with file_errors(str(folder), "unpacking"):
            os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder
