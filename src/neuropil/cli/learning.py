"""Commands that make runs."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from neuropil.cli.completing import recipe_names
from neuropil.cli.options import Json, Set, VoxelSize, hint, saved, show, voxel_size_of


def pretrain(
    image: Annotated[list[str] | None, typer.Option("--image", help="A volume without labels; repeat.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The run directory.")] = ...,  # type: ignore[assignment]
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="mae, decision_mim, multiscale, auto, or a YAML file.", autocompletion=recipe_names
        ),
    ] = "mae",
    budget: Annotated[str | None, typer.Option("--budget", help="Wall time, e.g. 30m, 2h or 90s.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    probe_image: Annotated[
        list[str] | None,
        typer.Option(
            "--probe-image",
            help="A labelled volume that validation probes the encoder on; it chooses the mask ratio where "
            "pretrain.mask.adapt_ratio=true.",
        ),
    ] = None,
    probe_labels: Annotated[list[str] | None, typer.Option("--probe-labels", help="Its labels.")] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    voxel_size: VoxelSize = None,
    json: Json = False,
) -> None:
    """Learn an encoder from volumes without labels, for train --init."""
    from neuropil import api

    with hint(lambda: saved(out, "the same command with --resume")):
        run = api.pretrain(
            image or [],
            out,
            recipe=recipe,
            budget=budget,
            steps=steps,
            probe_image=probe_image or [],
            probe_labels=probe_labels or [],
            set=set_ or [],
            resume=resume,
            voxel_size=voxel_size_of(voxel_size),
        )
    show({"run": str(run.path), **_best(run.card, json)}, json)


def train(
    out: Annotated[Path, typer.Option("--out", help="The run directory.")],
    image: Annotated[
        list[str] | None, typer.Option("--image", help="An image volume; repeat for several. Not needed to resume.")
    ] = None,
    labels: Annotated[list[str] | None, typer.Option("--labels", help="Its labels, in the same order.")] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="A shipped recipe, auto (chosen from the data), or a YAML file.",
            autocompletion=recipe_names,
        ),
    ] = "em_neurons",
    budget: Annotated[str | None, typer.Option("--budget", help="Wall time, e.g. 30m, 2h or 90s.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="First weights: a run, zoo:NAME or .safetensors.")] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    voxel_size: VoxelSize = None,
    json: Json = False,
) -> None:
    """Train a network on labelled volumes; calibrates its decoding on what is held back of them."""
    from neuropil import api

    with hint(lambda: saved(out, f"neuropil train --resume --out {quote(str(out))}")):
        run = api.train(
            image or [],
            labels or [],
            out,
            recipe=recipe,
            budget=budget,
            steps=steps,
            init=init,
            set=set_ or [],
            resume=resume,
            voxel_size=voxel_size_of(voxel_size),
        )
    show({"run": str(run.path), **_best(run.card, json)}, json)


def _best(card: dict[str, Any], json: bool) -> dict[str, Any]:
    """What is shown of a finished run: its best validation."""
    # 1.0000 beside an F1 would be read as perfect
    score = "score" if json else "score (lower is better)"
    best = {score if k == "score" else k: v for k, v in card["best"].items() if k != "calibration"}
    return best | ({"warnings": card["warnings"]} if card.get("warnings") else {})
