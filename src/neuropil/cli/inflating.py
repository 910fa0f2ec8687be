"""The command that takes weights from natural images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, Set, VoxelSize, show, voxel_size_of
from neuropil.errors import InputError
from neuropil.geometry import Int3


def inflate(
    source: Annotated[
        Path,
        typer.Argument(help="A local file of DINO, DINOv2, DINOv3, MAE, torchvision, timm or HF."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The run directory.")],
    depth: Annotated[
        str | None, typer.Option("--depth", help="How kernels are spread over sections: center, average, gaussian.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="slab (as deep as a crop) or cube.")] = None,
    patch: Annotated[str | None, typer.Option("--patch", metavar="Z,Y,X", help="Voxels of a patch.")] = None,
    voxel_size: VoxelSize = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Make the weights of a 2-D vision transformer or ConvNeXt 3-D, for train --init."""
    from neuropil import api

    run = api.inflate(
        source,
        out,
        depth=depth,
        mode=mode,
        patch=_patch(patch),
        voxel_size=voxel_size_of(voxel_size),
        set=set_ or [],
    )
    found, steps = run.card["inflation"], run.config.model.convnext.fold
    counts = {what: len(found[what]) for what in ("copied", "changed", "new", "dropped", "missing")}
    size = {"patch": run.card["patch"]} if "patch" in run.card else {"fold": list(steps or ())}
    show({"run": str(run.path), "family": found["family"], **size, **counts}, json)


def _patch(text: str | None) -> Int3 | None:
    if text is None:
        return None
    try:
        z, y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--patch {text}", "three whole numbers z,y,x", "for example --patch 5,16,16") from None
    return z, y, x
