"""What the tests of runners run; a module of its own, because spawned processes import it."""

import os
import time
from pathlib import Path


def mark(folder: Path, item: int, fail=(), die=(), die_once=()):
    """Leave a file for an item, fail, or end the process."""
    if item in fail:
        raise ValueError(f"cannot do {item}")
    if item in die:
        os._exit(1)
    if item in die_once and not (folder / f"died {item}").exists():
        (folder / f"died {item}").touch()
        os._exit(1)
    with (folder / str(item)).open("a") as file:
        file.write("once\n")
    return item * item


def wait_for_ever(folder: Path, item: int):
    """Say which process this is, and stay."""
    (folder / f"pid {os.getpid()}").touch()
    time.sleep(600)
