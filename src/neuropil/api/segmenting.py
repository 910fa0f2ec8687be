"""The verbs that use runs: predict, segment."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuropil.affinities import Affinities, Offsets
from neuropil.api.looking import write_page
from neuropil.config import Config
from neuropil.decoding import (
    decoder,
    decoding,
    new_affinities,
    note_collapse,
    note_nothing,
    note_padding,
    predicted,
    prediction,
    stored_decoding,
    thresholded,
)
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.inputs import RunLike, opened, opened_prediction, opened_predictor, opened_run
from neuropil.outputs import LABELS, Stopwatch, provenance, require_free, require_name, require_page, write_labels
from neuropil.tasks.base import task_named
from neuropil.volume import Volume, VolumeLike, open_volume, require_kind

if TYPE_CHECKING:
    from neuropil.jobs.job import Job
    from neuropil.training.checkpoint import Run


def predict(
    run: RunLike,
    volume: VolumeLike,
    out: str | os.PathLike[str] | None = None,
    *,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
) -> Affinities | Volume:
    """Predict what a run has learned, affinities for instance, of a volume, tile by tile in bounded memory.

    Parameters
    ----------
    run
        A run directory, ``zoo:NAME``, or ``bioimageio:`` and the folder or archive of a bioimage.io model.
    volume
        The image.
    out
        OME-Zarr to write; in memory when empty. It carries the run's calibrated decoding, for `segment`.
    set
        Settings under `predict.`, and `segment.` or `instances.`; all others belong to training.

    Returns
    -------
    Affinities or Volume
        Of neurons, affinities: uint8, 255 = surely one object, with their offsets. Of another task, a volume "czyx" of
        kind "prediction" with the names of its channels (`channels`) and of the task (`task`) among its attributes.
    """
    image = require_kind(opened(volume, voxel_size), "image")
    trained, words = opened_predictor(run, image, set)
    if out is not None:
        require_free(out, [image.name, trained.path], overwrite=overwrite)
    job = prediction(trained, image, words)
    note_padding(image, trained.task)
    if out is not None:
        with new_affinities(out, job, image, trained, overwrite=overwrite) as target:
            predicted(job, image, trained, target)
        return _as_made(open_volume(os.fspath(out)), trained)
    result = predicted(job, image, trained, None)
    assert isinstance(result, np.ndarray)
    kind = task_named(trained.task).kind
    name = f"{kind} of {image.name}"
    return _as_made(Volume(result, image.voxel_size, image.offset, "czyx", kind, attrs=job.attrs, name=name), trained)


def _as_made(predicted: Volume, run: Run) -> Affinities | Volume:
    return Affinities(predicted, run.offsets) if run.offsets else predicted


def segment(
    source: RunLike | VolumeLike | Affinities | None = None,
    volume: VolumeLike | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
    report: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    from_graph: str | os.PathLike[str] | None = None,
    block: Int3 | None = None,
    memory: str | None = None,
    workers: int | None = None,
    dask: str | None = None,
    shard: str | None = None,
    format: Literal["zarr", "precomputed"] | None = None,
    skeletons: bool = False,
    meshes: bool = False,
) -> Volume:
    """Segment a volume into neurons, or whatever a run has learned.

    `segment(run, volume)` predicts first; `segment(affinities)` gives the same labels, as predictions carry their run's
    decoding. Large volumes are worked in blocks, with the same labels, bit for bit; asked again, it goes on.

    Parameters
    ----------
    source, volume
        A run directory and the image; or what `predict` made: affinities (a volume with `offsets`) or the like.
    out
        x.zarr or x.precomputed (`format` says the same), with a pyramid; in memory when empty. A `report` is a page.
    set, threshold, skeletons, meshes
        Settings, such as "segment.threshold=0.4"; the others are short for that one, and for two of `objects`.
    from_graph
        Instead of a source, a segmentation made in blocks: its graph is cut at another threshold (organelles: size).
    block, memory, workers, dask, shard
        Short for settings of `jobs`: voxels of a block, what all workers may use ("4GB"), and who does the work. A
        shard "i/n" with 0 <= i < n does its share of the tasks.

    Returns
    -------
    Volume
        uint64 labels, 0 = background, ids 1..n in order of first voxel.
    """
    from neuropil.jobs.begin import said

    made = [name for name, asked in (("skeletons", skeletons), ("meshes", meshes)) if asked]
    words = [*set, *said(threshold=threshold, block=block, memory=memory, workers=workers, dask=dask, objects=made)]
    _require_format(out, format)
    if report is not None:
        require_page(report)
    seen: dict[str, Any] = {}
    if from_graph is not None:
        result = _cut_again(from_graph, source, out, words, shard=shard, overwrite=overwrite)
    else:
        given = _given(source, volume, voxel_size, words)
        result, seen = _segmented(given, out, words, shard=shard, overwrite=overwrite)
    if report is not None:
        write_page(out=report, segmentation=result, **{"runs": [], **seen})
    return result


def _require_format(out: Any, format: str | None) -> None:
    if format is None or (out is not None and Path(out).suffix == f".{format}" in LABELS):
        return
    name = "labels" if out is None else os.fspath(out)
    better = Path(name).with_suffix(f".{format}" if f".{format}" in LABELS else LABELS[0])
    raise InputError(
        f"--format {format} with --out {out}", "zarr or precomputed, and --out with that ending", f"--out {better}"
    )


@dataclass(frozen=True)
class _Given:
    """What to segment: a run with an image, or a prediction; and how."""

    run: Run | None
    like: Volume
    offsets: Offsets
    config: Config

    @property
    def image(self) -> Volume | None:
        return None if self.run is None else self.like

    @property
    def inputs(self) -> list[Any]:
        return [self.like.name, *([] if self.run is None else [self.run.path])]


def _given(source: Any, volume: VolumeLike | None, voxel_size: Float3 | None, words: Sequence[str]) -> _Given:
    if source is None:
        raise InputError("nothing to segment", "a run and a volume, a prediction, or --from-graph")
    if volume is None:
        held, offsets = opened_prediction(source, voxel_size)
        return _Given(None, held, offsets, stored_decoding(held, words))
    run, image = opened_run(source), require_kind(opened(volume, voxel_size), "image")
    config = decoding(run.config, run.calibration, words)
    decoder(config.segment)
    return _Given(run, image, run.offsets, config)


def _segmented(
    given: _Given, out: Any, words: Sequence[str], *, shard: str | None, overwrite: bool
) -> tuple[Volume, dict[str, Any]]:
    """The labels, made in one go or in blocks, and what a page shows of how they were made."""
    from neuropil.jobs.begin import in_blocks
    from neuropil.jobs.job import folder_of, predicted_name

    jobs = given.config.jobs
    asked = jobs.block is not None or jobs.workers > 1 or jobs.dask is not None or shard is not None
    if not in_blocks(given.like, given.offsets, given.config, out, asked=asked):
        result, shown = _whole(given, out, words, overwrite=overwrite)
    else:
        if given.run is not None:
            note_padding(given.like, given.run.task)
        result = _in_blocks(given, out, words, shard=shard, overwrite=overwrite)
        made = folder_of(out) / predicted_name(task_named(given.config.task).kind)
        shown = given.like if given.run is None else open_volume(made)
    runs = [given.run] if given.run else []
    affinities = Affinities(shown, given.offsets) if given.offsets else shown
    return result, {"runs": runs, "image": given.image, "affinities": affinities}


def _whole(given: _Given, out: Any, words: Sequence[str], *, overwrite: bool) -> tuple[Volume, Volume]:
    """The labels of a volume that fits into memory, and the prediction they were made from."""
    watch, made = Stopwatch(), given.config.objects
    if out is None and (made.skeletons or made.meshes):
        raise InputError("skeletons or meshes without an output", "--out", "give the name of a .zarr to write")
    if out is not None:
        require_free(out, given.inputs, overwrite=overwrite, endings=LABELS)
    held, offsets, config = given.like, given.offsets, given.config
    if given.run is not None:
        held, offsets = opened_prediction(predict(given.run, given.like, set=words), None)
        config = stored_decoding(held, words, predicted_now=True)
        watch.lap("predict", held.box.size)
    labels = task_named(config.task).decode(held.read(held.box), offsets, held.voxel_size, config)
    _note_few(int(labels.max(initial=0)), config)
    watch.lap("segment", held.box.size)
    attrs: dict[str, Any] = {"timings": watch.laps, "objects": int(labels.max(initial=0))}
    result = Volume(labels, held.voxel_size, held.offset, "zyx", "labels", attrs=attrs)
    if out is not None:
        attrs["provenance"] = provenance(config, held, given.run)
        beside = _beside(config, watch)
        if beside is not None:
            del attrs["timings"]  # it says them when all is done
        result = write_labels(result, out, attrs, overwrite=overwrite, beside=beside)
    return result, held


def _beside(config: Config, watch: Stopwatch) -> Callable[[Path], dict[str, Any]] | None:
    """What makes skeletons and meshes beside labels, if they are asked for."""
    if not (config.objects.skeletons or config.objects.meshes):
        return None
    from neuropil.jobs.objects import write_objects

    return lambda place: {"timings": watch.laps | write_objects(place, config.objects)}


def _in_blocks(given: _Given, out: Any, words: Sequence[str], *, shard: str | None, overwrite: bool) -> Volume:
    """The labels of a large volume, made in blocks."""
    from neuropil.jobs.begin import from_prediction, from_run

    require_name(out, given.inputs, LABELS)
    config = thresholded(given.config, given.like.name)
    if given.run is None:
        job, plan = from_prediction(given.like, given.offsets, config, out)
    else:
        job, plan = from_run(given.run, given.like, config, words, out)
    return _done(job, plan, config, provenance(config, given.like, given.run), shard=shard, overwrite=overwrite)


def _cut_again(
    graph: Any, source: Any, out: Any, words: Sequence[str], *, shard: str | None, overwrite: bool
) -> Volume:
    """The labels of a segmentation in blocks at another threshold."""
    if source is not None or out is None:
        raise InputError(
            "--from-graph", "--out, and no other source", "neuropil segment --from-graph OUT --out NEW.zarr"
        )
    from neuropil.jobs.begin import from_graph

    require_name(out, [graph], LABELS)
    job, plan, config = from_graph(graph, words, out)
    return _done(job, plan, config, provenance(config, job.like, None), shard=shard, overwrite=overwrite)


def _done(
    job: Job, plan: dict[str, Any], config: Config, origin: dict[str, Any], *, shard: str | None, overwrite: bool
) -> Volume:
    from neuropil.jobs.run import run_job
    from neuropil.shards import Shard

    part = None if shard is None else Shard.parsed(shard)
    result = run_job(job, plan, config.jobs, shard=part, overwrite=overwrite, attrs={"provenance": origin})
    _note_few(int(result.attrs.get("objects", 0)), config)
    return result


def _note_few(objects: int, config: Config) -> None:
    """Say it aloud where next to nothing was found."""
    if task_named(config.task).group == "segment":
        note_collapse(objects, config.segment)
    elif not objects:
        note_nothing(config)


def status(out: str | os.PathLike[str]) -> dict[str, Any]:
    """How far a segmentation in blocks is.

    Parameters
    ----------
    out
        The output that was asked for, or the folder beside it.

    Returns
    -------
    dict
        `stages`: tasks done, running, failed (with errors) and missing of each; `missing`: those not done, of all;
        `timings`: seconds, voxels a second of a worker and peak memory of each stage, as far as it is;
        `core_hours_per_gigavoxel` and `peak_bytes`: the same of all.
    """
    from neuropil.jobs.run import state_of

    return state_of(out)
