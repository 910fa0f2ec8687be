"""One file of a view over HTTP; imported only where Neuroglancer, and with it tornado, is installed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import PurePosixPath

from tornado.web import RequestHandler

from neuropil.errors import NeuropilError

_TYPES = {".json": "application/json", ".txt": "text/plain; charset=utf-8"}


class FileHandler(RequestHandler):
    """Hands out what `found` gives for a path; to pages of other servers too, if `everyone` may ask."""

    def initialize(self, found: Callable[[str], bytes | None], executor: Executor, *, everyone: bool) -> None:
        self.found, self.executor, self.everyone = found, executor, everyone

    def set_default_headers(self) -> None:
        """What a browser needs to know before it lets pages of other servers read."""
        if getattr(self, "everyone", False):
            self.set_header("Access-Control-Allow-Origin", "*")
            self.set_header("Access-Control-Allow-Headers", "range, x-requested-with")
            self.set_header("Access-Control-Expose-Headers", "content-range, content-length")

    def options(self, path: str) -> None:
        """Answer a browser that asks whether it may read."""
        self.set_default_headers()
        self.set_status(204)

    async def get(self, path: str) -> None:
        """The file, or the part of it that is asked for."""
        self.set_default_headers()
        try:
            content = await asyncio.wrap_future(self.executor.submit(self.found, path))
        except NeuropilError as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            self.send_error(500)
            return
        if content is None:
            self.send_error(404)
            return
        self.set_header("Content-Type", _TYPES.get(PurePosixPath(path).suffix, "application/octet-stream"))
        self.finish(self._part(content))

    def _part(self, content: bytes) -> bytes:
        """All of it, or bytes first-last as the header Range says."""
        unit, _, said = self.request.headers.get("Range", "").partition("=")
        first, dash, last = said.partition("-")
        if unit != "bytes" or not dash or "," in said or not (first or last).isdecimal():
            return content
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(len(content), int(last) + 1) if first and last.isdecimal() else len(content)
        if start >= stop:
            self.set_status(416)
            self.set_header("Content-Range", f"bytes */{len(content)}")
            return b""
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        return content[start:stop]
