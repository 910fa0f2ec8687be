"""Commands that use runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuropil.cli.options import (
    Json,
    Overwrite,
    VoxelSize,
    block_of,
    hint,
    kept,
    show,
    show_stages,
    voxel_size_of,
)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, e.g. predict.tta=flips.")]
FromGraph = Annotated[
    str | None,
    typer.Option(
        "--from-graph",
        metavar="OUT",
        help="A segmentation in blocks: cut it at another --threshold (organelles: size).",
    ),
]


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory, zoo:NAME, or bioimageio:MODEL.")],
    volume: Annotated[str, typer.Argument(help="The image: file.h5:dataset, x.zarr, a.tif, a folder of sections.")],
    out: Annotated[Path, typer.Option("--out", help="OME-Zarr to write.")],
    voxel_size: VoxelSize = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Predict what a trained run has learned, affinities for instance, of a volume."""
    from neuropil import api

    with hint(kept(out, overwrite)):
        found = api.predict(run, volume, out, voxel_size=voxel_size_of(voxel_size), set=set_ or [], overwrite=overwrite)
    stored: Any = getattr(found, "volume", found)
    told: dict[str, Any] = {stored.kind: str(out), "shape": list(stored.shape)}
    if hasattr(found, "offsets"):
        told["offsets"] = [list(o) for o in stored.attrs["offsets"]]
    else:
        told["channels"] = stored.attrs["channels"]
    show(told, json)


def segment(
    source: Annotated[str | None, typer.Argument(help="A run directory, zoo:NAME, or a prediction.")] = None,
    volume: Annotated[str | None, typer.Argument(help="The image, when SOURCE is a run.")] = None,
    out: Annotated[Path, typer.Option("--out", help="x.zarr or x.precomputed to write.")] = ...,  # type: ignore[assignment]
    voxel_size: VoxelSize = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report page.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Of neurons: merge contacts of at least this.")
    ] = None,
    from_graph: FromGraph = None,
    block: Annotated[str | None, typer.Option("--block", metavar="Z,Y,X", help="Voxels of a block.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="What all workers may use, e.g. 4GB.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that share the work.")] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", help="local, tcp://HOST:PORT, or slurm:OPTIONS (also lsf, pbs, sge).")
    ] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Do this share of the tasks, 0/N to N-1/N.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="zarr or precomputed, as --out ends.")
    ] = None,
    skeletons: Annotated[
        bool, typer.Option("--skeletons", help="Also make skeletons of the objects, for Neuroglancer and as SWC.")
    ] = False,
    meshes: Annotated[bool, typer.Option("--meshes", help="Also make meshes of the objects.")] = False,
    json: Json = False,
) -> None:
    """Segment a volume into neurons or what else a run has learned, with the run or from its prediction.

    Large volumes are worked in blocks, with the same labels; run the same command again to go on after a crash.
    """
    from neuropil import api

    with hint(f"{kept(out, overwrite)}; work in blocks goes on where it was"):
        labels = api.segment(
            source,
            volume,
            out,
            voxel_size=voxel_size_of(voxel_size),
            set=set_ or [],
            overwrite=overwrite,
            report=report,
            threshold=threshold,
            from_graph=from_graph,
            block=block_of(block),
            memory=memory,
            workers=workers,
            dask=dask,
            shard=shard,
            format=format_,  # type: ignore[arg-type]
            skeletons=skeletons,
            meshes=meshes,
        )
    shown = {"segmentation": str(out), "shape": list(labels.shape), "objects": labels.attrs["objects"]}
    shown |= {name: str(out / name) for name in ("skeletons", "meshes") if (out / name).is_dir()}
    show(shown | ({"report": str(report)} if report else {}), json)


def status(
    out: Annotated[Path, typer.Argument(help="What `neuropil segment` was asked to write.")], json: Json = False
) -> None:
    """Show how far a segmentation in blocks is; exit code 3 while anything is missing."""
    from neuropil import api

    found = api.status(out)
    if json:
        show(found, json)
    else:
        show_stages(found["stages"])
    if found["missing"]:
        raise typer.Exit(3)
