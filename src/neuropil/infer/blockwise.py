"""Run a pure function over blocks, in this process or in spawned ones; success means that every block was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Protocol

from neuropil.errors import IncompleteError, InputError
from neuropil.geometry import Block

#: How many failed blocks an error message spells out.
NAMED_FAILURES = 8


class Progress(Protocol):
    """Is told how many units of work are done, of how many; called in the parent process, in rising order."""

    def __call__(self, done: int, total: int, /) -> None: ...


def run_blocks(
    fn: Callable[[Block], None], blocks: Iterable[Block], *, workers: int, progress: Progress | None = None
) -> None:
    """Call `fn` once for each block.

    A failing block does not stop the others: its work is what is left to do afterwards. An interrupt stops at once.

    Parameters
    ----------
    fn
        Reads what it needs, writes only inside ``block.write``. For more than one worker it must be picklable (a
        module-level function, or `functools.partial` of one).
    workers
        1 runs here, in order: the mode to debug in. More start as many processes, by spawn, because fork breaks
        the threads of tensorstore and torch.

    Raises
    ------
    InputError
        If `workers` is below one.
    IncompleteError
        If any block failed or was lost with its worker; the failed blocks are named.
    """
    if workers < 1:
        raise InputError(f"{workers} workers", "at least one")
    todo = list(blocks)
    outcomes = _serial(fn, todo) if workers == 1 else _processes(fn, todo, workers)
    failures: list[tuple[Block, Exception]] = []
    for done, (block, error) in enumerate(outcomes, start=1):
        if error is not None:
            failures.append((block, error))
        if progress is not None:
            progress(done, len(todo))
    if failures:
        raise _incomplete(failures, len(todo)) from failures[0][1]


def _serial(fn: Callable[[Block], None], blocks: Sequence[Block]) -> Iterator[tuple[Block, Exception | None]]:
    for block in blocks:
        try:
            fn(block)
        except Exception as error:
            yield block, error
        else:
            yield block, None


def _processes(
    fn: Callable[[Block], None], blocks: Sequence[Block], workers: int
) -> Iterator[tuple[Block, Exception | None]]:
    pool = ProcessPoolExecutor(min(workers, max(1, len(blocks))), mp_context=get_context("spawn"))
    try:
        pending: dict[Future[None], Block] = {pool.submit(fn, block): block for block in blocks}
        for future in as_completed(pending):
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error  # an interrupt or an exit inside a worker is not a failed block
            yield pending[future], error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _incomplete(failures: list[tuple[Block, Exception]], total: int) -> IncompleteError:
    failures = sorted(failures, key=lambda failure: failure[0].index)
    named = [
        f"block {block.index} {block.write.start}..{block.write.stop}: {type(error).__name__}: {error}"
        for block, error in failures[:NAMED_FAILURES]
    ]
    if len(failures) > NAMED_FAILURES:
        named.append(f"and {len(failures) - NAMED_FAILURES} more")
    return IncompleteError(
        f"{len(failures)} of {total} blocks failed:\n  " + "\n  ".join(named),
        "every block done",
        "remove the cause, then run the failed blocks again; with one worker the first error can be debugged in place",
    )
