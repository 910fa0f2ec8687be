"""The verbs that use runs: predict, segment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuropil.affinities import Affinities
from neuropil.api.looking import write_page
from neuropil.decoding import decoder, decoding, new_affinities, note_collapse, predicted, prediction, stored_decoding
from neuropil.geometry import Float3
from neuropil.inputs import RunLike, opened, opened_affinities, opened_run
from neuropil.outputs import Stopwatch, provenance, require_free, write_labels
from neuropil.volume import Volume, VolumeLike, open_volume, require_kind


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
        write_page([run] if run else [], report, image=image, segmentation=result, affinities=affinities)
    return result
