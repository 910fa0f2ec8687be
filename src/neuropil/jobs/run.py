"""Run a segmentation in blocks: begin or go on, stage after stage, and put the labels in their place when all is done.

Any number of crashes in between changes nothing but the time it takes: tasks are pure functions, and the ledger knows
which are done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.config import JobsConfig
from neuropil.errors import ConfigError, IncompleteError, VolumeError
from neuropil.infer.ledger import Ledger, read_plan, write_whole
from neuropil.infer.workers import Runner, Serial, open_runner
from neuropil.jobs.contract import merged_where
from neuropil.jobs.costs import Timings, cost_lines, costs, timings
from neuropil.jobs.forecast import Forecast, forecast, require_disk, with_objects
from neuropil.jobs.job import PIECES, Job, folder_of
from neuropil.jobs.labels import PRECOMPUTED, create_labels, finish_labels
from neuropil.jobs.objects import create_objects, remove_remains
from neuropil.jobs.tasks import perform
from neuropil.locks import claimed, guarded, living
from neuropil.outputs import require_replaceable
from neuropil.progress import Progress
from neuropil.shards import Shard
from neuropil.volume import Volume, open_volume

_LOCKS, _REPLACED = "locks", "replaced"
_NAMED_FAILURES = 8
#: The task that is measured: the first ones compile, and load what they need.
_WARM = 4
#: Tasks of blocks that follow one of "fragments" take about this share of its time.
_REST = 0.35


def run_job(
    job: Job,
    plan: Mapping[str, Any],
    config: JobsConfig,
    *,
    shard: Shard | None,
    overwrite: bool,
    attrs: dict[str, Any],
) -> Volume:
    """Do all that is left to do of a job, and open the labels.

    Parameters
    ----------
    plan
        What decides the result (`key` is its digest); it is stored, and explains why another job is refused.
    config
        Where the work runs.
    shard
        Do a part of the tasks only; others do theirs.
    attrs
        Go with the labels.

    Raises
    ------
    VolumeError
        If the output is taken, being worked on, or does not fit on the disk.
    ConfigError
        If other work was begun there.
    IncompleteError
        If tasks failed, or belong to other shards that are not running.
    """
    name = "run" if shard is None else shard.name
    locks = job.folder / _LOCKS
    if not job.folder.exists():
        require_replaceable(job.out, overwrite=overwrite)
    with claimed(locks, name, partial(_excludes, name), config.stale_s):
        try:
            with guarded(locks):
                _require_same(job, plan, overwrite=overwrite)
            with open_runner(config.workers, config.dask, config.attempts) as runner:
                _require_sendable(job, runner)
                with guarded(locks):
                    expected = _begun(job, plan, overwrite=overwrite)
                if expected is not None:
                    _say(f"forecast: {expected}{merged_where(job)}")
                for stage in job.stages():
                    _run_stage(job, stage, runner, shard, config, expected)
        finally:
            alone = set(living(locks, config.stale_s)) <= {name}
            if alone and not (job.folder / "plan.json").exists():
                shutil.rmtree(job.folder, ignore_errors=True)  # refused before anything was begun
        _close(job, attrs)
    return open_volume(os.fspath(job.out))


def _excludes(mine: str, other: str) -> bool:
    """Whether two runs may not work at the same time: only shards of one number may."""
    if other.startswith("stage-"):
        return False
    return mine == other or "run" in (mine, other) or mine.rpartition("-")[2] != other.rpartition("-")[2]


def _require_same(job: Job, plan: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether the folder holds this job, begun; other work there is refused, unless it may be replaced."""
    known = read_plan(job.folder)
    whole = job.out.exists() and not (job.folder / job.labels).exists()
    if known is not None and known["key"] == job.key and not (overwrite and whole):
        if not whole:
            require_replaceable(job.out, overwrite=overwrite)
        return True
    if known is not None and known["key"] != job.key and not overwrite:
        raise ConfigError(
            f"'{job.folder}' was begun with {_difference(known['what'], plan)}",
            "the same source and settings",
            "run it as it was begun; begin again with --overwrite; or cut its graph again: neuropil segment "
            f"--from-graph {job.out} {_another_cut(known['what'])} --out NEW.zarr",
        )
    require_replaceable(job.out, overwrite=overwrite)
    return False


def _another_cut(what: Mapping[str, Any]) -> str:
    return "--threshold T" if "segment" in what else "--set instances.min_size_um3=V"


def _begun(job: Job, plan: Mapping[str, Any], *, overwrite: bool) -> Forecast | None:
    """Make sure that the folder holds this job, begun; a new one is forecast."""
    if _require_same(job, plan, overwrite=overwrite):
        return None
    for path in job.folder.iterdir():
        if path.name != _LOCKS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    predicted = 0 if job.predict is None else len(job.predict.steps)
    plain = forecast(job.volume, job.block, job.cut, predicted)
    expected = with_objects(plain, job.cells(), job.objects, precomputed=job.out.suffix == PRECOMPUTED)
    require_disk(job.folder, expected.disk_bytes)
    _create(job)
    stages = [list(stage) for stage in job.stages()]
    write_whole(job.folder / "plan.json", _json({"key": job.key, "what": dict(plan), "stages": stages}))
    return expected


def _create(job: Job) -> None:
    """The empty arrays that tasks fill."""
    from neuropil.io.zarr import NewZarr, create_zarr

    def create(name: str, shape: tuple[int, ...], dtype: type, kind: str, attrs: Mapping[str, Any]) -> None:
        options: NewZarr = {"offset": job.like.offset, "axes": "czyx" if len(shape) == 4 else "zyx", "kind": kind}
        options |= {"attrs": attrs, "chunk": job.chunk(), "shard": job.block}
        create_zarr(job.folder / name, shape, dtype, job.like.voxel_size, **options)

    shape = job.volume.shape
    if job.predict is not None:
        given = job.predict
        create(given.place, (len(given.steps), *shape), np.uint8, given.kind, given.attrs)
    if job.graph_of is None:
        create(PIECES, shape, np.uint32, "labels", {"note": "pieces of fragments, numbered block by block"})
    labels = job.folder / job.labels
    create_labels(labels, job.like, chunk=job.chunk(), block=job.block, smallest=job.usual_chunk())
    create_objects(labels, job.objects)


def _run_stage(
    job: Job,
    stage: tuple[str, int],
    runner: Runner,
    shard: Shard | None,
    config: JobsConfig,
    expected: Forecast | None,
) -> None:
    """All tasks of a stage, or those of this shard and then a wait for the others."""
    name, count = stage
    if shard is None:
        _perform(job, name, list(range(count)), runner, expected)
        return
    if count > 1:
        _perform(job, name, list(range(shard.index, count, shard.count)), runner, expected)
    locks = job.folder / _LOCKS
    while True:
        others = set(living(locks, config.stale_s)) - {shard.name}
        missing = job.ledger.missing(name, count)
        if not missing:
            return
        if count == 1:
            # what concerns all is done by whoever comes first
            with contextlib.suppress(_Taken), _alone(locks, f"stage-{name}", config.stale_s):
                _perform(job, name, missing, Serial(), None)
                continue
        if not others:
            raise IncompleteError(
                f"'{job.folder}': {len(missing)} of {count} tasks of stage '{name}' belong to other shards",
                f"all {shard.count} shards run",
                "run the other shards, then this one again, until it says that all is done",
            )
        time.sleep(config.poll_s)


class _Taken(Exception):
    """Another shard is at it."""


@contextlib.contextmanager
def _alone(locks: Path, name: str, stale_s: float) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(claimed(locks, name, partial(str.__eq__, name), stale_s))
        except VolumeError as error:
            raise _Taken from error
        yield


def _perform(job: Job, stage: str, numbers: list[int], runner: Runner, expected: Forecast | None) -> None:
    """Do tasks of one stage.

    Raises
    ------
    IncompleteError
        If any failed.
    """
    failures: list[tuple[int, Exception]] = []
    with Progress(stage, len(numbers), unit="task") as progress:
        tasks = [(stage, number) for number in numbers]
        measured = min(_WARM, len(tasks))
        for done, ((_, number), facts, error) in enumerate(runner.run(partial(perform, job), tasks), start=1):
            if error is not None:
                failures.append((number, error))
            elif facts is not None and stage == "fragments" and expected is not None and done == measured:
                minutes = facts["seconds"] * (1 + _REST) * expected.blocks / 60
                _say(f"forecast: {facts['seconds']:.2f} s a block; {minutes:.1f} minutes of one worker in all")
            progress(done, len(numbers))
    if failures:
        named = [f"task {n}: {type(e).__name__}: {e}" for n, e in sorted(failures, key=_first)[:_NAMED_FAILURES]]
        more = len(failures) - len(named)
        raise IncompleteError(
            f"{len(failures)} of {len(numbers)} tasks of stage '{stage}' failed:\n  "
            + "\n  ".join([*named, *([f"and {more} more"] if more else [])]),
            "every task done",
            "remove the cause, then run the same command again; what is done is kept",
        ) from failures[0][1]


def _first(failure: tuple[int, Exception]) -> int:
    return failure[0]


def _require_sendable(job: Job, runner: Runner) -> None:
    """Arrays do not travel."""
    given = job.like if job.predict is None else job.predict.image
    if runner.remote and isinstance(given.array, np.ndarray):
        raise ConfigError(
            f"'{given.name}' is in memory, with several workers", "a stored volume", "store it, or use one worker"
        )


def _close(job: Job, attrs: dict[str, Any]) -> None:
    """Mark the labels as whole and put them in their place."""
    from neuropil.io.base import file_errors
    from neuropil.io.zarr import finish

    with guarded(job.folder / _LOCKS):
        labels = job.folder / job.labels
        if labels.exists():
            spent = timings(job.ledger, job.stages())
            remove_remains(labels, job.objects)
            finish_labels(labels, {**attrs, "timings": spent, **costs(spent), **_counts(job)})
            for name in ([] if job.predict is None else [job.predict.place]) + [PIECES]:
                if (job.folder / name).exists():
                    finish(job.folder / name)
            with file_errors(str(job.out), "writing"):
                if job.out.exists():
                    os.rename(job.out, job.folder / _REPLACED)
                os.rename(labels, job.out)
            _say_costs(spent)
        shutil.rmtree(job.folder / _REPLACED, ignore_errors=True)


def _say_costs(spent: Timings) -> None:
    for line in cost_lines(spent):
        _say(line)


def _counts(job: Job) -> dict[str, int]:
    record = job.ledger.record("objects", 0) or {}
    return {"objects": int(record.get("objects", 0))}


def _difference(was: Any, now: Any, path: str = "") -> str:
    """The first setting that differs, in words."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in {**was, **now}:
            if was.get(key) != now.get(key):
                return _difference(was.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    return f"{path} = {was!r}, not {now!r}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _json(what: Mapping[str, Any]) -> bytes:
    import json

    return (json.dumps(what, indent=1) + "\n").encode()


def state_of(out: str | os.PathLike[str]) -> dict[str, Any]:
    """How far the work beside an output is, stage by stage; `missing` counts the tasks that are not done.

    Raises
    ------
    VolumeError
        If no work was begun there.
    """
    folder = folder_of(out)
    plan = read_plan(folder)
    if plan is None:
        made = f"'{out}' was not made in blocks" if Path(out).is_dir() else f"'{folder}' holds no work in blocks"
        raise VolumeError(made, "an output of `neuropil segment` in blocks")
    ledger, names = Ledger(folder, plan["key"]), [(name, count) for name, count in plan["stages"]]
    stages, spent = [ledger.state(name, count) for name, count in names], timings(ledger, names)
    missing = sum(s["tasks"] - s["done"] for s in stages)
    return {"folder": str(folder), "stages": stages, "missing": missing, "timings": spent, **costs(spent)}
