"""Commands that use runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, Overwrite, Set, VoxelSize, hint, kept, show, voxel_size_of


def predict(
    run: Path,
    volume: str,
    out: Annotated[Path, typer.Option("--out", help="OME-Zarr to write.")],
    voxel_size: VoxelSize = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Predict the affinities of a volume with a trained run."""
    from neuropil import api

    with hint(kept(out, overwrite)):
        found = api.predict(run, volume, out, voxel_size=voxel_size_of(voxel_size), set=set_ or [], overwrite=overwrite)
    offsets = [list(o) for o in found.offsets]
    show({"affinities": str(out), "shape": list(found.volume.shape), "offsets": offsets}, json)


def segment(
    source: Annotated[str, typer.Argument(help="A run directory, or affinities.")],
    volume: Annotated[str | None, typer.Argument(help="The image, when SOURCE is a run.")] = None,
    out: Annotated[Path, typer.Option("--out", help="OME-Zarr to write.")] = ...,  # type: ignore[assignment]
    voxel_size: VoxelSize = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report page.")] = None,
    json: Json = False,
) -> None:
    """Segment a volume into neurons, with a trained run or from affinities."""
    from neuropil import api

    with hint(kept(out, overwrite)):
        labels = api.segment(
            source,
            volume,
            out,
            voxel_size=voxel_size_of(voxel_size),
            set=set_ or [],
            overwrite=overwrite,
            report=report,
        )
    shown = {"segmentation": str(out), "shape": list(labels.shape), "objects": int(labels.read(labels.box).max())}
    show(shown | ({"report": str(report)} if report else {}), json)
