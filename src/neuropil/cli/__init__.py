"""The command line: one sub-command a verb of `neuropil.api`, with the same words and no knobs of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from neuropil.cli.downloading import download
from neuropil.cli.inflating import inflate
from neuropil.cli.learning import pretrain, train
from neuropil.cli.looking import evaluate, info, report
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
    app.command()(_command)


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
