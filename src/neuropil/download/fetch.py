"""Fetching one file over HTTP: resumed where it broke off, checked against its hash, there whole or not at all.

`pooch` decides what must be fetched, checks hashes and moves files to their place. Its own downloader begins anew after
every break, so ours, which has the same interface, keeps what arrived in NAME.part and asks for the rest.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pooch
import requests  # type: ignore[import-untyped]

from neuropil.errors import IncompleteError, VolumeError
from neuropil.progress import Progress

#: Tries without any gain before a transfer is given up, and seconds before the second of them (then double).
TRIES, PAUSE = 4, 1.0
#: Seconds to wait for a connection, and for the next bytes.
_TIMEOUT = (15, 60)
# what a broken connection had sent of one chunk is lost
_CHUNK, _MB = 2**14, 2**20
_PAGE = re.compile(rb"\s*<(!doctype html|html|head)", re.IGNORECASE)
_BY_HAND = "put it into the folder `source` of --out, where its hash is checked"
_KEPT = "what arrived is kept: run the same command again and it goes on from there"


class _BrokenError(Exception):
    """A transfer that may succeed if it is tried again."""


class ResumingDownloader:
    """Fetches a url into a file, as `pooch` asks its downloaders to.

    Parameters
    ----------
    part
        Where what has arrived is kept; ``.json`` beside it says of what it is a part.
    """

    def __init__(self, part: Path) -> None:
        self.part, self._facts = part, part.with_name(part.name + ".json")

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Fetch `url` into `output_file`.

        Raises
        ------
        VolumeError
            If there is no such file, it needs an account, a web page came instead, or the disk has no room.
        IncompleteError
            If the transfer broke off, also when it was tried again; what arrived is kept.
        """
        best, failures = self._size(), 0
        while True:
            try:
                self._try(url)
                break
            except _BrokenError as broken:
                failures = 0 if self._size() > best else failures + 1
                best = max(best, self._size())
                if failures >= TRIES:
                    raise self._given_up(url, str(broken)) from broken
                time.sleep(PAUSE * 2 ** max(0, failures - 1))
        self.part.touch()  # of an empty file nothing came
        os.replace(self.part, output_file)
        self._facts.unlink(missing_ok=True)

    def _given_up(self, url: str, why: str) -> IncompleteError | VolumeError:
        have = self._size()
        if not have:
            return VolumeError(
                f"'{url}' cannot be fetched ({why})", "a server that answers", "check network, try later"
            )
        total = self._said().get("total")
        of = f" of {_size_text(total)}" if total else ""
        return IncompleteError(f"'{url}' broke off after {_size_text(have)}{of} ({why})", "a whole file", _KEPT)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _said(self) -> dict[str, Any]:
        """What the server said of the file that we have a part of."""
        try:
            found = json.loads(self._facts.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _try(self, url: str) -> None:
        have, said = self._size(), self._said()
        headers = {"Accept-Encoding": "identity", "User-Agent": "neuropil"}
        # without a mark of the version, only the same address can be trusted to hold the same file
        if have and (said.get("mark") or said.get("url") == url):
            headers |= {"Range": f"bytes={have}-"} | ({"If-Range": said["mark"]} if said.get("mark") else {})
        with _answers(url):
            answer = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
        with answer:
            start, total = self._begin(answer, url, have, said)
            if total is None or start < total:
                self._receive(answer, url, start, total)
        if total is not None and self._size() != total:
            raise _BrokenError(f"{_size_text(self._size())} came instead of {_size_text(total)}")

    def _begin(self, answer: Any, url: str, have: int, said: dict[str, Any]) -> tuple[int, int | None]:
        """Where in the file the answer begins, and how long the file is."""
        code, ranges = answer.status_code, str(answer.headers.get("Content-Range", ""))
        whole = re.search(r"/(\d+)$", ranges)
        if code == 416 and whole and int(whole[1]) == have:
            return have, have
        found = re.match(r"bytes (\d+)-", ranges)
        fits = whole is None or said.get("total") in (None, int(whole[1]))
        if code == 416 or (code == 206 and not (found and int(found[1]) == have and fits)):
            self._forget()
            raise _BrokenError("the server has another file now")
        if code in (200, 206):
            length = answer.headers.get("Content-Length")
            total = int(whole[1]) if code == 206 and whole else int(length) if length and code == 200 else None
            return (have if code == 206 else 0), total
        raise _refusal(code, url)

    def _receive(self, answer: Any, url: str, start: int, total: int | None) -> None:
        """Add what comes to the part, or begin it."""
        name = self.part.name.removesuffix(".part")
        if "text/html" in str(answer.headers.get("Content-Type", "")):
            raise _page(url)
        if total is not None:
            require_room(self.part.parent, total - start, name)
        chunks = _chunks(answer)
        first = next(chunks, b"")
        if not start and _PAGE.match(first[:200]):
            raise _page(url)
        try:
            if not start:
                self._begin_part(answer, url, total)
            with self.part.open("ab") as file:
                _pour(itertools.chain([first], chunks), file, name, start, total)
        except OSError as error:
            raise VolumeError(
                f"'{self.part}' cannot be written ({error})", "room to write", f"make room; {_KEPT}"
            ) from error

    def _begin_part(self, answer: Any, url: str, total: int | None) -> None:
        """Forget any earlier part, then note of what the new one is a part."""
        mark = answer.headers.get("ETag", "")
        # a weak tag does not promise equal bytes
        mark = answer.headers.get("Last-Modified", "") if not mark or mark.startswith("W/") else mark
        self.part.unlink(missing_ok=True)
        self._facts.write_text(json.dumps({"url": url, "total": total, "mark": mark}))

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)


def fetched(url: str, final: Path, known: str | None) -> str:
    """Fetch a file, unless it is there already (from an earlier run, or put there by hand); its SHA-256.

    Parameters
    ----------
    final
        Where it is kept. Its folder exists.
    known
        The hash that it must have, as ALGORITHM:HEX, or None to take what comes.

    Raises
    ------
    VolumeError
        If it cannot be fetched, or has another hash; then nothing is kept of it.
    IncompleteError
        If the transfer broke off; what arrived is kept.
    """
    pooch.get_logger().setLevel("WARNING")
    there = final.exists()
    try:
        if there and known is not None and not pooch.hashes.hash_matches(str(final), known):
            raise _other(str(final), final, known, there=True)
        downloader = ResumingDownloader(final.with_name(final.name + ".part"))
        pooch.retrieve(url, known_hash=known, fname=final.name, path=final.parent, downloader=downloader)
    except ValueError as error:
        # so pooch says that a hash is another one; it has removed the file
        raise _other(url, final, known or "", there=False) from error
    return str(pooch.file_hash(str(final)))


def require_room(folder: Path, needed: int, what: str) -> None:
    """Check that a disk has room.

    Raises
    ------
    VolumeError
        If it has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise VolumeError(
            f"'{what}' needs {_size_text(needed)} in '{folder}', where {_size_text(free)} are free",
            "room on the disk",
            "free some, or choose another --out",
        )


def _other(what: str, final: Path, known: str, *, there: bool) -> VolumeError:
    fix = (
        f"remove '{final}'; it is fetched again then" if there else "try again; if it stays so, the source has changed"
    )
    return VolumeError(f"'{what}' is another file than expected (hash)", known or "the pinned hash", fix)


@contextmanager
def _answers(url: str) -> Iterator[None]:
    """Turn what goes wrong before an answer into our errors."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise VolumeError(
            f"'{url}': the server's certificate is not valid ({_short(error)})",
            "a certificate that this machine trusts",
            f"fetch it in a browser and {_BY_HAND}; or give --mirror",
        ) from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _BrokenError(_short(error)) from error
    except requests.exceptions.RequestException as error:
        raise VolumeError(f"'{url}' cannot be fetched ({_short(error)})", "an http(s) address") from error


def _pour(chunks: Iterable[bytes], file: IO[bytes], name: str, start: int, total: int | None) -> None:
    """Write chunks one after the other, and show how far it is."""
    done, wanted = start, None if total is None else -(-total // _MB)
    with Progress(name, wanted, unit="megabyte", done=start // _MB) as progress:
        for chunk in chunks:
            file.write(chunk)
            done += len(chunk)
            progress.update(done // _MB, wanted)


def _chunks(answer: Any) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(_CHUNK)
    except requests.exceptions.RequestException as error:
        raise _BrokenError(_short(error)) from error


def _refusal(code: int, url: str) -> Exception:
    if code == 429 or code >= 500:
        return _BrokenError(f"the server answers {code}")
    if code in (401, 403):
        return VolumeError(
            f"'{url}' may not be read ({code})",
            "a file that anyone may read",
            f"ask for access, then {_BY_HAND}",
        )
    return VolumeError(f"'{url}' is not there ({code})", "the file", f"give --mirror; or find it and {_BY_HAND}")


def _page(url: str) -> VolumeError:
    return VolumeError(
        f"'{url}' answers with a web page instead of the file",
        "the file itself",
        f"open the address in a browser, which may ask for a login or a click; get the file and {_BY_HAND}",
    )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _size_text(count: int) -> str:
    """A number of bytes as people say it."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
