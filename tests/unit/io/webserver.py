"""A folder served over HTTP on this machine, with byte ranges as any real web server has them, and a log of requests."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Handler(http.server.SimpleHTTPRequestHandler):
    ranges = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range")
        self.server.asked.append((self.path, asked))  # type: ignore[attr-defined]
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
        if not self.ranges or found is None or not path.is_file():
            super().do_GET()
            return
        whole = path.read_bytes()
        first = int(found[1]) if found[1] else max(0, len(whole) - int(found[2]))
        last = min(int(found[2]), len(whole) - 1) if found[1] and found[2] else len(whole) - 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(whole[first : last + 1])


class _WithoutRanges(_Handler):
    ranges = False


@contextmanager
def served(folder: Path, *, ranges: bool = True) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The address of a folder, and what was asked for: (path, Range header)."""
    handler = functools.partial(_Handler if ranges else _WithoutRanges, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
