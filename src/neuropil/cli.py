"""The command line: one sub-command a verb of `neuropil.api`, with the same words and no knobs of its own."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuropil.errors import InputError, NeuropilError

if TYPE_CHECKING:
    from neuropil.geometry import Float3

app = typer.Typer(
    name="neuropil",
    help="Label neurons in microscope volumes with few labels.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

#: Characters of one value that a terminal is shown.
_LONGEST = 400

VoxelSize = Annotated[
    str | None, typer.Option("--voxel-size", metavar="Z,Y,X", help="Voxel size in nm; overrides the metadata.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, e.g. train.steps=100.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]


@app.command()
def info(volume: str, voxel_size: VoxelSize = None, json: Json = False) -> None:
    """Describe a volume: shape, axes, type, voxel size, kind, chunking, values; for labels, their objects."""
    from neuropil import api

    _show(api.info(volume, voxel_size=_voxel_size(voxel_size)), json)


@app.command()
def pretrain(
    image: Annotated[list[str] | None, typer.Option("--image", help="A volume without labels; repeat.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The run directory.")] = ...,  # type: ignore[assignment]
    recipe: Annotated[str, typer.Option("--recipe", help="mae, decision_mim, or a YAML file.")] = "mae",
    budget: Annotated[str | None, typer.Option("--budget", help="Wall time, e.g. 30m, 2h or 90s.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    probe_image: Annotated[
        list[str] | None, typer.Option("--probe-image", help="A labelled volume to choose the mask ratio by.")
    ] = None,
    probe_labels: Annotated[list[str] | None, typer.Option("--probe-labels", help="Its labels.")] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    voxel_size: VoxelSize = None,
    json: Json = False,
) -> None:
    """Learn an encoder from volumes without labels, for train --init."""
    from neuropil import api

    with _hint("the run was saved; the same command with --resume goes on with it"):
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
            voxel_size=_voxel_size(voxel_size),
        )
    _show({"run": str(run.path), **{k: v for k, v in run.card["best"].items() if k != "calibration"}}, json)


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", help="The run directory.")],
    image: Annotated[
        list[str] | None, typer.Option("--image", help="An image volume; repeat for several. Not needed to resume.")
    ] = None,
    labels: Annotated[list[str] | None, typer.Option("--labels", help="Its labels, in the same order.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="A shipped recipe or a YAML file.")] = "em_neurons",
    budget: Annotated[str | None, typer.Option("--budget", help="Wall time, e.g. 30m, 2h or 90s.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="First weights: a run or .safetensors.")] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    voxel_size: VoxelSize = None,
    json: Json = False,
) -> None:
    """Train a network on labelled volumes; calibrates its decoding on what is held back of them."""
    from neuropil import api

    with _hint(f"the run was saved; neuropil train --resume --out {out} goes on with it"):
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
            voxel_size=_voxel_size(voxel_size),
        )
    _show({"run": str(run.path), **{k: v for k, v in run.card["best"].items() if k != "calibration"}}, json)


@app.command()
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

    with _hint(_kept(out, overwrite)):
        found = api.predict(run, volume, out, voxel_size=_voxel_size(voxel_size), set=set_ or [], overwrite=overwrite)
    offsets = [list(o) for o in found.offsets]
    _show({"affinities": str(out), "shape": list(found.volume.shape), "offsets": offsets}, json)


@app.command()
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

    with _hint(_kept(out, overwrite)):
        labels = api.segment(
            source,
            volume,
            out,
            voxel_size=_voxel_size(voxel_size),
            set=set_ or [],
            overwrite=overwrite,
            report=report,
        )
    shown = {"segmentation": str(out), "shape": list(labels.shape), "objects": int(labels.read(labels.box).max())}
    _show(shown | ({"report": str(report)} if report else {}), json)


@app.command()
def evaluate(
    pred: str,
    truth: Annotated[str | None, typer.Argument(help="True labels.")] = None,
    skeletons: Annotated[
        Path | None, typer.Option("--skeletons", help="True skeletons (.npz graph): expected run length.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="What was segmented.")] = "neurons",
    ignore_border_nm: Annotated[
        float | None, typer.Option("--ignore-border-nm", help="Leave out voxels this near to a truth border.")
    ] = None,
    convention: Annotated[str, typer.Option("--convention", help="How background counts.")] = "neuropil",
    voxel_size: VoxelSize = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also write a report page.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="The image, for the report.")] = None,
    json: Json = False,
) -> None:
    """Score a segmentation: VOI, ARAND, CREMI score and counts against true labels; run length on true skeletons."""
    from neuropil import api

    size = _voxel_size(voxel_size)
    found = api.evaluate(
        pred,
        truth,
        skeletons=skeletons,
        task=task,
        ignore_border_nm=ignore_border_nm,
        convention=convention,
        voxel_size=size,
        report=report,
        image=image,
    )
    _show(found, json)


@app.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run directories.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    image: Annotated[str | None, typer.Option("--image")] = None,
    segmentation: Annotated[str | None, typer.Option("--segmentation")] = None,
    truth: Annotated[str | None, typer.Option("--truth")] = None,
    affinities: Annotated[str | None, typer.Option("--affinities")] = None,
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
        voxel_size=_voxel_size(voxel_size),
    )
    _show({"report": str(page)}, json)


@app.command()
def bench(
    study: Annotated[str, typer.Argument(help="label-efficiency")],
    design: Annotated[Path, typer.Argument(help="A YAML file that says what is compared.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of runs and results.")] = ...,  # type: ignore[assignment]
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Only every N-th training.")] = None,
    json: Json = False,
) -> None:
    """Run a controlled comparison, or what is missing of it; writes a table and a plot."""
    from neuropil import api

    with _hint("what is done was kept; the same command goes on"):
        found = api.bench(study, design, out, shard=shard)
    _show(found, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this installation has, and how to get what is missing."""
    from neuropil import api

    _show(api.doctor(), json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="A new folder.")] = Path("demo"),
    budget: Annotated[str, typer.Option("--budget", help="Training time.")] = "270s",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    json: Json = False,
) -> None:
    """The main job on a phantom: make tissue, train, segment, evaluate, report."""
    from neuropil import api

    _show(api.demo(out, budget=budget, seed=seed), json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit 0 done, 2 wrong input, 3 work incomplete, 130 interrupted."""
    try:
        app(arguments)
    except NeuropilError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _voxel_size(text: str | None) -> Float3 | None:
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--voxel-size {text}", "three numbers z,y,x in nm, for example 40,4,4") from None
    return z, y, x


@contextmanager
def _hint(text: str) -> Iterator[None]:
    """Say after Ctrl-C what became of the work; exit 130."""
    try:
        yield
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print(f"interrupted: {text}", file=sys.stderr)
        raise typer.Exit(130) from None


def _kept(out: Path, overwrite: bool) -> str:
    """What an interrupted command leaves of its output."""
    if overwrite and out.exists():
        return f"'{out}' is as it was before; run the command again"
    return f"if '{out}' is there, it is not whole and will not be read as such; run the command again"


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the root: met inside a compiled module's import, it comes out as an ImportError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _show(found: dict[str, Any], json: bool) -> None:
    if json:
        print(json_format.dumps(found, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in found.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(key, text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … (all of it: --json)")
    Console().print(table)


if __name__ == "__main__":
    main()
