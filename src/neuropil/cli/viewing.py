"""The command that shows volumes in a browser."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, Units, VoxelSize, show, voxel_size_of


def view(
    what: Annotated[
        str | None, typer.Argument(help="An image, a run directory, or a folder that --export wrote.")
    ] = None,
    affinities: Annotated[str | None, typer.Option("--affinities", help="Affinities, or another prediction.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="A segmentation.")] = None,
    truth: Annotated[str | None, typer.Option("--truth", help="True labels; with --labels, mistakes show.")] = None,
    skeletons: Annotated[
        Path | None, typer.Option("--skeletons", help="SWC file, folder of them, .npz graph, or precomputed folder.")
    ] = None,
    meshes: Annotated[
        Path | None, typer.Option("--meshes", help="Folder of precomputed meshes; of labels they are made anyway.")
    ] = None,
    voxel_size: VoxelSize = None,
    units: Units = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen at; 0.0.0.0 for all machines.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen at; 0 takes any that is free.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write a folder that can be served and sent, and stop.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in the browser.")] = True,
    napari: Annotated[bool, typer.Option("--napari", help="Show it in napari instead.")] = False,
    json: Json = False,
) -> None:
    """Look at image, affinities, labels, truth, mistakes, skeletons and meshes in Neuroglancer, until Ctrl-C.

    Volumes of any size: what is not looked at is not read. A run is shown by crops of its training volumes with what
    it predicts there.
    """
    from neuropil import api

    found = api.view(
        what,
        affinities=affinities,
        labels=labels,
        truth=truth,
        skeletons=skeletons,
        meshes=meshes,
        voxel_size=voxel_size_of(voxel_size),
        units=units,
        host=host,
        port=port,
        export=export,
        browser=browser,
        napari=napari,
    )
    if isinstance(found, Path):
        link = (found / "link.txt").read_text().strip()
        show({"view": str(found), "link": link, "serve": shlex.join(["neuropil", "view", str(found)])}, json)
    elif found is not None:
        show({"link": found.url, "layers": ", ".join(found.layers), "end": "Ctrl-C"}, json)
        found.wait()
