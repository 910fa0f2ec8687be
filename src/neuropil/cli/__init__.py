"""The command line: one sub-command a verb of `neuropil.api`, with the same words and no knobs of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer

from neuropil.cli.downloading import download
from neuropil.cli.inflating import inflate
from neuropil.cli.learning import pretrain, train
from neuropil.cli.looking import evaluate, info, report
from neuropil.cli.options import hint
from neuropil.cli.planning import plan
from neuropil.cli.segmenting import predict, segment, status
from neuropil.cli.sharing import share, zoo
from neuropil.cli.tracing import trace
from neuropil.cli.trying import bench, demo, doctor
from neuropil.cli.viewing import view
from neuropil.errors import NeuropilError

app = typer.Typer(
    name="neuropil",
    help="Label neurons in microscope volumes with few labels.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"neuropil {metadata.version('neuropil')}")
        raise typer.Exit


@app.callback()
def _of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Label neurons in microscope volumes with few labels."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The same command, which says a word after Ctrl-C where it has none of its own, and exits with 130."""

    @functools.wraps(command)
    def run(*words: Any, **named: Any) -> None:
        with hint("run the command again"):
            command(*words, **named)

    return run


#: In the order in which they are met: a volume is read, learned from, segmented, looked at.
for _command in (
    download,
    info,
    inflate,
    plan,
    pretrain,
    train,
    predict,
    segment,
    status,
    trace,
    evaluate,
    report,
    view,
    share,
    zoo,
    bench,
    doctor,
    demo,
):
    app.command()(_interruptible(_command))


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
