"""Killed downloads, damaged archives and hostile ones: the next run goes on, and nothing half-made looks whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.download import miniatures
from tests.unit.download.server import Server, serving

from neuropil.download.prepare import prepare
from neuropil.errors import VolumeError

ROOT = Path(__file__).parents[2]
COMMAND = """
import sys
from neuropil.cli import main
from neuropil.download import catalogue
from tests.unit.download.miniatures import unhashed
known = {"dino-vits16": unhashed("dino-vits16")}
catalogue.catalogue = lambda: known
main(sys.argv[1:])
"""
BODY = bytes(range(256)) * 4096
PATH = "/dino-vits16/dino_deitsmall16_pretrain.pth"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({PATH: BODY}) as told:
        told.cut, told.stall = 600_000, (stall := threading.Event())
        yield told
        stall.set()


def started(server: Server, out: Path) -> subprocess.Popen[str]:
    words = ("download", "dino-vits16", "--out", str(out), "--accept-licence", "--mirror", server.url)
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_was_ended_goes_on_where_it_was(server: Server, tmp_path: Path, how: signal.Signals) -> None:
    out, process = tmp_path / "d", started(server, tmp_path / "d")
    part, deadline = out / "source" / "dino_deitsmall16_pretrain.pth.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 500_000):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in stderr
    if how == signal.SIGINT:
        assert "the same command goes on" in stderr
    assert not (out / "dataset.yaml").exists()
    assert not (out / "data").exists()
    kept = part.stat().st_size
    server.stall, server.cut = None, None
    _, stderr = (again := started(server, out)).communicate(timeout=60)
    assert again.returncode == 0, stderr
    assert server.asked[-1] == (PATH, f"bytes={kept}-")
    assert (out / "data" / "dino_deitsmall16_pretrain.pth").read_bytes() == BODY
    assert sorted(p.name for p in out.iterdir()) == ["data", "dataset.yaml", "download.lock.yaml"]


@pytest.mark.parametrize("fault", ["hostile", "cut short", "a page"])
def test_an_archive_that_cannot_be_used_leaves_no_volumes(tmp_path: Path, fault: str) -> None:
    mini = miniatures.snemi3d()
    whole = mini.files["snemi.zip"]
    bodies = {
        "hostile": miniatures.zipped({"../../train-input.tif": b"1"}),
        "cut short": whole[: len(whole) // 2],
        "a page": b"<html>log in</html>",
    }
    mini.files["snemi.zip"] = bodies[fault]
    with serving(mini.served()) as told, pytest.raises(VolumeError, match=r"leads out|damaged|web page"):
        prepare(mini.set, tmp_path / "a" / "s", mirror=told.url)
    assert not (tmp_path / "a" / "s" / "data").exists()
    assert not (tmp_path / "a" / "s" / "dataset.yaml").exists()
    assert list(tmp_path.rglob("*.tif")) == []
