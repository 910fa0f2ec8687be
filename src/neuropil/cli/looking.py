"""Commands that look at what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, Units, VoxelSize, show, voxel_size_of

Volume = Annotated[str, typer.Argument(help="file.h5:dataset, x.zarr, a.tif, a folder of sections; or a tree.swc.")]


def info(volume: Volume, voxel_size: VoxelSize = None, units: Units = None, json: Json = False) -> None:
    """Describe a volume: shape, axes, type, voxel size, kind, values; for labels, their objects; or an SWC tree."""
    from neuropil import api

    show(api.info(volume, voxel_size=voxel_size_of(voxel_size), units=units), json)


def evaluate(
    pred: Annotated[str, typer.Argument(help="Labels to score, or what --task says.")],
    truth: Annotated[str | None, typer.Argument(help="The truth of the same kind.")] = None,
    skeletons: Annotated[
        Path | None, typer.Option("--skeletons", help="True skeletons (.swc, folder, .npz graph): run length.")
    ] = None,
    task: Annotated[
        str, typer.Option("--task", help="neurons, mitochondria, semantic, masks; trees, morphology (SWC).")
    ] = "neurons",
    ignore_border_nm: Annotated[
        float | None, typer.Option("--ignore-border-nm", help="Leave out voxels this near to a truth border.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option("--scores", help="Of mitochondria: the prediction, which ranks objects for AP.")
    ] = None,
    convention: Annotated[
        str | None, typer.Option("--convention", help="How background counts; of trees, whose distances.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Of trees: steps (voxels) from which cable is apart.")
    ] = None,
    units: Units = None,
    projected: Annotated[
        bool | None,
        typer.Option(
            "--projected/--no-projected",
            help="Of trees: leave out z; by itself where --image has one section.",
            show_default=False,
        ),
    ] = None,
    sholl_step: Annotated[
        float | None, typer.Option("--sholl-step", help="Of morphology: distance of Sholl's spheres; found when empty.")
    ] = None,
    voxel_size: VoxelSize = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report page.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="The image, for the report; of trees also voxel size, plane.")
    ] = None,
    json: Json = False,
) -> None:
    """Score a segmentation: VOI, ARAND, CREMI score and counts against true labels; run length on true skeletons.

    With --task mitochondria (or other objects): F1, PQ and AP; with semantic, Dice and IoU; with masks, overlap and
    topology of thin structures; with trees, an SWC tree against a true one; with morphology, the shape of one.
    """
    from neuropil import api

    size = voxel_size_of(voxel_size)
    found = api.evaluate(
        pred,
        truth,
        skeletons=skeletons,
        task=task,
        ignore_border_nm=ignore_border_nm,
        scores=scores,
        convention=convention,
        tolerance=tolerance,
        units=units,
        projected=projected,
        sholl_step=sholl_step,
        voxel_size=size,
        report=report,
        image=image,
    )
    show(found, json)


def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run directories, folders of studies.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    image: Annotated[str | None, typer.Option("--image", help="Grey values to draw on.")] = None,
    segmentation: Annotated[str | None, typer.Option("--segmentation", help="Labels to show.")] = None,
    truth: Annotated[str | None, typer.Option("--truth", help="True labels: mistakes are found.")] = None,
    affinities: Annotated[str | None, typer.Option("--affinities", help="Affinities, or another prediction.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="What is segmented: neurons, mitochondria, semantic; as the run says.")
    ] = None,
    voxel_size: VoxelSize = None,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page about runs and a segmentation."""
    from neuropil import api

    page = api.report(
        runs or [],
        out,
        image=image,
        segmentation=segmentation,
        truth=truth,
        affinities=affinities,
        task=task,
        voxel_size=voxel_size_of(voxel_size),
    )
    show({"report": str(page)}, json)
