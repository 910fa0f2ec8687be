"""A headless Chromium driven through its DevTools protocol, for pages that draw with WebGL and load while one waits."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--remote-allow-origins=*",
    "--remote-debugging-port=0",
]


class Page:
    """One page; every word to it waits for its answer.

    Parameters
    ----------
    browser
        The program.
    folder
        For its profile.
    size
        Of the window in pixels, width and height.
    """

    def __init__(self, browser: str, folder: Path, size: tuple[int, int]) -> None:
        window = f"--window-size={size[0]},{size[1]}"
        profile = f"--user-data-dir={folder / 'profile'}"
        self.process = subprocess.Popen(
            [browser, *FLAGS, window, profile, "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.said: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._number = 0
        try:
            self._socket = self._loop.run_until_complete(_connected(self._target()))
        except BaseException:
            self.process.kill()
            raise
        for domain in ("Runtime", "Page", "Log"):
            self.send(f"{domain}.enable")
        # one pixel of the page is one of the picture, whatever the window's frame takes
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._loop.close()

    def send(self, method: str, **words: Any) -> dict[str, Any]:
        """Say something, and what came back; what the page's console says meanwhile is kept in `said`."""
        self._number += 1
        return self._loop.run_until_complete(self._answered({"id": self._number, "method": method, "params": words}))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"(() => {{ try {{ return !!({script}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, f"never true: {script}; the console said {self.said[-5:]}"
            time.sleep(0.2)

    def open(self, url: str) -> None:
        """Go to an address."""
        self.send("Page.navigate", url=url)

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def _listen(self, event: dict[str, Any]) -> None:
        words = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.said.append(words["type"] + ": " + " ".join(str(a.get("value", "")) for a in words["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.said.append("exception: " + str(words["exceptionDetails"].get("exception", {}).get("description")))
        elif event.get("method") == "Log.entryAdded" and words["entry"]["level"] == "error":
            self.said.append("error: " + words["entry"]["text"] + " " + words["entry"].get("url", ""))

    def _target(self) -> str:
        """Address of the first page."""
        assert self.process.stderr is not None
        port = next(m[1] for line in self.process.stderr if (m := re.search(r"ws://127\.0\.0\.1:(\d+)/", line)))
        # what it says later must not fill the pipe
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        return str(pages[0]["webSocketDebuggerUrl"])

    async def _answered(self, message: dict[str, Any]) -> dict[str, Any]:
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await asyncio.wait_for(self._socket.read_message(), 60))
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._listen(answer)


async def _connected(address: str) -> Any:
    return await websocket_connect(address, max_message_size=2**28)
