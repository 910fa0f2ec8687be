"""The command that makes trees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, Overwrite, Set, VoxelSize, hint, show, voxel_size_of
from neuropil.errors import InputError


def trace(
    image: Annotated[str | None, typer.Argument(help="An image or a probability map.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="SWC file to write.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="Instead of an image: trace every segment.")] = None,
    out_dir: Annotated[Path | None, typer.Option("--out-dir", help="Folder for one SWC a segment.")] = None,
    voxel_size: VoxelSize = None,
    units: Annotated[
        str, typer.Option("--units", metavar="UNIT", help="Unit of the SWC: um, nm; voxel needs no voxel size.")
    ] = "um",
    soma: Annotated[
        str | None, typer.Option("--soma", metavar="Z,Y,X", help="Root in nm (or voxels of unknown size).")
    ] = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Trace a neuron in an image or a probability map, or every segment of labels, to SWC."""
    from neuropil import api

    left = f"finished trees are in '{out_dir}'; the same command goes on" if out_dir else "nothing was written"
    with hint(left):
        found = api.trace(
            image,
            out,
            labels=labels,
            out_dir=out_dir,
            voxel_size=voxel_size_of(voxel_size),
            units=units,
            soma=_place(soma),
            set=set_ or [],
            overwrite=overwrite,
        )
    show({"swc": str(out or out_dir), **found}, json)


def _place(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--soma {text}", "three numbers z,y,x in nm", "for example --soma 4000,12000,9000") from None
    return z, y, x
