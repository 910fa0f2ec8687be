"""From samples to tensors: batches in one fixed order, made by threads or processes ahead of the training step."""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from neuropil.config import DataConfig
from neuropil.data.sampling import InMemory, Sample, Sampler
from neuropil.data.unlabelled import RawSampler

Batch = dict[str, torch.Tensor]
AnySampler = Sampler | RawSampler

#: Batches made ahead of the one in use, for each worker.
_AHEAD = 2
#: More processes than this have never been needed to feed one device.
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Order:
    """Which samples make which batch: batch k of process `rank` begins at sample ``(k * world + rank) * size``.

    Parameters
    ----------
    size
        Samples a batch.
    first, last
        Batches ``first <= k < last``; endless when `last` is empty. Resuming is starting at another `first`.
    rank, world
        This training process and how many there are.
    """

    size: int
    first: int = 0
    last: int | None = None
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        batches = itertools.count(self.first) if self.last is None else range(self.first, self.last)
        for k in batches:
            begin = (k * self.world + self.rank) * self.size
            yield list(range(begin, begin + self.size))


def make_loader(sampler: AnySampler, order: Order, config: DataConfig, *, pin_memory: bool = False) -> Iterable[Batch]:
    """Batches of training samples.

    Parameters
    ----------
    sampler
        Makes sample i.
    order
        Which samples, in which order; the same whatever the workers.
    config
        `workers` and `worker_kind`. 0 makes samples in the calling thread. When empty: one thread beside a CPU training
        (which needs its cores itself), up to eight processes beside a GPU.

    Returns
    -------
    iterable of dict
        What the sampler makes, stacked (see `Sampler` and `RawSampler`), and index (B,) int64 (the samples' numbers).
    """
    workers, processes = _resolve_workers(sampler, config)
    if processes:
        # cached volumes are shared by fork; files that are open here must be opened again in the child
        return DataLoader(
            _Samples(sampler),
            batch_sampler=order,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            prefetch_factor=_AHEAD,
            worker_init_fn=_ignore_interrupts,
            multiprocessing_context="fork" if _cached(sampler) and hasattr(os, "fork") else "spawn",
        )
    return ThreadBatches(sampler, order, workers, pin_memory=pin_memory)


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C is for the training process, which finishes its step and saves; workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cached(sampler: AnySampler) -> bool:
    return all(isinstance(source.image, InMemory) for source in sampler.sources)


def _resolve_workers(sampler: AnySampler, config: DataConfig) -> tuple[int, bool]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = config.workers
    if workers is None:
        workers = max(1, min(_MOST_PROCESSES, cores - 1)) if torch.cuda.is_available() else 1
    if config.worker_kind == "auto":
        return workers, workers > 1 and _cached(sampler)
    return workers, workers > 0 and config.worker_kind == "process"


class _Samples(Dataset[Any]):
    def __init__(self, sampler: AnySampler) -> None:
        self.sampler = sampler

    def __getitem__(self, index: int) -> tuple[int, Sample]:
        return index, self.sampler(index)


def collate(samples: list[tuple[int, Sample]]) -> Batch:
    """Stack numbered samples into one batch."""
    batch = {key: torch.from_numpy(np.stack([s[key] for _, s in samples])) for key in samples[0][1]}
    return {**batch, "index": torch.tensor([i for i, _ in samples])}


class ThreadBatches:
    """Batches made by threads, which share the caller's memory; with 0 threads, made when they are asked for."""

    def __init__(self, sampler: AnySampler, order: Order, threads: int, *, pin_memory: bool) -> None:
        self._samples, self._order, self._threads, self._pin = _Samples(sampler), order, threads, pin_memory

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches():
            yield {key: value.pin_memory() for key, value in batch.items()} if self._pin else batch

    def _batches(self) -> Iterator[Batch]:
        if not self._threads:
            for indices in self._order:
                yield collate([self._samples[i] for i in indices])
            return
        todo, waiting = iter(self._order), deque[list[Future[tuple[int, Sample]]]]()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="neuropil-loader")
        try:
            for indices in itertools.islice(todo, _AHEAD * self._threads):
                waiting.append([pool.submit(self._samples.__getitem__, i) for i in indices])
            while waiting:
                samples = [future.result() for future in waiting.popleft()]
                for indices in itertools.islice(todo, 1):
                    waiting.append([pool.submit(self._samples.__getitem__, i) for i in indices])
                yield collate(samples)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
