"""Commands that pass runs on."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from neuropil.cli.options import Json, hint, show


def share(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder, or a new .zip.")],
    format: Annotated[str, typer.Option("--format", help="neuropil, bioimageio or torch-export.")] = "neuropil",
    data_licence: Annotated[
        str | None, typer.Option("--data-licence", help="Terms of the data it was trained on; required.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Where these data can be had.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Terms of the weights.")] = None,
    author: Annotated[list[str] | None, typer.Option("--author", help="Who made it; repeat.")] = None,
    cite: Annotated[str | None, typer.Option("--cite", help="What to cite.")] = None,
    seeds: Annotated[
        list[Path] | None, typer.Option("--seeds", help="The same training with another seed; repeat.")
    ] = None,
    half_precision: Annotated[
        bool, typer.Option("--half-precision", help="Store weights in 16 bits: half the size.")
    ] = False,
    json: Json = False,
) -> None:
    """Pack a run for others: for a zoo, as a bioimage.io model, or as a program of torch.export."""
    from neuropil import api

    with hint(f"nothing was written to '{out}'"):
        found = api.share(
            run,
            out,
            format=format,  # type: ignore[arg-type]
            data_licence=data_licence,
            data=data,
            licence=licence,
            author=author or [],
            cite=cite,
            seeds=seeds or [],
            half_precision=half_precision,
        )
    show(found, json)


def zoo(
    name: Annotated[str | None, typer.Argument(help="A model, to see its card; without one, all are listed.")] = None,
    zoo: Annotated[
        str | None, typer.Option("--zoo", help="A folder or an http(s) address; or set NEUROPIL_ZOO.")
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="Write the index of the folder, for a web server.")] = False,
    json: Json = False,
) -> None:
    """List shared models; zoo:NAME stands for a run in segment, predict and train --init."""
    from neuropil import api

    found = api.zoo(name, zoo=zoo, index=index)
    if "models" in found:
        _list(found["models"], json)
    else:
        show(found, json)


def _list(models: list[dict[str, Any]], json: bool) -> None:
    if json:
        print(json_format.dumps({"models": models}, allow_nan=False))
        return
    for model in models:
        size = model["voxel_size_nm"]
        at = "voxels of any size" if size is None else "voxels of " + " × ".join(f"{s:g}" for s in size) + " nm"
        scores = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in model["scores"].items())
        print(f"zoo:{model['name']}")
        print(f"  finds   {model['finds']}, in {at}")
        print(f"  scores  {scores or 'none'} (held back)")
        print(f"  data    {model['data_licence']}")
        print(f"  zoo     {model['zoo']}")
