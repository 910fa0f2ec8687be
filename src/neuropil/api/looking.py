"""The verbs that look at what there is: info, evaluate, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuropil.affinities import Affinities
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import RunLike, opened, opened_affinities, opened_run
from neuropil.outputs import require_page
from neuropil.volume import VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run


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
        write_page([], report, image=shown, segmentation=predicted, truth=true, scores=found)
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
    return write_page([opened_run(run) for run in runs], out, **shown, affinities=held, scores=scores)


def write_page(runs: Sequence[Run], out: str | os.PathLike[str], **shown: Any) -> Path:
    """Write the page of runs and volumes that are open already."""
    from neuropil.pages import pages
    from neuropil.report import write_report

    require_page(out)
    return write_report(pages(runs, title=Path(out).stem, **shown), Path(out))
