"""The verb that takes weights from natural images: inflate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuropil.errors import ConfigError, RunError
from neuropil.geometry import Float3, Int3

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run


def inflate(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    depth: str | None = None,
    mode: str | None = None,
    patch: Int3 | None = None,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
) -> Run:
    """Make the weights of a 2-D vision transformer or ConvNeXt an encoder for `train(..., init=run)`.

    Parameters
    ----------
    source
        A local file of DINO, DINOv2, DINOv3, MAE, torchvision, timm or Hugging Face, a transformer or a ConvNeXt;
        nothing in it is executed.
    out
        The run directory.
    depth
        How a kernel is spread over sections: "center", "average" or "gaussian"; `inflate.depth` of the settings.
    mode
        "slab" (a patch is as deep as the crop) or "cube"; `inflate.mode` of the settings.
    patch
        Voxels of a patch, z, y, x; kernels are resized in the plane where it differs from the file's. A ConvNeXt has
        none.
    voxel_size
        nm, z, y, x, of the volumes to come, from which the depth of a patch follows in mode cube, and where a ConvNeXt
        puts sections together, which needs it.
    set
        Settings as "a.b=value".

    Raises
    ------
    NeuropilError
        If the file is not exactly a known model, or settings cannot be used.
    """
    from neuropil.training.inflation import inflate_to_run

    for word in set:
        if not word.strip().startswith(("inflate.", "model.")):
            raise ConfigError(f"--set {word}", "a setting under inflate. or model.", "others are for train")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"'{out}' exists and is not empty", "a new directory", "choose another --out")
    said = [f"inflate.{key}={value}" for key, value in (("depth", depth), ("mode", mode)) if value is not None]
    return inflate_to_run(source, out, [*set, *said], patch=patch, voxel_size=voxel_size)
