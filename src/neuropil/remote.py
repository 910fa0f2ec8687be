"""Places that are reached over a network: ``http(s)://``, ``s3://`` and ``gs://``, read through tensorstore."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from neuropil.errors import VolumeError

_URL = re.compile(r"((?:https?|s3|gs)://[^/]+)(/.*)?", re.IGNORECASE)
# a server that does not answer is told of after about four seconds, not after tensorstore's many minutes
_PATIENCE = {"max_retries": 4, "initial_delay": "250ms", "max_delay": "2s"}
_CONTEXT = {f"{protocol}_request_retries": _PATIENCE for protocol in ("http", "s3", "gcs")}
# tensorstore keeps threads: once used, it must not be used in a forked child (it would abort the process)
_used_in: list[int] = []


@dataclass(frozen=True)
class RemotePath:
    """What readers of files ask of a `Path`, for a url; nothing can be written or listed there.

    Parameters
    ----------
    url
        Without a slash at its end, and percent-encoded where the protocol wants it.
    """

    url: str

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath("/".join(part for part in (self.url, str(name).strip("/")) if part))

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parents(self) -> list[RemotePath]:
        """What it lies in, the nearest first, the server last."""
        server, below = _split(self.url)
        names = below.strip("/").split("/")
        return [RemotePath("/".join([server, *names[:n]])) for n in reversed(range(len(names)))] if below else []

    def absolute(self) -> RemotePath:
        """Itself."""
        return self

    def as_posix(self) -> str:
        """The url."""
        return self.url

    def is_dir(self) -> bool:
        """True: whether anything lies below shows when it is asked for."""
        return True

    def is_file(self) -> bool:
        """Whether the server hands this out.

        Raises
        ------
        VolumeError
            If it does not answer.
        """
        return self._read() is not None

    def read_text(self) -> str:
        """What the server hands out.

        Raises
        ------
        VolumeError
            If it does not answer, or there is nothing there.
        """
        if (found := self._read()) is None:
            raise VolumeError(f"'{self}' is not there", "the address of a volume", "check the address")
        return found.decode()

    def iterdir(self) -> Iterator[RemotePath]:
        """Raise a VolumeError: web servers list nothing, and buckets may be endless."""
        raise VolumeError(
            f"'{self}' is reached over a network, where arrays are not listed",
            "the address of one array, or of an OME-Zarr",
            f"give it whole, as {self}/NAME",
        )

    def _read(self) -> bytes | None:
        library, folder = tensorstore_for(self), RemotePath(self.url.rpartition("/")[0])
        try:
            store = library.KvStore.open(kvstore_of(folder), context=library.Context(_CONTEXT)).result()
            found = store.read(self.name).result()
        except ValueError as error:
            # buckets that may not be listed say so of all that is not there
            if "PERMISSION_DENIED" in str(error):
                return None
            raise VolumeError(
                f"'{self}' cannot be read ({' '.join(str(error).split())[:300]})",
                "a server that answers",
                "check the address, the network and, for s3:// and gs://, the credentials; then try again",
            ) from error
        return bytes(found.value) if found.state == "value" else None


#: A file or folder, or what stands for one on a server.
Place: TypeAlias = Path | RemotePath


def split_remote(url: str | os.PathLike[str]) -> tuple[RemotePath, str] | None:
    """Separate ``https://server/x.zarr:s1`` into the place and the name inside it; None for what is no such url.

    Neuroglancer's ``precomputed://`` may stand before it.
    """
    text = os.fspath(url).removeprefix("precomputed://")
    if not _URL.fullmatch(text):
        return None
    server, below = _split(text)
    head, colon, inner = below.rpartition(":")
    path, inner = (head, inner) if colon else (below, "")
    return RemotePath((server + path).rstrip("/")), inner.strip("/")


def kvstore_of(place: Place) -> dict[str, Any] | str:
    """A folder as tensorstore names it."""
    return f"{place}/" if isinstance(place, RemotePath) else {"driver": "file", "path": str(place)}


def context_of(place: Place) -> dict[str, Any]:
    """What a tensorstore spec says beside it."""
    return {"context": _CONTEXT} if isinstance(place, RemotePath) else {}


def tensorstore_for(place: Place) -> Any:
    """The library, unless this process was forked from one that has used it.

    Raises
    ------
    VolumeError
        If it was.
    """
    import tensorstore  # deferred: 0.2 s that reading other formats need not pay

    if _used_in and _used_in[0] != os.getpid():
        raise VolumeError(
            f"'{place}' is used in a forked process",
            "a process started by 'spawn' (tensorstore's threads do not survive a fork)",
            "multiprocessing.get_context('spawn')",
        )
    _used_in[:] = [os.getpid()]
    return tensorstore


def _split(url: str) -> tuple[str, str]:
    found = _URL.fullmatch(url)
    assert found is not None
    return found[1], found[2] or ""
