"""The verbs: what the command line does, as functions of the same names and words."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from neuropil.affinities import Affinities, as_offsets
from neuropil.config import load_config, override
from neuropil.decoding import Prediction, decoder, decoding, prediction, stored_decoding
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.outputs import Stopwatch, finished, new_output, provenance, require_free, require_page
from neuropil.progress import Progress
from neuropil.volume import Volume, open_volume, require_kind, require_same_grid

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

VolumeLike: TypeAlias = Volume | str | os.PathLike[str]
RunLike: TypeAlias = "Run | str | os.PathLike[str]"

__all__ = ["demo", "doctor", "evaluate", "info", "predict", "report", "segment", "train"]


def info(volume: VolumeLike, *, voxel_size: Float3 | None = None) -> dict[str, Any]:
    """Describe a volume: shape, axes, dtype, voxel size (nm), kind, chunking, value range; for labels, their objects.

    Parameters
    ----------
    volume
        A `Volume`, or where one lies: "file.h5:dataset", "x.zarr", "a.tif", a folder of sections.
    voxel_size
        nm, z, y, x; overrides what the file says.
    """
    from neuropil.io.describe import describe

    return describe(_opened(volume, voxel_size))


def train(
    image: VolumeLike | Sequence[VolumeLike],
    labels: VolumeLike | Sequence[VolumeLike],
    out: str | os.PathLike[str],
    *,
    recipe: str = "em_neurons",
    budget: float | str | None = None,
    steps: int | None = None,
    init: str | os.PathLike[str] | None = None,
    set: Sequence[str] = (),
    resume: bool = False,
    voxel_size: Float3 | None = None,
) -> Run:
    """Train a network on labelled volumes and calibrate its decoding on what is held back of them.

    Parameters
    ----------
    image, labels
        Volumes in pairs; one, or several.
    out
        The run directory.
    recipe
        A shipped recipe or a YAML file.
    budget, steps
        How long: wall time (seconds, or text such as "30m"), or optimiser steps; the recipe's steps by default.
    init
        First weights: a run directory or a .safetensors file.
    set
        Settings as "a.b=value".
    resume
        Go on with the run in `out`, on the very same trajectory; settings are read from it.
    voxel_size
        nm, z, y, x; overrides what the files say.

    Raises
    ------
    NeuropilError
        If volumes or settings cannot be used.
    """
    from neuropil.training.checkpoint import Run
    from neuropil.training.fit import fit

    images, truths = _several(image), _several(labels)
    if len(images) != len(truths):
        raise InputError(f"{len(images)} images and {len(truths)} label volumes", "as many --labels as --image")
    if budget is not None and steps is not None:
        raise ConfigError("both --budget and --steps", "one of them")
    words = list(set)
    words += [f"train.budget={seconds(budget)}"] if budget is not None else []
    words += [f"train.steps={steps}"] if steps is not None else []
    config = override(Run.open(out).config, words) if resume else load_config(recipe, words)
    pairs = [_training_pair(i, t, voxel_size) for i, t in zip(images, truths, strict=True)]
    return fit(pairs, config, out, init=None if init is None else str(init), resume=resume)


def predict(
    run: RunLike,
    volume: VolumeLike,
    out: str | os.PathLike[str] | None = None,
    *,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
) -> Affinities:
    """Predict the affinities of a volume, tile by tile in bounded memory.

    Parameters
    ----------
    run
        A run directory.
    volume
        The image.
    out
        OME-Zarr to write; in memory when empty. It carries the run's calibrated decoding, for `segment`.
    set
        Settings under `predict.` and `segment.`; all others belong to training.

    Returns
    -------
    Affinities
        uint8, 255 = surely one object, with their offsets.
    """
    from neuropil.infer.predict import predict_volume

    opened = _run(run)
    image = require_kind(_opened(volume, voxel_size), "image")
    if out is not None:
        require_free(out, [image.name, opened.path], overwrite=overwrite)
    job = prediction(opened, image, set)
    target = None if out is None else _new_affinities(out, job, image, opened, overwrite=overwrite)
    with Progress("predict", None, unit="tile") as progress:
        result = predict_volume(
            job.model,
            image,
            offsets=opened.offsets,
            normalise=job.normaliser,
            settings=job.settings,
            out=target,
            progress=progress,
        )
    if out is not None and isinstance(result, Volume):
        return Affinities(finished(result, out), opened.offsets)
    assert isinstance(result, np.ndarray)
    held = Volume(
        result,
        image.voxel_size,
        image.offset,
        "czyx",
        "affinities",
        attrs=job.attrs,
        name=f"affinities of {image.name}",
    )
    return Affinities(held, opened.offsets)


def segment(
    source: RunLike | VolumeLike | Affinities,
    volume: VolumeLike | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
    report: str | os.PathLike[str] | None = None,
) -> Volume:
    """Segment a volume into neurons: `segment(run, volume)` predicts first, `segment(affinities)` does not.

    Both give the same labels: affinities carry the decoding that their run calibrated.

    Parameters
    ----------
    source
        A run directory, or affinities (a volume with `offsets`).
    volume
        The image, when `source` is a run.
    out
        OME-Zarr to write, with a pyramid; in memory when empty.
    set
        Settings, for example "segment.threshold=0.4".
    report
        Also write a page about it.

    Returns
    -------
    Volume
        uint64 labels, 0 = background, ids 1..n in order of first voxel.
    """
    watch = Stopwatch()
    if volume is not None:
        opened = _run(source)  # type: ignore[arg-type]
        image = require_kind(_opened(volume, voxel_size), "image")
        inputs: list[Any] = [image.name, opened.path]
        decoder(decoding(opened.config, opened.calibration, set).segment)
    else:
        opened, image = None, None
        given = _affinities(source, voxel_size)
        inputs = [given.volume.name]
    if out is not None:
        require_free(out, inputs, overwrite=overwrite)
    if opened is not None and image is not None:
        given = predict(opened, image, set=set)
        watch.lap("predict", image.box.size)
    held = given.volume
    config = stored_decoding(held, set)
    labels = decoder(config.segment)(held.read(held.box), given.offsets, held.voxel_size, config.segment)
    watch.lap("segment", held.box.size)
    result = Volume(labels, held.voxel_size, held.offset, "zyx", "labels", attrs={"timings": watch.laps})
    if out is not None:
        origin = provenance(config, held, opened)
        result = _written(result, out, {"timings": watch.laps, "provenance": origin}, overwrite=overwrite)
    if report is not None:
        _report([opened] if opened else [], report, image=image, segmentation=result, affinities=given)
    return result


def evaluate(
    pred: VolumeLike,
    truth: VolumeLike,
    *,
    task: str = "neurons",
    ignore_border_nm: float | None = None,
    convention: str = "neuropil",
    voxel_size: Float3 | None = None,
    report: str | os.PathLike[str] | None = None,
    image: VolumeLike | None = None,
) -> dict[str, Any]:
    """Score a segmentation against the truth.

    Parameters
    ----------
    pred, truth
        Label volumes.
    task
        "neurons": VOI split and merge (bits), adapted Rand error, CREMI score, object counts.
    ignore_border_nm
        Leave out voxels this near to a truth border, in the section.
    convention
        How background and unassigned voxels count; one of `neuropil.metrics.partition.CONVENTIONS`.
    report, image
        Also write a page about it, over the image if there is one.
    """
    from neuropil.metrics.evaluate import evaluate_volumes

    if task != "neurons":
        raise ConfigError(f"task '{task}'", "neurons")
    predicted = require_kind(_opened(pred, voxel_size), "labels")
    true = require_kind(_opened(truth, voxel_size), "labels")
    found = evaluate_volumes(
        true, predicted, ignore_border_nm=ignore_border_nm, convention=convention, block_shape=(128, 512, 512)
    )
    if report is not None:
        shown = None if image is None else _opened(image, voxel_size)
        _report([], report, image=shown, segmentation=predicted, truth=true, scores=found)
    return {"task": task, "convention": convention, "ignore_border_nm": ignore_border_nm or 0, **found}


def report(
    runs: Sequence[RunLike] = (),
    out: str | os.PathLike[str] = "report.html",
    *,
    image: VolumeLike | None = None,
    segmentation: VolumeLike | None = None,
    truth: VolumeLike | None = None,
    affinities: VolumeLike | Affinities | None = None,
    voxel_size: Float3 | None = None,
) -> Path:
    """Write one self-contained HTML page about runs, and about a segmentation if there is one.

    Parameters
    ----------
    runs
        Run directories; several are shown side by side.
    image, segmentation, truth, affinities
        Volumes on one grid; the page shows what is given, and scores the segmentation where there is a truth.
    """
    shown = {
        name: None if given is None else _opened(given, voxel_size)
        for name, given in (("image", image), ("segmentation", segmentation), ("truth", truth))
    }
    scores = evaluate(shown["segmentation"], shown["truth"]) if shown["segmentation"] and shown["truth"] else {}
    held = None if affinities is None else _affinities(affinities, voxel_size)
    return _report([_run(run) for run in runs], out, **shown, affinities=held, scores=scores)


def doctor() -> dict[str, Any]:
    """Say what this installation has: versions, devices, memory, optional parts, and how to get what is missing."""
    from neuropil.doctor import examine

    return examine()


def demo(out: str | os.PathLike[str] = "demo", *, budget: float | str = 270.0, seed: int = 0) -> dict[str, Any]:
    """The main job on a phantom: make tissue, train, segment an unseen volume, score it, and write a report.

    Parameters
    ----------
    out
        A new folder.
    budget
        Training time, in seconds or as "4m".

    Returns
    -------
    dict
        The scores, and "report": where the page lies.
    """
    from neuropil.demo import run_demo

    return run_demo(Path(out), budget=seconds(budget), seed=seed)


def seconds(budget: float | str) -> float:
    """A time in seconds from a number, or from text such as "30m", "2h" or "90s"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", str(budget).strip())
    if not found or float(found[1]) == 0:
        raise InputError(f"a budget of '{budget}'", "a time such as 30m, 2h or 90s")
    return float(found[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[found[2]]


def _new_affinities(
    out: str | os.PathLike[str], job: Prediction, image: Volume, run: Run, *, overwrite: bool
) -> Volume:
    return new_output(
        out,
        (len(run.offsets), *image.box.shape),
        np.dtype(np.uint8),
        image,
        kind="affinities",
        attrs={**job.attrs, "provenance": provenance(job.config, image, run)},
        overwrite=overwrite,
        shard=job.config.predict.block,
    )


def _written(labels: Volume, out: str | os.PathLike[str], attrs: dict[str, Any], *, overwrite: bool) -> Volume:
    target = new_output(out, labels.shape, labels.dtype, labels, kind="labels", attrs=attrs, overwrite=overwrite)
    for block in target.blocks():
        target.write(block.write, labels.read(block.write))
    return finished(target, out)


def _report(runs: Sequence[Run], out: str | os.PathLike[str], **shown: Any) -> Path:
    from neuropil.pages import pages
    from neuropil.report import write_report

    require_page(out)
    return write_report(pages(runs, title=Path(out).stem, **shown), Path(out))


def _opened(volume: VolumeLike, voxel_size: Float3 | None) -> Volume:
    if not isinstance(volume, Volume):
        return open_volume(os.fspath(volume), voxel_size=voxel_size)
    if voxel_size is None:
        return volume
    return Volume(
        volume.array, voxel_size, volume.offset, volume.axes, volume.kind, attrs=volume.attrs, name=volume.name
    )


def _run(run: Any) -> Run:
    from neuropil.training.checkpoint import Run

    return run if isinstance(run, Run) else Run.open(run)


def _several(volumes: VolumeLike | Sequence[VolumeLike]) -> list[VolumeLike]:
    return [volumes] if isinstance(volumes, Volume | str | os.PathLike) else list(volumes)


def _training_pair(image: VolumeLike, labels: VolumeLike, voxel_size: Float3 | None) -> tuple[Volume, Volume]:
    """Open an image and its labels, and check that they are what they are called."""
    pixels = require_kind(_opened(image, voxel_size), "image")
    ids = require_kind(_opened(labels, voxel_size), "labels")
    require_same_grid(pixels, ids)
    return pixels, ids


def _affinities(source: Any, voxel_size: Float3 | None) -> Affinities:
    if isinstance(source, Affinities):
        return source
    if not isinstance(source, Volume) and (Path(source) / "run.json").is_file():
        raise InputError(f"'{source}' is a run, and no volume is given", "neuropil segment RUN VOLUME --out seg.zarr")
    opened = require_kind(_opened(source, voxel_size), "affinities")
    if "offsets" not in opened.attrs:
        raise InputError(
            f"affinities '{opened.name}' without offsets",
            "an attribute `offsets`: the z, y, x voxel step of each channel",
            "store it with the array, for example [[-1,0,0],[0,-1,0],[0,0,-1]]",
        )
    return Affinities(opened, as_offsets(opened.attrs["offsets"]))
