"""Archives (zip, tar, tar.gz, tar.xz): what is wanted of them is unpacked, under names of our own."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from neuropil.download.fetch import require_room
from neuropil.errors import VolumeError
from neuropil.io.base import file_errors

#: Name in the archive → where it goes in the folder, or None to leave it out.
Place = Callable[[str], str | None]


def unpack(archive: Path, folder: Path, place: Place) -> list[Path]:
    """Unpack what `place` gives a name to.

    Parameters
    ----------
    archive
        Told by its content.
    folder
        Made if it is not there.

    Returns
    -------
    list of Path
        What was written, in the archive's order.

    Raises
    ------
    VolumeError
        If the archive is damaged, has names that lead out of a folder, or the disk has no room.
    """
    written = []
    with _opened(archive) as (sizes, members):
        for name in sizes:
            _require_inside(name, archive)
        require_room(archive.parent, sum(size for name, size in sizes.items() if place(name)), archive.name)
        for name, stream in members:
            target = place(name)
            if target is None:
                continue
            _require_inside(target, archive)
            path = folder / target
            with file_errors(str(path), "unpacking"):
                path.parent.mkdir(parents=True, exist_ok=True)
                with stream, path.open("wb") as file:
                    shutil.copyfileobj(stream, file, 2**20)
            written.append(path)
    return written


#: What libraries raise over an archive that is cut short, changed, or locked with a password.
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError),
)
Members = Iterator[tuple[str, IO[bytes]]]


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[dict[str, int], Members]]:
    """Sizes of all files in an archive by name, and the files themselves."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                files = [info for info in packed.infolist() if not info.is_dir()]
                yield {i.filename: i.file_size for i in files}, ((i.filename, packed.open(i)) for i in files)
        else:
            with tarfile.open(archive) as tar:
                entries = [info for info in tar.getmembers() if not info.isdir()]
                for info in entries:
                    if not info.isfile():
                        raise _hostile(info.name, archive, "is a link or a device")
                yield {i.name: i.size for i in entries}, ((i.name, _content(tar, i)) for i in entries)
    except _DAMAGED as error:
        raise VolumeError(
            f"'{archive}' is damaged or no archive ({error})",
            "a whole zip or tar file",
            f"remove '{archive}', try again",
        ) from error


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    assert stream is not None
    return stream


def _require_inside(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise _hostile(name, archive, "leads out of the folder")


def _hostile(name: str, archive: Path, how: str) -> VolumeError:
    return VolumeError(f"'{archive}': '{name}' {how}", "plain files in folders", "do not use this archive")
