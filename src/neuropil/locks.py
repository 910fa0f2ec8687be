"""One writer at a time: a lock is a file that names its process and is touched while it lives.

On one machine a lock ends with its process, however it dies. A lock of another machine ends when nobody has touched it
for a while, because nothing else can be known about it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from neuropil.errors import NeuropilError, VolumeError

#: Touches of a lock before it could be thought stale.
_TOUCHES = 4


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Alone in a folder for a moment; others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".guard").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone_in(folder: Path, work: str, error: type[NeuropilError]) -> Iterator[None]:
    """Alone in a folder for as long as it takes, or not at all; leaves no file, and ends with the process.

    Parameters
    ----------
    work
        What the other one is doing there, for the message.
    error
        What is raised.

    Raises
    ------
    NeuropilError
        `error`, if another process of a machine that shares these locks is at work there.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise error(f"another process is {work} in '{folder}'", "one at a time", "wait for it, or end it") from None
    finally:
        os.close(handle)


@contextmanager
def claimed(folder: Path, name: str, excludes: Callable[[str], bool], stale_s: float) -> Iterator[None]:
    """Hold a lock.

    Parameters
    ----------
    folder
        Where locks lie.
    name
        Of this one.
    excludes
        Whether a lock of another name must not live beside it.
    stale_s
        Seconds after which a lock of another machine that nobody touched is dead.

    Raises
    ------
    VolumeError
        If such a lock lives; its holder is named.
    """
    path = folder / f"{name}.json"
    with guarded(folder):
        for other, holder in living(folder, stale_s).items():
            if excludes(other):
                raise VolumeError(
                    f"'{folder.parent}' is being worked on by process {holder['pid']} on {holder['host']} ({other})",
                    "one run at a time",
                    "wait for it, or end it; `neuropil status` shows how far it is",
                )
        path.write_text(json.dumps(this_process()))
    stop = threading.Event()
    thread = threading.Thread(target=_touch, args=(path, stop, stale_s / _TOUCHES), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        path.unlink(missing_ok=True)


def living(folder: Path, stale_s: float) -> dict[str, dict[str, Any]]:
    """The locks whose holders live, by name."""
    found = {}
    for path in folder.glob("*.json"):
        try:
            holder, age = json.loads(path.read_text()), time.time() - path.stat().st_mtime
        except (OSError, ValueError):
            continue  # let go of, or being made, at this very moment
        here = runs_here(holder)
        if here or (here is None and age < stale_s):
            found[path.stem] = holder
    return found


def runs_here(who: Mapping[str, Any]) -> bool | None:
    """Whether a process of this machine lives; None for one of another machine."""
    if who.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(who["pid"]))
        born = who.get("born")
        # a number that was given to a new process does not keep the old one alive
        return process.status() != psutil.STATUS_ZOMBIE and (born is None or abs(process.create_time() - born) < 2)
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def this_process() -> dict[str, Any]:
    """What tells this process from all others; `runs_here` reads it."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def _touch(path: Path, stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        try:
            os.utime(path)
        except OSError:
            return
