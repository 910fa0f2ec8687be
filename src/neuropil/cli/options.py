"""What all commands share: common options, how results are shown, what an interrupted command says."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuropil.cli.completing import setting_names
from neuropil.errors import InputError

if TYPE_CHECKING:
    from neuropil.geometry import Float3

#: Characters of one value that a terminal is shown.
_LONGEST = 400

VoxelSize = Annotated[
    str | None, typer.Option("--voxel-size", metavar="Z,Y,X", help="Voxel size in nm; overrides the metadata.")
]
Units = Annotated[
    str | None, typer.Option("--units", metavar="UNIT", help="Unit of SWC files that do not say: um, nm or voxel.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, e.g. train.steps=100.", autocompletion=setting_names),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]


def voxel_size_of(text: str | None) -> Float3 | None:
    """Three numbers from "z,y,x"."""
    if text is None:
        return None
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--voxel-size {text}",
            "three numbers z,y,x in nm, for example 40,4,4",
            "separate them by commas, without spaces, z first",
        ) from None
    return z, y, x


def block_of(text: str | None) -> tuple[int, int, int] | None:
    """Three whole numbers from "z,y,x"."""
    if text is None:
        return None
    try:
        z, y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--block {text}",
            "three whole numbers z,y,x of voxels, for example 256,256,256",
            "separate them by commas, without spaces, z first",
        ) from None
    return z, y, x


@contextmanager
def hint(text: str) -> Iterator[None]:
    """Say after Ctrl-C what became of the work; exit 130."""
    try:
        yield
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print(f"interrupted: {text}", file=sys.stderr)
        raise typer.Exit(130) from None


def kept(out: Path, overwrite: bool) -> str:
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


def show(found: dict[str, Any], json: bool) -> None:
    """Print a result: a table, or JSON and nothing else."""
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


def show_stages(stages: list[dict[str, Any]]) -> None:
    """Print how far each stage is, and what failed."""
    from rich.console import Console
    from rich.table import Table

    columns = ("stage", "tasks", "done", "running", "failed", "missing")
    table = Table(*columns, box=None, pad_edge=False)
    for stage in stages:
        table.add_row(*(str(stage[c]) for c in columns))
    Console().print(table)
    for stage in stages:
        for number, error in stage["errors"].items():
            print(f"{stage['stage']} {number} failed: {error}")
