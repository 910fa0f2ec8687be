"""The command that looks ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuropil.cli.completing import recipe_names, setting_names, verbs_to_plan
from neuropil.cli.options import Json, VoxelSize, block_of, hint, show, voxel_size_of

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, as of the verb.", autocompletion=setting_names),
]


def plan(
    verb: Annotated[str, typer.Argument(help="train, pretrain, predict or segment.", autocompletion=verbs_to_plan)],
    run: Annotated[Path | None, typer.Argument(help="Of predict and segment: a run directory.")] = None,
    volume: Annotated[str | None, typer.Argument(help="Of predict and segment: the image.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the result would go.")] = Path("."),
    image: Annotated[list[str] | None, typer.Option("--image", help="Of train and pretrain: an image; repeat.")] = None,
    labels: Annotated[list[str] | None, typer.Option("--labels", help="Of train: its labels, in order.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="As of the verb; auto: chosen from the data.", autocompletion=recipe_names),
    ] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Wall time, e.g. 30m, 2h or 90s.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="First weights: a run or .safetensors.")] = None,
    set_: Set = None,
    voxel_size: VoxelSize = None,
    block: Annotated[str | None, typer.Option("--block", metavar="Z,Y,X", help="Voxels of a block.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="What all workers may use, e.g. 4GB.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that share the work.")] = None,
    json: Json = False,
) -> None:
    """Say what a verb would take before it is done: time, memory, disk; exit code 2 if it cannot fit."""
    from neuropil import api

    with hint("nothing was written"):
        found = api.plan(
            verb,  # type: ignore[arg-type]
            run,
            volume,
            out=out,
            image=image or [],
            labels=labels or [],
            recipe=recipe,
            budget=budget,
            steps=steps,
            init=init,
            set=set_ or [],
            voxel_size=voxel_size_of(voxel_size),
            block=block_of(block),
            memory=memory,
            workers=workers,
        )
    if json:
        show(found, json)
    else:
        _table(found)


def _table(found: dict[str, Any]) -> None:
    """Stages, their sum, and the notes."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "how much", "time", "memory", "disk", box=None, pad_edge=False)
    for stage in found["stages"]:
        table.add_row(stage["stage"], stage["amount"], *_said(stage))
    table.add_row("all", "", *_said(found))
    Console().print(table)
    for note in found["notes"]:
        print(f"note: {note}")
    if "recipe" in found:
        print(found["recipe"])


def _said(stage: dict[str, Any]) -> tuple[str, str, str]:
    seconds = float(stage["seconds"])
    time = (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
    return time, f"{stage['memory_gib']:.2f} GiB", f"{stage['disk_gib']:.3g} GiB"
