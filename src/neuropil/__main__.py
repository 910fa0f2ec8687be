"""The command `neuropil`, and `python -m neuropil`: nothing is imported before Ctrl-C is taken for what it is."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit 130 if it is interrupted while its modules are still being read."""
    try:
        from neuropil.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("interrupted: nothing was begun; run the command again", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
