"""The command that gets public data."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neuropil.cli.options import Json, hint, show


def download(
    name: Annotated[str | None, typer.Argument(help="A data set or checkpoint; without one, all are listed.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Its folder.")] = None,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="You accept its terms.")] = False,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Fetch from URL/NAME/FILE; or set NEUROPIL_MIRROR.")
    ] = None,
    json: Json = False,
) -> None:
    """Get a public data set or checkpoint, checked and laid out for the recipes; list them without a name."""
    from neuropil import api

    if name is not None and out is not None and not accept_licence:
        accept_licence = _asked(name)
    with hint("what arrived was kept; the same command goes on"):
        found = api.download(name, out=out, accept_licence=accept_licence, mirror=mirror)
    if name is None:
        _list(found["sets"], json)
    else:
        show(found, json)


def _asked(name: str) -> bool:
    """On a terminal, show the terms and ask; elsewhere nobody can answer."""
    from neuropil.api.downloading import terms

    text = terms(name)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(text, file=sys.stderr)
    return typer.confirm("Do you accept these terms?", err=True)


def _list(sets: list[dict[str, Any]], json: bool) -> None:
    if json:
        print(json_format.dumps({"sets": sets}, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", "size", "licence", "account", "checked", box=None, pad_edge=False)
    for entry in sets:
        said = ["yes" if entry[key] else "no" for key in ("account", "checked")]
        table.add_row(entry["name"], entry["what"], _size(entry["bytes"]), entry["licence"], *said)
    Console().print(table)
    print("checked: no = its address was not tried by the authors of neuropil; --json says who states it.")


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    return f"~{count / 1e9:.1f} GB" if count >= 1e9 else f"~{count / 1e6:.0f} MB"
