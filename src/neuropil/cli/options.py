"""What all commands share: common options, how results are shown, what an interrupted command says."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuropil.cli.completing import setting_names
from neuropil.errors import InputError

if TYPE_CHECKING:
    from neuropil.geometry import Float3

#: Characters of one value that a terminal is shown, those from which its parts get lines, and the most of those.
_LONGEST, _WIDE, _MOST = 400, 100, 12
#: Edges of voxels below this, in nm, are hardly meant.
_LEAST_NM = 1.0

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
    if 0 < min(z, y, x) < _LEAST_NM:
        um = ",".join(f"{1000 * v:g}" for v in (z, y, x))
        print(f"note: --voxel-size {text} is in nanometres; if micrometres were meant: {um}", file=sys.stderr)
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
def hint(text: str | Callable[[], str]) -> Iterator[None]:
    """Say after Ctrl-C what became of the work (a function is asked then); exit 130."""
    try:
        yield
    except typer.Exit:  # a command within has said its word
        raise
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print(f"interrupted: {text if isinstance(text, str) else text()}", file=sys.stderr)
        raise typer.Exit(130) from None


def saved(out: Path, how: str) -> str:
    """What an interrupted training leaves; `how` goes on with it."""
    if (out / "run.json").is_file():
        return f"the run was saved; {how} goes on with it"
    return "nothing was begun yet; run the command again"


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
    """Print a result: two columns, or JSON and nothing else."""
    if json:
        print(json_format.dumps(found, allow_nan=False))
        return
    # plain text: a terminal wraps it, a pipe gets whole lines, and names with brackets are no markup
    rows = [(key, _lines(value)) for key, value in found.items() if value not in ({}, [])]
    width = max((len(key) for key, _ in rows), default=0)
    for key, lines in rows:
        for number, line in enumerate(lines):
            print(f"{'' if number else key:<{width}}  {line}".rstrip())


def _lines(value: object) -> list[str]:
    """A value on one line, or, where it is long and has parts, a line for each of them."""
    text, all_of_it = readable(value), " … (all of it: --json)"
    if len(text) <= _WIDE or not isinstance(value, dict | list | tuple) or _flat(value):
        return [text if len(text) <= _LONGEST else text[:_LONGEST] + all_of_it]
    parts = [f"{k}: {_within(v)}" for k, v in value.items()] if isinstance(value, dict) else [_within(v) for v in value]
    shown = [part if len(part) <= _LONGEST else part[:_LONGEST] + " …" for part in parts[:_MOST]]
    return shown if len(parts) <= _MOST else [*shown, f"and {len(parts) - _MOST} more{all_of_it}"]


def _flat(value: Any) -> bool:
    """Whether it is a list of plain numbers or words."""
    return not isinstance(value, dict) and not any(isinstance(part, dict | list | tuple) for part in value)


def readable(value: object) -> str:
    """A value of a result as people read it.

    Examples
    --------
    >>> readable([8.0, 4.6, 4.6]), readable({"min": 0, "mean": 127.123456}), readable(None), readable(0.25)
    ('8, 4.6, 4.6', 'min: 0, mean: 127.1235', '-', '0.2500')
    """
    plain = isinstance(value, float) and (value == 0 or 1e-3 <= abs(value) < 1e6)
    return f"{value:.4f}" if plain else _within(value)


def _within(value: object) -> str:
    """The same inside of another value, where numbers are many and brackets tell lists in lists apart."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 else f"{round(value, 4):.12g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_nested(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_nested(one) for one in value) or "none"
    return str(value)


def _nested(value: object) -> str:
    text = _within(value)
    return f"({text})" if isinstance(value, dict | list | tuple) and value else text


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
