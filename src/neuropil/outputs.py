"""Outputs on disk: made whole or marked unfinished, and saying how they came to be."""

from __future__ import annotations

import os
import resource
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config
from neuropil.errors import IncompleteError, NeuropilError, VolumeError
from neuropil.geometry import Int3
from neuropil.volume import Volume, open_volume, split_url

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run


class Stopwatch:
    """Seconds, voxels and peak memory of the stages of one command, as plain values for attributes and reports."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, dict[str, float]] = {}

    def lap(self, stage: str, voxels: int) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[stage] = {"seconds": round(now - self._last, 3), "voxels": voxels, "peak_bytes": peak_memory()}
        self._last = now


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_free(out: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], *, overwrite: bool) -> None:
    """Check an output's place before any work is done for it.

    Raises
    ------
    VolumeError
        If it is not named .zarr, is taken, has no folder, or would replace what it is made from.
    """
    path = Path(out)
    if path.suffix != ".zarr":
        raise VolumeError(f"--out {path}", "a name that ends in .zarr (OME-Zarr is what is written)")
    if not path.absolute().parent.is_dir():
        raise VolumeError(f"folder '{path.absolute().parent}' does not exist", "an existing folder", "create it")
    for given in inputs:
        source = split_url(given)[0].absolute()
        if path.absolute() == source or path.absolute() in source.parents:
            raise VolumeError(f"--out {path} would replace its own input '{given}'", "another name")
    if path.exists() and not overwrite and not unfinished(path):
        raise VolumeError(f"'{path}' exists already", "a new name", "choose another name, or give --overwrite")


def require_page(out: str | os.PathLike[str]) -> None:
    """Check a report's place: an HTML name, and nothing there but an earlier report.

    Raises
    ------
    VolumeError
        If it is named otherwise, or another file would be lost.
    """
    path = Path(out)
    if path.suffix not in (".html", ".htm"):
        raise VolumeError(f"a report at '{path}'", "a name that ends in .html")
    if path.exists():
        start = path.read_bytes()[:4096] if path.is_file() else b""
        if b"neuropil" not in start:
            raise VolumeError(f"'{path}' exists and is no neuropil report", "a new name", "choose another name")


def unfinished(path: Path) -> bool:
    """Whether an output of ours was interrupted: it may be written again without asking."""
    try:
        open_volume(path)
    except IncompleteError:
        return True
    except NeuropilError:
        return False
    return False


def new_output(
    out: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Volume,
    *,
    kind: str,
    attrs: dict[str, Any],
    overwrite: bool,
    shard: Int3 | None = None,
) -> Volume:
    """An empty OME-Zarr on the grid of `like`, to be written and then `finished`."""
    from neuropil.io.zarr import create_zarr

    return create_zarr(
        Path(out),
        shape,
        dtype,
        like.voxel_size,
        offset=like.offset,
        axes="czyx" if len(shape) == 4 else "zyx",
        kind=kind,
        attrs=attrs,
        overwrite=overwrite,
        **({} if shard is None else {"shard": shard}),
    )


def finished(target: Volume, out: str | os.PathLike[str]) -> Volume:
    """Build the pyramid of labels, mark the output complete, and open it for reading."""
    from neuropil.io.zarr import build_pyramid, finish

    if target.kind == "labels":
        build_pyramid(Path(out))
    finish(Path(out))
    return open_volume(os.fspath(out))


def provenance(config: Config, source: Volume, run: Run | None) -> dict[str, Any]:
    """What an output says of its making: source, run, settings, versions, command."""
    from neuropil.versions import versions

    return {
        "source": source.name,
        "run": None if run is None else str(run.path),
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
    }
