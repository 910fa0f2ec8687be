"""What a run, or stored affinities, say about how to predict and how to decode; under whatever the user sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config, SegmentConfig, override, parse_config, stored_config
from neuropil.config.base import Settings
from neuropil.errors import ConfigError, GeometryError
from neuropil.geometry import ALIKE, alike
from neuropil.outputs import new_output, provenance
from neuropil.plan import resolved
from neuropil.progress import Progress
from neuropil.registry import SEGMENTERS
from neuropil.tasks.base import OF_FIRST_WEIGHTS, OF_SETTINGS, task_named
from neuropil.volume import Volume

if TYPE_CHECKING:
    from torch import nn

    from neuropil.data.normalise import Normaliser
    from neuropil.infer.predict import PredictSettings
    from neuropil.training.checkpoint import Run

#: Threshold for affinities that come without a run.
UNCALIBRATED = 0.5
#: Intersection over union below which a foreground is as good as not found.
_USEFUL = 0.1
#: Share of flat zeros from which an image is said to be padded.
_PADDED = 0.05
#: Settings that a run was made with.
_LEARNED = ("recipe", "task", "data", "model", "train", "pretrain", "inflate", "organelles", "trees")


@dataclass(frozen=True)
class Prediction:
    """Everything that predicting a volume with a run needs, checked."""

    config: Config
    model: nn.Module
    normaliser: Normaliser
    settings: PredictSettings
    attrs: dict[str, Any]


def prediction(run: Run, image: Volume, words: Sequence[str]) -> Prediction:
    """Prepare to predict, and find what is wrong before anything is written.

    Raises
    ------
    GeometryError
        If the voxel size is not the run's.
    ConfigError
        If the settings concern training.
    """
    from neuropil.data.normalise import fit_normaliser
    from neuropil.infer.predict import volume_plan
    from neuropil.infer.settings import predict_settings

    if not alike(image.voxel_size, run.voxel_size):
        raise GeometryError(
            f"'{image.name}' with voxel size {image.voxel_size} nm for a run trained at {run.voxel_size} nm",
            f"a voxel size within {ALIKE:.0%} of the run's",
            "resample the volume, train at its voxel size, or give --voxel-size if the metadata is wrong",
        )
    stride = run.stride
    config = resolved(decoding(run.config, run.calibration, words), run.voxel_size, stride)
    settings = predict_settings(config, stride)
    volume_plan(image, settings)
    attrs = stored_attrs(run, config)
    return Prediction(config, run.load_model(settings.device), fit_normaliser(image, config.data), settings, attrs)


def stored_attrs(run: Run, config: Config) -> dict[str, Any]:
    """What a stored prediction carries: how to decode it, and what its channels are."""
    group = task_named(run.task).group
    attrs: dict[str, Any] = {group: getattr(config, group).model_dump(mode="json")}
    if run.offsets:
        return {**attrs, "offsets": [list(o) for o in run.offsets]}
    return {**attrs, "task": run.task, "channels": [channel.name for channel in run.channels]}


def decoding(config: Config, calibration: Mapping[str, Any], words: Sequence[str]) -> Config:
    """A run's settings with its calibrated decoding, under what the user sets.

    Raises
    ------
    ConfigError
        If the user sets what only training can change, or what this task does not ask for.
    """
    known = {k: v for k, v in calibration.items() if v not in (None, [])}
    base = override(config, ())
    values = base.model_dump(mode="json")
    decoded_by = task_named(config.task).group
    values[decoded_by] |= known
    calibrated = parse_config(values)
    chosen = override(calibrated, words)
    _require_unset(chosen, calibrated, ("jobs", "objects", "predict", decoded_by), f"a trained run of {config.task}")
    return chosen


def _require_unset(chosen: Config, given: Config, free: Sequence[str], source: str) -> None:
    """Refuse settings that would change nothing: outside the groups that are `free`, they stay as `given`."""
    for group in Config.model_fields:
        if group in free or getattr(chosen, group) == getattr(given, group):
            continue
        where = f"under '{group}.'" if isinstance(getattr(given, group), Settings) else f"'{group}'"
        raise ConfigError(
            f"{'--threshold, or ' if group == 'segment' else ''}--set with a key {where} for {source}",
            f"keys under {'., '.join(free[:-1])}. or {free[-1]}.",
            "what was learned cannot be changed afterwards; train again with it"
            if group in _LEARNED
            else "it would change nothing here: leave it out",
        )


def stored_decoding(affinities: Volume, words: Sequence[str], *, predicted_now: bool = False) -> Config:
    """How to decode a stored prediction: as its run calibrated, or by defaults, said aloud for affinities without one.

    Parameters
    ----------
    predicted_now
        Whether the same words said how to predict.

    Raises
    ------
    ConfigError
        If the user names another task than that of the prediction, or sets what does not concern its decoding.
    """
    values: dict[str, Any] = Config().model_dump(mode="json")
    values["task"] = str(affinities.attrs.get("task", values["task"]))
    group = task_named(values["task"]).group
    stored = affinities.attrs.get(group)
    if isinstance(stored, Mapping):
        values[group] = dict(stored)
    before = stored_config(values)
    config = override(before, words)
    if config.task != values["task"]:
        raise ConfigError(
            f"--set task={config.task} for a prediction of {values['task']}",
            "the task it was made for",
            "leave task out, or predict with a run of that task",
        )
    free = ("jobs", "objects", *(("predict",) if predicted_now else ()), group)
    _require_unset(config, before, free, f"a stored prediction of {config.task}")
    return thresholded(config, affinities.name)


def thresholded(config: Config, name: str) -> Config:
    """The same, with a threshold, said aloud, where agglomeration has none."""
    if task_named(config.task).group != "segment":
        return config
    if config.segment.threshold is not None or config.segment.method != "agglomerate":
        return config
    _note(f"'{name}' come without a calibrated threshold; using {UNCALIBRATED} (--set segment.threshold=...)")
    return override(config, [f"segment.threshold={UNCALIBRATED}"])


def decoder(config: SegmentConfig) -> Callable[..., Any]:
    """The segmenter that a configuration names."""
    found: Callable[..., Any] = SEGMENTERS.resolve(config.method)
    return found


def note_collapse(objects: int, config: SegmentConfig) -> None:
    """Say it aloud when a segmentation came out as one object, or as none."""
    if objects > 1:
        return
    found = "one object: everything was joined" if objects else "no object: everything was taken for background"
    tried = "" if config.threshold is None else f" at threshold {config.threshold:g}"
    fix = "train longer, or see the affinities"
    if objects and config.threshold is not None:
        fix += "; a higher --set segment.threshold joins less"
    _note(f"the segmentation{tried} is {found} ({fix})")


def note_nothing(config: Config) -> None:
    """Say it aloud that a prediction holds no object."""
    _note(
        f"the segmentation holds no object (foreground at least {config.instances.foreground:g}): train longer, lower "
        "--set instances.foreground, or see the prediction"
    )


def note_unlearned(run: Run) -> None:
    """Say it aloud when what a run finds of the foreground that was held back hardly overlaps the truth."""
    best = run.card.get("best", {})
    overlap = best.get("iou")
    if overlap is None or overlap >= _USEFUL:
        return
    _note(
        f"of the foreground that was held back the run finds next to nothing (IoU {overlap:.3f}): train longer, or see "
        "whether image and labels lie on each other"
    )


def note_padding(image: Volume, task: str) -> None:
    """Say it aloud when a good part of an image is black padding: no membrane tells it from the tissue beside it."""
    from neuropil.data.normalise import padded_share

    if task == "trees":  # a background of zeros is what light microscopy has
        return
    share = padded_share(image)
    if share >= _PADDED:
        _note(
            f"about {share:.0%} of '{image.name}' is padding (flat zeros), through which objects that touch it may be "
            "joined, and grey values are judged with it: better name the part with tissue, as in x.zarr[8:40,0:512]"
        )


def note_edge(run: Run) -> None:
    """Say it aloud when the calibrated threshold of a run is the first or the last of those that were tried."""
    from neuropil.tasks.neurons import THRESHOLDS

    best = run.card.get("best", {})
    threshold = best.get("threshold")
    if (
        best.get("decoding") in (OF_SETTINGS, OF_FIRST_WEIGHTS)
        or threshold is None
        or THRESHOLDS[0] < threshold < THRESHOLDS[-1]
    ):
        return
    _note(
        f"the calibrated threshold {threshold:g} is at the edge of those that were tried ({THRESHOLDS[0]:g} to "
        f"{THRESHOLDS[-1]:g}): affinities do not tell objects apart yet, or there are too few in what is held back "
        "(train longer; data.validation)"
    )


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def predicted(job: Prediction, image: Volume, run: Run, out: Volume | None) -> Any:
    """Predict a volume as prepared, into `out` or in memory, and show how far it is."""
    from neuropil.infer.predict import predict_volume

    with Progress("predict", None, unit="tile") as progress:
        return predict_volume(
            job.model,
            image,
            offsets=[channel.step for channel in run.channels],
            normalise=job.normaliser,
            settings=job.settings,
            out=out,
            progress=progress,
        )


def new_affinities(
    out: str | os.PathLike[str], job: Prediction, image: Volume, run: Run, *, overwrite: bool
) -> AbstractContextManager[Volume]:
    """Affinities, or another prediction, to be written; they carry the decoding that their run calibrated."""
    return new_output(
        out,
        (len(run.channels), *image.box.shape),
        np.dtype(np.uint8),
        image,
        kind=task_named(run.task).kind,
        attrs={**job.attrs, "provenance": provenance(job.config, image, run)},
        overwrite=overwrite,
        shard=job.config.predict.block,
    )
