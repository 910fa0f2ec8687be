"""The verbs: what the command line does, as functions of the same names and words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from neuropil.affinities import Affinities, as_offsets
from neuropil.config import Config, load_config, override
from neuropil.errors import ConfigError, GeometryError, InputError
from neuropil.geometry import Float3
from neuropil.outputs import finished, new_output, provenance
from neuropil.progress import Progress
from neuropil.registry import SEGMENTERS
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
    image: Sequence[VolumeLike],
    labels: Sequence[VolumeLike],
    out: str | os.PathLike[str],
    *,
    recipe: str = "em_neurons",
    budget: float | None = None,
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
        Volumes in pairs.
    out
        The run directory.
    recipe
        A shipped recipe or a YAML file.
    budget, steps
        How long: seconds of wall time, or optimiser steps; the recipe's steps when neither is given.
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

    if len(image) != len(labels):
        raise InputError(f"{len(image)} images and {len(labels)} label volumes", "as many --labels as --image")
    if budget is not None and steps is not None:
        raise ConfigError("both --budget and --steps", "one of them")
    words = list(set)
    words += [f"train.budget={budget}"] if budget is not None else []
    words += [f"train.steps={steps}"] if steps is not None else []
    config = override(Run.open(out).config, words) if resume else load_config(recipe, words)
    pairs = [_training_pair(i, t, voxel_size) for i, t in zip(image, labels, strict=True)]
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
        OME-Zarr to write; in memory when empty.

    Returns
    -------
    Affinities
        uint8, 255 = surely one object, with their offsets.
    """
    from neuropil.infer.predict import predict_volume, volume_plan
    from neuropil.infer.settings import predict_settings
    from neuropil.models import network_stride

    opened = _run(run)
    config = override(opened.config, set)
    image = require_kind(_opened(volume, voxel_size), "image")
    _check_voxel_size(opened, image)
    normaliser = _fit_normaliser(image, config)
    settings = predict_settings(config, network_stride(config.model, opened.voxel_size))
    volume_plan(image, settings)  # what is wrong with the settings is said before an old output is replaced
    model = opened.load_model(settings.device)
    target = None
    if out is not None:
        target = new_output(
            out,
            (len(opened.offsets), *image.box.shape),
            np.dtype(np.uint8),
            image,
            kind="affinities",
            attrs={"offsets": [list(o) for o in opened.offsets], "provenance": provenance(config, image, opened)},
            overwrite=overwrite,
            shard=config.predict.block,
        )
    with Progress("predict", None, unit="tile") as progress:
        result = predict_volume(
            model, image, offsets=opened.offsets, normalise=normaliser, settings=settings, out=target, progress=progress
        )
    if out is not None and isinstance(result, Volume):
        return Affinities(finished(result, out), opened.offsets)
    assert isinstance(result, np.ndarray)
    array = Volume(result, image.voxel_size, image.offset, "czyx", "affinities", name="prediction")
    return Affinities(array, opened.offsets)


def segment(
    source: RunLike | VolumeLike | Affinities,
    volume: VolumeLike | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    voxel_size: Float3 | None = None,
    set: Sequence[str] = (),
    overwrite: bool = False,
) -> Volume:
    """Segment a volume into neurons: `segment(run, volume)` predicts first, `segment(affinities)` does not.

    Parameters
    ----------
    source
        A run directory, or affinities (a volume with `offsets`).
    volume
        The image, when `source` is a run.
    out
        OME-Zarr to write, with a pyramid; in memory when empty.

    Returns
    -------
    Volume
        uint64 labels, 0 = background, ids 1..n in order of first voxel.
    """
    opened: Run | None = None
    if volume is not None:
        opened = _run(source)  # type: ignore[arg-type]
        config = _calibrated(override(opened.config, ()), opened, set)
        affinities = predict(opened, volume, voxel_size=voxel_size, set=set)
    else:
        config = override(Config(), set)
        affinities = _affinities(source, voxel_size)
    segmenter = SEGMENTERS.resolve(config.segment.method)
    held = affinities.volume
    labels = segmenter(held.read(held.box), affinities.offsets, held.voxel_size, config.segment)
    result = Volume(labels, held.voxel_size, held.offset, "zyx", "labels", name="segmentation")
    if out is None:
        return result
    origin = provenance(config, held, opened)
    target = new_output(
        out, labels.shape, labels.dtype, held, kind="labels", attrs={"provenance": origin}, overwrite=overwrite
    )
    for block in target.blocks():
        target.write(block.write, result.read(block.write))
    return finished(target, out)


def evaluate(
    pred: VolumeLike,
    truth: VolumeLike,
    *,
    task: str = "neurons",
    ignore_border_nm: float | None = None,
    convention: str = "neuropil",
    voxel_size: Float3 | None = None,
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
    """
    from neuropil.metrics.evaluate import evaluate_volumes

    if task != "neurons":
        raise ConfigError(f"task '{task}'", "neurons")
    predicted = require_kind(_opened(pred, voxel_size), "labels")
    true = require_kind(_opened(truth, voxel_size), "labels")
    found = evaluate_volumes(
        true, predicted, ignore_border_nm=ignore_border_nm, convention=convention, block_shape=(128, 512, 512)
    )
    return {"task": task, "convention": convention, "ignore_border_nm": ignore_border_nm or 0, **found}


def report(
    runs: Sequence[RunLike] = (),
    out: str | os.PathLike[str] = "report.html",
    *,
    image: VolumeLike | None = None,
    segmentation: VolumeLike | None = None,
    truth: VolumeLike | None = None,
    affinities: VolumeLike | None = None,
    voxel_size: Float3 | None = None,
    timings: dict[str, Any] | None = None,
) -> Path:
    """Write one self-contained HTML page about runs, and about a segmentation if there is one.

    Parameters
    ----------
    runs
        Run directories; several are shown side by side.
    image, segmentation, truth, affinities
        Volumes on one grid; the page shows what is given.
    """
    from neuropil.pages import run_page
    from neuropil.report import ReportData, write_report

    pages = [run_page(_run(run)) for run in runs]
    shown = {
        "image": None if image is None else _opened(image, voxel_size),
        "segmentation": None if segmentation is None else _opened(segmentation, voxel_size),
        "truth": None if truth is None else _opened(truth, voxel_size),
    }
    if affinities is not None:
        opened = _affinities(affinities, voxel_size)
        shown["affinities"] = opened.volume
    if any(v is not None for v in shown.values()) or timings:
        scores = {}
        if segmentation is not None and truth is not None:
            found = evaluate(segmentation, truth, voxel_size=voxel_size)
            scores = {k: v for k, v in found.items() if isinstance(v, int | float)}
        last = pages.pop() if pages else ReportData(title=Path(out).stem)
        offsets = opened.offsets if affinities is not None else ()
        pages.append(replace(last, **shown, offsets=offsets, scores=scores, timings=timings or {}))  # type: ignore[arg-type]
    if not pages:
        raise InputError("nothing to report", "a run directory, or --segmentation with --image")
    return write_report(pages, Path(out))


def doctor() -> dict[str, Any]:
    """Say what this installation has: versions, devices, memory, optional parts, and how to get what is missing."""
    from neuropil.doctor import examine

    return examine()


def demo(out: str | os.PathLike[str] = "demo", *, budget: float = 270.0, seed: int = 0) -> dict[str, Any]:
    """The main job on a phantom: make tissue, train, segment an unseen volume, score it, and write a report.

    Parameters
    ----------
    out
        A new folder.
    budget
        Seconds of training.

    Returns
    -------
    dict
        The scores, and "report": where the page lies.
    """
    from neuropil.demo import run_demo

    return run_demo(Path(out), budget=budget, seed=seed)


def _opened(volume: VolumeLike, voxel_size: Float3 | None) -> Volume:
    if isinstance(volume, Volume):
        return volume
    return open_volume(os.fspath(volume), voxel_size=voxel_size)


def _run(run: Any) -> Run:
    from neuropil.training.checkpoint import Run

    return run if isinstance(run, Run) else Run.open(run)


def _training_pair(image: VolumeLike, labels: VolumeLike, voxel_size: Float3 | None) -> tuple[Volume, Volume]:
    """Open an image and its labels, and check that they are what they are called."""
    pixels = require_kind(_opened(image, voxel_size), "image")
    ids = require_kind(_opened(labels, voxel_size), "labels")
    require_same_grid(pixels, ids)
    return pixels, ids


def _check_voxel_size(run: Run, image: Volume) -> None:
    if any(abs(a / b - 1) > 0.25 for a, b in zip(image.voxel_size, run.voxel_size, strict=True)):
        raise GeometryError(
            f"'{image.name}' with voxel size {image.voxel_size} nm for a run trained at {run.voxel_size} nm",
            "a voxel size within 25 % of the run's",
            "resample the volume, train at its voxel size, or give --voxel-size if the metadata is wrong",
        )


def _fit_normaliser(image: Volume, config: Config) -> Any:
    from neuropil.data.normalise import fit_normaliser

    return fit_normaliser(image, config.data)


def _calibrated(config: Config, run: Run, words: Sequence[str]) -> Config:
    """The run's decoding, under whatever the user sets."""
    found = run.card.get("calibration") or {}
    known = {k: v for k, v in found.items() if v not in (None, [])}
    segment_config = config.segment.model_copy(update={k: tuple(v) if k == "bias" else v for k, v in known.items()})
    return override(config.model_copy(update={"segment": segment_config}), words)


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
