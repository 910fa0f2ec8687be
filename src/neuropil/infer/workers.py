"""Who does the work: this process, spawned ones, or a Dask cluster. What to do travels to them, arrays do not.

Every runner takes a picklable function and items, and gives back ``(item, result, error)`` in the order in which they
end. A failing item does not stop the others.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from multiprocessing import connection, get_context, parent_process
from types import TracebackType
from typing import Any, Protocol, TypeVar

from neuropil.errors import ConfigError, IncompleteError, InputError, VolumeError

Item = TypeVar("Item")
Result = TypeVar("Result")
Outcome = tuple[Item, Result | None, Exception | None]

_QUEUES = {"slurm": "SLURMCluster", "lsf": "LSFCluster", "pbs": "PBSCluster", "sge": "SGECluster"}


class Progress(Protocol):
    """Is told how many units of work are done, of how many; called in the parent process, in rising order."""

    def __call__(self, done: int, total: int, /) -> None: ...


class Runner(AbstractContextManager["Runner"], Protocol):
    """Runs a function over items."""

    @property
    def remote(self) -> bool:
        """Whether functions and items are sent to other processes."""

    def run(self, fn: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """Call `fn` once for each item."""


class Serial:
    """Here, one after the other: the runner to debug with."""

    remote = False

    def __enter__(self) -> Serial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def run(self, fn: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """See `Runner`."""
        for item in items:
            try:
                result = fn(item)
            except Exception as error:
                yield item, None, error
            else:
                yield item, result, None


class Processes:
    """Spawned processes of this machine (fork would break the threads of tensorstore and torch).

    Each has a pipe of its own and one item at a time, so it is known which item a dying process was at.

    Parameters
    ----------
    workers
        How many.
    attempts
        How often an item is tried whose process dies.
    """

    remote = True

    def __init__(self, workers: int, attempts: int) -> None:
        self.workers, self.attempts = workers, attempts
        self._idle: list[_Worker] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        for worker in self._idle:
            worker.end()
        self._idle = []

    def run(self, fn: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """See `Runner`."""
        todo, tried = deque(range(len(items))), [0] * len(items)
        busy: dict[Any, tuple[_Worker, int]] = {}
        try:
            while todo or busy:
                while todo and len(busy) < self.workers:
                    worker, at = self._idle.pop() if self._idle else _Worker(), todo.popleft()
                    busy[worker.pipe] = worker, at
                    worker.give((fn, items[at]))
                for pipe in connection.wait(list(busy)):
                    worker, at = busy.pop(pipe)
                    answer = worker.take()
                    if answer is None:
                        tried[at] += 1
                        if tried[at] < self.attempts:
                            todo.append(at)
                            continue
                        answer = None, _gave_up(tried[at], worker)
                    else:
                        self._idle.append(worker)
                    yield items[at], *answer
        finally:
            for worker, _ in busy.values():
                worker.end()


class _Worker:
    """One spawned process."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, what: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died while idle: taking its answer tells
            self.pipe.send(what)

    def take(self) -> tuple[Any, Exception | None] | None:
        """Its answer, or None if it died."""
        try:
            answer: tuple[Any, Exception | None] = self.pipe.recv()
            return answer
        except (EOFError, ConnectionResetError):
            self.end()
            return None

    def end(self) -> str:
        """End it, whatever it does, and say how it ended."""
        self.pipe.close()
        self._process.kill()
        self._process.join()
        return f"exit code {self._process.exitcode}"


def _work(pipe: Any) -> None:
    """What a spawned process does: items, one by one, until nobody gives it any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    _end_with_parent()
    while True:
        try:
            fn, item = pipe.recv()
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = fn(item), None
        except Exception as error:
            answer = None, error
        try:
            pipe.send(answer)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            pipe.send(
                (
                    None,
                    InputError(
                        f"{answer[1] or type(answer[0])!r} cannot be sent back ({error})",
                        "what pickle can carry",
                        "return plain values and arrays",
                    ),
                )
            )


def _gave_up(tried: int, worker: _Worker) -> IncompleteError:
    return IncompleteError(
        f"its process died {tried} times ({worker.end()})",
        "a process that lives",
        "if memory ran out, use fewer --workers or a smaller --block; then run the same command again",
    )


def _end_with_parent() -> None:
    """Let this process end as soon as its parent is gone, or it would work on unseen beside the next run."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


class Dask:
    """A Dask cluster: ``local``, the address of a scheduler, or a batch system such as ``slurm:queue=short,cores=1``.

    Parameters
    ----------
    where
        Which.
    workers
        How many to start, where they are started at all.
    attempts
        How often an item is tried whose worker died.

    Raises
    ------
    ConfigError
        If the extra is not installed, or there is no such cluster.
    """

    remote = True

    def __init__(self, where: str, workers: int, attempts: int) -> None:
        self.where, self.attempts = where, attempts
        try:
            self._library: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise ConfigError(
                f"--dask {where}, and Dask is not installed", "the extra 'cluster'", "pip install 'neuropil[cluster]'"
            ) from error
        self._cluster: Any = None
        if where == "local":
            self._cluster = self._library.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            )
        elif (kind := where.partition(":")[0]) in _QUEUES:
            self._cluster = queue_cluster(where)
            self._cluster.scale(jobs=workers)
        elif kind not in ("tcp", "tls"):
            raise ConfigError(
                f"--dask {where}",
                "local, tcp://host:port, or one of " + ", ".join(_QUEUES),
                "leave --dask out to work on this machine",
            )
        try:
            self._client: Any = self._library.Client(where if self._cluster is None else self._cluster)
        except (OSError, TimeoutError) as error:
            raise VolumeError(
                f"no Dask scheduler answers at {where}", "a running scheduler", "dask scheduler"
            ) from error

    def __enter__(self) -> Dask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster, and end it if it was started here."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def run(self, fn: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome[Item, Result]]:
        """See `Runner`."""
        futures = {
            self._client.submit(fn, item, pure=False, retries=self.attempts - 1): i for i, item in enumerate(items)
        }
        for future in self._library.as_completed(list(futures)):
            error = future.exception()
            yield items[futures[future]], None if error else future.result(), error


def queue_cluster(where: str) -> Any:
    """A cluster of dask-jobqueue from ``slurm:key=value,…``; its keywords are those of that library.

    Raises
    ------
    ConfigError
        If they are none, or the library is not installed.
    """
    kind, _, words = where.partition(":")
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ConfigError(
            f"--dask {where}, and dask-jobqueue is not installed",
            "the extra 'cluster'",
            "pip install 'neuropil[cluster]'",
        ) from error
    options: dict[str, Any] = {"cores": 1, "processes": 1}
    for word in filter(None, words.split(",")):
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(
                f"--dask {where}",
                f"{kind}:name=value,..., for example {kind}:queue=short,memory=8GB",
                "separate options by commas, each name=value",
            )
        options[name] = int(value) if value.isdecimal() else value
    try:
        return getattr(dask_jobqueue, _QUEUES[kind])(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"--dask {where}: {error}",
            f"options of dask_jobqueue.{_QUEUES[kind]}",
            "see the documentation of dask_jobqueue for their names",
        ) from error


def open_runner(workers: int, dask: str | None, attempts: int) -> Runner:
    """The runner that was asked for.

    Raises
    ------
    InputError
        If `workers` is below one.
    ConfigError
        If Dask is asked for and cannot be had.
    """
    if workers < 1:
        raise InputError(f"{workers} workers", "at least one", "leave --workers out for one")
    if dask is not None:
        return Dask(dask, workers, attempts)
    return Serial() if workers == 1 else Processes(workers, attempts)
