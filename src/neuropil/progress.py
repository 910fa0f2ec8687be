"""Progress of long work: a bar with rate and time left on a terminal or in a notebook, plain lines elsewhere.

Lines and the terminal's bar go to stderr, the notebook's bar into the cell.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

#: Seconds between plain lines, and between changes of a notebook's bar.
LINE_EVERY, CELL_EVERY = 15.0, 0.25
#: Voxels from which on work on a volume is shown: what is smaller is written in a second or two.
LARGE = 2**26
T = TypeVar("T")


class Progress:
    """A context manager that shows how far work has come.

    Parameters
    ----------
    title
        What is being done, one word or two.
    total
        Units of work, None while unknown.
    unit
        What a unit is called, for the rate.
    done
        Units already behind (after a resume).
    enabled
        False shows nothing (processes other than the first).
    """

    def __init__(self, title: str, total: int | None, *, unit: str, done: int = 0, enabled: bool = True) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._first = self._done = done
        self._note = ""
        self._enabled = enabled
        self._started = self._said = time.monotonic()
        self._bar: RichProgress | None = None
        self._cell: Any = None

    def __enter__(self) -> Progress:
        if self._enabled and in_notebook():
            # rich would need ipywidgets in the notebook's page; a display that is written again needs nothing
            self._cell = _shown(self._html())
        elif self._enabled and sys.stderr.isatty():
            self._bar = RichProgress(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, completed=self._done, rate="", note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cell is not None:
            self._cell.update(_as_html(self._html()))
        elif self._bar is not None:
            self._show()
            self._bar.stop()
        elif self._enabled:
            self._line()

    def __call__(self, done: int, total: int | None) -> None:
        """Same as `update`: a progress can be handed to whatever reports (done, total)."""
        self.update(done, total)

    def update(self, done: int, total: int | None) -> None:
        """Say how many units are done, of how many."""
        self._done, self._total = done, total
        if self._cell is not None:
            if time.monotonic() - self._said > CELL_EVERY:
                self._said = time.monotonic()
                self._cell.update(_as_html(self._html()))
        elif self._bar is not None:
            self._show()
        elif self._enabled and time.monotonic() - self._said > LINE_EVERY:
            self._line()

    def note(self, text: str) -> None:
        """A short text beside the bar, for example the loss."""
        self._note = text

    def _rate(self) -> float:
        return (self._done - self._first) / max(1e-9, time.monotonic() - self._started)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._done,
                total=self._total,
                rate=f"{self._rate():.2f} {self._unit}/s",
                note=self._note,
            )

    def _line(self) -> None:
        self._said = time.monotonic()
        print("  ".join(self._words()), file=sys.stderr, flush=True)

    def _html(self) -> str:
        text = html.escape("  ".join(self._words()))
        value = "" if not self._total else f' value="{self._done}" max="{self._total}"'
        return f'<div><progress{value} style="width: 20em"></progress> {text}</div>'

    def _words(self) -> list[str]:
        rate = self._rate()
        parts = [f"{self._title} {self._done}/{self._total or '?'} {self._unit}s", f"{rate:.2f} {self._unit}/s"]
        if self._total and rate > 0:
            parts.append(f"{max(0.0, (self._total - self._done) / rate):.0f} s left")
        return [*parts, self._note] if self._note else parts


def written(title: str, blocks: Iterable[T], voxels: int) -> Iterator[T]:
    """The same blocks, one by one, shown as work where the volume that they make up is large."""
    every = list(blocks) if voxels >= LARGE else []
    yield from shown(title, every, len(every), voxels) if every else blocks


def shown(title: str, results: Iterable[T], total: int, voxels: int, unit: str = "block") -> Iterator[T]:
    """The same results of so many units of work as they come, shown where the volume that they are of is large."""
    if voxels < LARGE:
        yield from results
        return
    with Progress(title, total, unit=unit) as progress:
        for done, result in enumerate(results, start=1):
            yield result
            progress.update(done, total)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose page shows HTML."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def _shown(text: str) -> Any:
    """Show HTML in the notebook's cell; what comes back can be written again by `update`."""
    return importlib.import_module("IPython.display").display(_as_html(text), display_id=True)


def _as_html(text: str) -> Any:
    return importlib.import_module("IPython.display").HTML(text)
