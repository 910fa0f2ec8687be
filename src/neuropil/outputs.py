"""Outputs on disk: made whole or marked unfinished, and saying how they came to be."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config
from neuropil.geometry import Int3
from neuropil.volume import Volume, open_volume

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run


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
