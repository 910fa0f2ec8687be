"""A web server on this machine that misbehaves as it is told to: breaks off, knows no ranges, changes its file, asks for a login."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Server:
    """What it hands out, how, and what it was asked for."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    marks: bool = True
    #: Bytes after which each answer breaks off, and how many answers do.
    cut: int | None = None
    cuts: int = 0
    #: Status codes of the next answers, before any file.
    codes: list[int] = field(default_factory=list)
    kind: str = "application/octet-stream"
    length: bool = True
    #: Waited for after `cut` bytes, instead of breaking off.
    stall: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        told: Server = self.server.told  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        told.asked.append((self.path, asked))
        if told.codes and (code := told.codes.pop(0)) != 200:
            self.send_error(code)
            return
        body = told.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        mark, start = f'"{hash(body)}"', 0
        found = re.fullmatch(r"bytes=(\d+)-", asked or "")
        fresh = self.headers.get("If-Range") in (None, mark)
        if told.ranges and found and fresh:
            start = int(found[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", told.kind)
        if told.length:
            self.send_header("Content-Length", str(len(body) - start))
        if told.marks:
            self.send_header("ETag", mark)
        self.end_headers()
        sent = body[start:]
        if told.stall is not None:
            self.wfile.write(sent[: told.cut])
            self.wfile.flush()
            told.stall.wait(60)
            return
        if told.cut is not None and told.cuts:
            told.cuts -= 1
            sent = sent[: told.cut]
        self.wfile.write(sent)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """A server that hands out bytes by path."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    told = Server(files, f"http://127.0.0.1:{server.server_port}")
    server.told = told  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
