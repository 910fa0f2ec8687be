"""Commands that try the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuropil.cli.options import Json, VoxelSize, hint, show, voxel_size_of


def bench(
    study: Annotated[str, typer.Argument(help="label-efficiency")],
    design: Annotated[Path, typer.Argument(help="A YAML file that says what is compared.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of runs and results.")] = ...,  # type: ignore[assignment]
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only every N-th training.")] = None,
    json: Json = False,
) -> None:
    """Run a controlled comparison, or what is missing of it; writes a table and a plot."""
    from neuropil import api

    with hint("what is done was kept; the same command goes on"):
        found = api.bench(study, design, out, shard=shard)
    show(found, json)


def doctor(
    tree: Annotated[Path | None, typer.Argument(help="An SWC file to examine instead.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Its image: finds shifts, flips, wrong units.")] = None,
    units: Annotated[str | None, typer.Option("--units", help="um, voxel or nm, whatever the tree says.")] = None,
    voxel_size: VoxelSize = None,
    out: Annotated[Path | None, typer.Option("--out", help="New SWC file: the tree as it should be.")] = None,
    json: Json = False,
) -> None:
    """Say what this installation has, and how to get what is missing; or what is wrong with a tree."""
    from neuropil import api

    show(api.doctor(tree, image=image, units=units, voxel_size=voxel_size_of(voxel_size), out=out), json)


def demo(
    out: Annotated[Path, typer.Option("--out", help="A new folder.")] = Path("demo"),
    lm: Annotated[bool, typer.Option("--lm", help="Light microscopy: trace a neuron.")] = False,
    budget: Annotated[str, typer.Option("--budget", help="Training time.")] = "120s",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    json: Json = False,
) -> None:
    """The main job on a phantom: make tissue, train, segment, evaluate, report; or make a neuron and trace it."""
    from neuropil import api

    show(api.demo(out, lm=lm, budget=budget, seed=seed), json)
