"""The verbs: what the command line does, as functions of the same names and words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.affinities import Affinities
from neuropil.decoding import (
    decoder,
    decoding,
    new_affinities,
    note_collapse,
    note_edge,
    predicted,
    prediction,
    stored_decoding,
)
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import (
    RunLike,
    opened,
    opened_affinities,
    opened_run,
    raw_volumes,
    said_length,
    seconds,
    settled,
    several,
    training_pairs,
)
from neuropil.outputs import Stopwatch, provenance, require_free, require_page, write_labels
from neuropil.volume import Volume, VolumeLike, open_volume, require_kind

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

__all__ = ["bench", "demo", "doctor", "evaluate", "info", "predict", "pretrain", "report", "segment", "train"]


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

    return describe(opened(volume, voxel_size))


def pretrain(
    image: VolumeLike | Sequence[VolumeLike],
    out: str | os.PathLike[str],
    *,
    recipe: str = "mae",
    budget: float | str | None = None,
    steps: int | None = None,
    probe_image: VolumeLike | Sequence[VolumeLike] = (),
    probe_labels: VolumeLike | Sequence[VolumeLike] = (),
    set: Sequence[str] = (),
    resume: bool = False,
    voxel_size: Float3 | None = None,
) -> Run:
    """Learn an encoder from volumes without labels, for `train(..., init=run)`.

    Parameters
    ----------
    image
        Volumes; one, or several, which may differ in voxel size.
    out, budget, steps, set, resume, voxel_size
        As of `train`. With `resume`, `image` may be empty.
    recipe
        "mae", "decision_mim", or a YAML file.
    probe_image, probe_labels
        Small labelled volumes that choose the mask ratio, where `pretrain.mask.adapt_ratio` is set; nothing else is
        learned from them.
    """
    from neuropil.training.pretrain import fit_pretext

    run, config = settled(out, recipe, said_length(set, budget, steps), resume=resume)
    images = raw_volumes(image, voxel_size, resumed=run)
    probe = training_pairs(probe_image, probe_labels, voxel_size, resumed=None) if several(probe_image) else []
    return fit_pretext(images, config, out, probe=probe, resume=resume)


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
        Volumes in pairs; one, or several. With `resume` they may be empty: the run knows its volumes.
    out
        The run directory.
    recipe
        A shipped recipe or a YAML file.
    budget, steps
        How long: wall time (seconds, or text such as "30m"), or optimiser steps; the recipe's by default.
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
    from neuropil.training.fit import fit

    run, config = settled(out, recipe, said_length(set, budget, steps), resume=resume)
    pairs = training_pairs(image, labels, voxel_size, resumed=run)
    trained = fit(pairs, config, out, init=None if init is None else str(init), resume=resume)
    note_edge(trained)
    return trained


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
    trained = opened_run(run)
    image = require_kind(opened(volume, voxel_size), "image")
    if out is not None:
        require_free(out, [image.name, trained.path], overwrite=overwrite)
    job = prediction(trained, image, set)
    if out is not None:
        with new_affinities(out, job, image, trained, overwrite=overwrite) as target:
            predicted(job, image, trained, target)
        return Affinities(open_volume(os.fspath(out)), trained.offsets)
    result = predicted(job, image, trained, None)
    assert isinstance(result, np.ndarray)
    name = f"affinities of {image.name}"
    held = Volume(result, image.voxel_size, image.offset, "czyx", "affinities", attrs=job.attrs, name=name)
    return Affinities(held, trained.offsets)


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
        run, image = opened_run(source), require_kind(opened(volume, voxel_size), "image")
        inputs: list[Any] = [image.name, run.path]
        decoder(decoding(run.config, run.calibration, set).segment)
    else:
        run, image = None, None
        affinities = opened_affinities(source, voxel_size)
        inputs = [affinities.volume.name]
    if out is not None:
        require_free(out, inputs, overwrite=overwrite)
    if run is not None and image is not None:
        affinities = predict(run, image, set=set)
        watch.lap("predict", image.box.size)
    held = affinities.volume
    config = stored_decoding(held, set)
    labels = decoder(config.segment)(held.read(held.box), affinities.offsets, held.voxel_size, config.segment)
    note_collapse(int(labels.max(initial=0)), config.segment)
    watch.lap("segment", held.box.size)
    result = Volume(labels, held.voxel_size, held.offset, "zyx", "labels", attrs={"timings": watch.laps})
    if out is not None:
        origin = provenance(config, held, run)
        result = write_labels(result, out, {"timings": watch.laps, "provenance": origin}, overwrite=overwrite)
    if report is not None:
        _report([run] if run else [], report, image=image, segmentation=result, affinities=affinities)
    return result


def evaluate(
    pred: VolumeLike,
    truth: VolumeLike | None = None,
    *,
    skeletons: str | os.PathLike[str] | None = None,
    task: str = "neurons",
    ignore_border_nm: float | None = None,
    convention: str = "neuropil",
    voxel_size: Float3 | None = None,
    report: str | os.PathLike[str] | None = None,
    image: VolumeLike | None = None,
) -> dict[str, Any]:
    """Score a segmentation against true labels, true skeletons, or both.

    Parameters
    ----------
    pred, truth
        Label volumes.
    skeletons
        A graph of true skeletons (see `neuropil.io.skeletons`): expected run length, and its share of the best one.
    task
        "neurons": VOI split and merge (bits), adapted Rand error, CREMI score, object counts.
    ignore_border_nm
        Leave out voxels this near to a truth border, in the section.
    convention
        How background and unassigned voxels count; one of `neuropil.metrics.partition.CONVENTIONS`.
    report, image
        Also write a page about it, over the image if there is one.
    """
    from neuropil.io.skeletons import read_skeletons
    from neuropil.metrics.evaluate import evaluate_skeletons, evaluate_volumes

    if task != "neurons":
        raise ConfigError(f"task '{task}'", "neurons")
    if truth is None and skeletons is None:
        raise InputError("nothing to compare with", "a truth, or --skeletons")
    predicted = require_kind(opened(pred, voxel_size), "labels")
    true = None if truth is None else require_kind(opened(truth, voxel_size), "labels")
    trees = [] if skeletons is None else read_skeletons(skeletons)
    found: dict[str, Any] = {"task": task}
    if true is not None:
        found |= {"convention": convention, "ignore_border_nm": ignore_border_nm or 0}
        found |= evaluate_volumes(
            true, predicted, ignore_border_nm=ignore_border_nm, convention=convention, block_shape=(128, 512, 512)
        )
    if trees:
        found |= evaluate_skeletons(predicted, trees, merge_tolerance_nm=0.0)
    if report is not None:
        shown = None if image is None else opened(image, voxel_size)
        _report([], report, image=shown, segmentation=predicted, truth=true, scores=found)
    return found


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
        name: None if volume is None else opened(volume, voxel_size)
        for name, volume in (("image", image), ("segmentation", segmentation), ("truth", truth))
    }
    scores = evaluate(shown["segmentation"], shown["truth"]) if shown["segmentation"] and shown["truth"] else {}
    held = None if affinities is None else opened_affinities(affinities, voxel_size)
    return _report([opened_run(run) for run in runs], out, **shown, affinities=held, scores=scores)


def bench(
    study: str, design: str | os.PathLike[str], out: str | os.PathLike[str], *, shard: str | None = None
) -> dict[str, Any]:
    """Run a controlled comparison, or what is missing of it, and write its table and plot.

    Parameters
    ----------
    study
        "label-efficiency": ways of pretraining by shares of labels by seeds.
    design
        A YAML file; see `neuropil.studies.design.Design`.
    out
        Folder of runs and results; what is there is not run again.
    shard
        "i/n": only every n-th training, for several machines that share the folder.
    """
    from neuropil.studies.design import read_design
    from neuropil.studies.run import run_study

    if study != "label-efficiency":
        raise ConfigError(f"study '{study}'", "label-efficiency")
    verbs: Any = {"pretrain": pretrain, "train": train, "segment": segment, "evaluate": evaluate}
    return run_study(read_design(design), out, verbs, shard=shard)


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


def _report(runs: Sequence[Run], out: str | os.PathLike[str], **shown: Any) -> Path:
    from neuropil.pages import pages
    from neuropil.report import write_report

    require_page(out)
    return write_report(pages(runs, title=Path(out).stem, **shown), Path(out))
