"""From what a user asks for to a job: whether to work in blocks, which blocks, and what the result depends on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuropil.affinities import Offsets, as_offsets
from neuropil.config import Config, override, stored_config
from neuropil.decoding import stored_attrs
from neuropil.errors import ConfigError, IncompleteError, InputError, VolumeError
from neuropil.geometry import Int3
from neuropil.infer.ledger import digest_of, key_of, read_plan
from neuropil.jobs.forecast import fitting_block, require_cells, whole_bytes
from neuropil.jobs.job import PIECES, FromRun, Job, folder_of, identity
from neuropil.jobs.labels import PRECOMPUTED
from neuropil.jobs.objects import kinds
from neuropil.post.decoders import Decoder, require_decodable
from neuropil.tasks.base import task_named
from neuropil.versions import versions
from neuropil.volume import Volume

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

#: Of a prediction that is no affinities.
_CHANNELS = 3
_GIB = {"MB": 1e6 / 2**30, "GB": 1e9 / 2**30, "TB": 1e12 / 2**30, "MIB": 2**-10, "GIB": 1.0, "TIB": 2.0**10}


def said(
    *,
    threshold: float | None,
    block: Sequence[int] | None,
    memory: str | None,
    workers: int | None,
    dask: str | None,
    objects: Sequence[str] = (),
) -> list[str]:
    """The settings that options stand for; `objects` names what is made of these.

    Raises
    ------
    InputError
        If the memory is no amount.
    """
    words = []
    if threshold is not None:
        words.append(f"segment.threshold={threshold}")
    if block is not None:
        words.append(f"jobs.block={list(block)}")
    if memory is not None:
        words.append(f"jobs.memory_gb={gibibytes(memory)}")
    if workers is not None:
        words.append(f"jobs.workers={workers}")
    if dask is not None:
        words.append(f"jobs.dask={dask}")
    return [*words, *(f"objects.{name}=true" for name in objects)]


def gibibytes(text: str) -> float:
    """GiB from text such as "4GB", "500 MiB".

    Raises
    ------
    InputError
        If it is no amount of memory.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MGT]i?B)", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise InputError(f"--memory {text}", "an amount with its unit, for example 4GB")
    return float(found[1]) * _GIB[found[2].upper()]


def in_blocks(like: Volume, offsets: Offsets, config: Config, out: Any, *, asked: bool) -> bool:
    """Whether to segment in blocks: because it was asked for or begun, or because the whole needs too much memory.

    Raises
    ------
    ConfigError
        If blocks were asked for where there can be none.
    """
    begun = out is not None and (folder_of(out) / "plan.json").exists()
    if out is not None and decoder_of(like, offsets, config) is not None:
        return asked or begun or whole_bytes(like.box, len(offsets) or _CHANNELS) > config.jobs.memory_gb * 2**30
    if not asked and not begun:
        _note_memory(like, offsets, config)
        return False
    if out is None:
        raise ConfigError("work in blocks without an output", "--out", "give the name of a .zarr to write")
    method = config.task if config.task != "neurons" else f"{config.segment.method}, {config.segment.fragments.method}"
    begun_otherwise = f"give another --out: '{folder_of(out)}' holds work in blocks of another kind"
    raise ConfigError(
        f"{method} in blocks",
        "agglomeration of fragments by ascent, or another task whose decoding has a way in blocks",
        "leave out --block, --workers, --dask and --shard: its answer at a voxel depends on all of the volume"
        if asked
        else begun_otherwise,
    )


def decoder_of(like: Volume, offsets: Offsets, config: Config) -> Decoder | None:
    """How the task of the settings is decoded in blocks, if it can be."""
    return task_named(config.task).blocks(offsets, like.voxel_size, config)


def from_prediction(
    source: Volume, offsets: Offsets, config: Config, out: str | os.PathLike[str]
) -> tuple[Job, dict[str, Any]]:
    """The job of segmenting affinities or another prediction, and what decides its result.

    Raises
    ------
    InputError
        If it has not the channels or the type that its task asks for.
    """
    return _job(source, offsets, config, out, {"source": identity(source)}, None)


def from_run(
    run: Run, image: Volume, config: Config, words: Sequence[str], out: str | os.PathLike[str]
) -> tuple[Job, dict[str, Any]]:
    """The job of predicting with a run and segmenting what it says, and what decides its result."""
    from neuropil.training.checkpoint import WEIGHTS

    task = task_named(run.task)
    settings = config.model_dump(mode="json", exclude={"jobs", "objects", task.group})
    plan: dict[str, Any] = {"source": identity(image), "weights": digest_of(run.path / WEIGHTS), "settings": settings}
    plan["threads"] = config.jobs.threads
    steps = tuple(channel.step for channel in run.channels)
    predict = FromRun(str(run.path), image, tuple(words), steps, task.kind, stored_attrs(run, config))
    return _job(image, run.offsets, config, out, plan, predict)


def from_graph(
    begun: str | os.PathLike[str], words: Sequence[str], out: str | os.PathLike[str]
) -> tuple[Job, dict[str, Any], Config]:
    """The job of cutting the graph of another segmentation at another threshold.

    Raises
    ------
    VolumeError
        If there is no such segmentation.
    IncompleteError
        If it has no graph yet.
    ConfigError
        If more than the cut would change.
    """
    from neuropil.io.zarr import open_level

    folder = folder_of(begun)
    known = read_plan(folder)
    if known is None or "block" not in known["what"]:
        raise VolumeError(f"'{folder}' holds no graph", "the folder beside a segmentation that was made in blocks")
    if not (folder / "done/graph/0.json").exists():
        raise IncompleteError(f"'{folder}' has no graph yet", "a finished segmentation", "run its command again")
    what = known["what"]
    group = "segment" if "segment" in what else "instances"
    config = _cut_differently(stored_config({"task": what["task"], group: what[group]}), group, words)
    z, y, x = what["block"]
    if config.jobs.block not in (None, (z, y, x)):
        raise ConfigError(f"blocks of {config.jobs.block} for a graph of blocks of {(z, y, x)}", "no --block")
    plan = {"graph": known["key"], group: getattr(config, group).model_dump(mode="json"), **_made(config, out)}
    like = open_level(folder / PIECES)
    decoder = decoder_of(like, as_offsets(what["offsets"]), config)
    assert decoder is not None  # the graph was made by one
    job = Job(Path(out), like, decoder, (z, y, x), key_of(plan), graph_of=folder, objects=config.objects)
    require_cells(job.cells(), config.objects, int(config.jobs.memory_gb * 2**30 / config.jobs.workers))
    return job, {**plan, "block": [z, y, x]}, config


#: What a graph does not depend on, of the settings of each kind of decoding.
_CUT = {"segment": ("threshold", "min_size"), "instances": ("min_size_um3", "components")}


def _cut_differently(before: Config, group: str, words: Sequence[str]) -> Config:
    """The settings of a graph under words that may change its cut, and who makes it."""
    config, was = override(before, words), getattr(before, group)
    cut = getattr(config, group).model_copy(update={key: getattr(was, key) for key in _CUT[group]})
    if config.model_copy(update={group: cut, "jobs": before.jobs, "objects": before.objects}) != before:
        may = ", ".join(f"{group}.{key}" for key in _CUT[group])
        raise ConfigError(f"other settings than those of the graph of {before.task}", f"{may}, objects. and jobs.")
    return config


def _made(config: Config, out: Any) -> dict[str, Any]:
    """What a plan says of the output, where that is more than OME-Zarr labels."""
    said: dict[str, Any] = {"format": "precomputed"} if Path(out).suffix == PRECOMPUTED else {}
    if kinds(config.objects):
        said["objects"] = config.objects.model_dump(mode="json")
    return said


def _note_memory(like: Volume, offsets: Offsets, config: Config) -> None:
    """Say it aloud that more memory will be needed than may be, where there is no way around."""
    need = whole_bytes(like.box, len(offsets) or _CHANNELS) / 2**30
    if need > config.jobs.memory_gb:
        print(
            f"note: this is segmented as a whole and takes about {need:.3g} GiB of memory, more than "
            f"jobs.memory_gb = {config.jobs.memory_gb:.3g}: a part such as 'x.h5:raw[0:100]' takes less",
            file=sys.stderr,
        )


def _job(
    like: Volume, offsets: Offsets, config: Config, out: Any, plan: dict[str, Any], predict: FromRun | None
) -> tuple[Job, dict[str, Any]]:
    decoder, task = decoder_of(like, offsets, config), task_named(config.task)
    assert decoder is not None  # asked before
    if predict is None and task.kind == "prediction":
        require_decodable(decoder, like.shape, like.dtype, f"'{like.name}'")
    block = config.jobs.block or _begun_with(out) or _fitting(like, decoder, config)
    plan |= {
        "task": config.task,
        "offsets": [list(o) for o in offsets],
        task.group: getattr(config, task.group).model_dump(mode="json"),
        "block": list(block),
        "version": versions()["neuropil"],
        **_made(config, out),
    }
    threads = config.jobs.threads
    if threads is None and config.jobs.workers > 1:
        threads = max(1, (os.cpu_count() or 1) // config.jobs.workers)
    key, made = key_of(plan), config.objects
    job = Job(Path(out), like, decoder, block, key, predict, threads=threads, objects=made)
    require_cells(job.cells(), made, int(config.jobs.memory_gb * 2**30 / config.jobs.workers))
    return job, plan


def _begun_with(out: Any) -> Int3 | None:
    """The block that work was begun with: memory and workers may change between two sessions."""
    known = read_plan(folder_of(out))
    if known is None or "block" not in known["what"]:
        return None
    z, y, x = known["what"]["block"]
    return z, y, x


def _fitting(like: Volume, decoder: Decoder, config: Config) -> Int3:
    return fitting_block(like.box, decoder.cut, int(config.jobs.memory_gb * 2**30 / config.jobs.workers))
