"""What the tests of `run_blocks` run; a module of its own, because spawned processes import it."""

import os
from pathlib import Path


def mark(folder: Path, block, fail=(), die=()):
    if block.index in fail:
        raise ValueError(f"cannot do {block.index}")
    if block.index in die:
        os._exit(1)
    (folder / "_".join(map(str, block.index))).touch()
