"""The verbs that look at what there is: info, evaluate, report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuropil.affinities import Affinities
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import RunLike, cut_to, opened, opened_prediction, opened_run
from neuropil.outputs import require_page
from neuropil.volume import Volume, VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

#: what `evaluate` can score of two label volumes.
LABEL_TASKS = ("neurons", "mitochondria", "semantic")


def info(volume: VolumeLike, *, voxel_size: Float3 | None = None, units: str | None = None) -> dict[str, Any]:
    """Describe a volume: shape, axes, dtype, voxel size (nm), kind, chunking, value range; for labels, their objects.

    Of a tree (an SWC file): nodes, roots, length, extent, branch points, tips, and what is odd about the file.

    Parameters
    ----------
    volume
        A `Volume`, or where one lies: "file.h5:dataset", "x.zarr", "a.tif", a folder of sections.
    voxel_size
        nm, z, y, x; overrides what the file says.
    units
        Of a tree: "um", "nm" or "voxel", where the file does not say.
    """
    from neuropil.api.trees import is_tree, tree_info
    from neuropil.io.describe import describe

    if is_tree(volume):
        return tree_info(volume, units=units, voxel_size=voxel_size)
    if units is not None:
        raise InputError(f"--units {units} for a volume", "an SWC file", "leave it out; --voxel-size is in nm")
    return describe(opened(volume, voxel_size))


def evaluate(
    pred: VolumeLike,
    truth: VolumeLike | None = None,
    *,
    skeletons: str | os.PathLike[str] | None = None,
    task: str = "neurons",
    ignore_border_nm: float | None = None,
    scores: VolumeLike | None = None,
    convention: str | None = None,
    tolerance: float | None = None,
    units: str | None = None,
    projected: bool | None = None,
    sholl_step: float | None = None,
    voxel_size: Float3 | None = None,
    report: str | os.PathLike[str] | None = None,
    image: VolumeLike | None = None,
) -> dict[str, Any]:
    """Score a segmentation against true labels, true skeletons, or both.

    Parameters
    ----------
    pred, truth
        Label volumes; for trees SWC files, for masks volumes that are 0 outside.
    skeletons
        True skeletons (see `neuropil.io.skeletons`): expected run length, and its share of the best one.
    task
        "neurons": VOI split and merge (bits), adapted Rand error, CREMI score, object counts. "mitochondria" (any
        instances): precision, recall, F1, PQ, accuracy, AP at IoU 0.5 and 0.75. "semantic": Dice and IoU. "trees":
        distances and topology of a traced tree. "morphology": features of one. "masks": overlap and topology.
    ignore_border_nm
        Leave out voxels this near to a truth border, in the section.
    convention
        One of `metrics.partition.CONVENTIONS` (how background counts); of trees, of `metrics.tree.CONVENTIONS`.
    scores
        Of instances: their foreground (a stored prediction), whose mean ranks them for AP; their size when empty.
    tolerance, units, projected, sholl_step
        Of trees: steps from which cable is apart; unit where files state none; no z (None: where the image has none).
        Of morphology: distance of Sholl's spheres, in the table's unit; None for about 20 to the tree's reach.
    report, image
        Also write a page about it, over the image if there is one.
    """
    from neuropil.api.trees import TREE_TASKS, evaluate_task, require_no_tree

    ranks, words = _ranks(scores, task, truth, voxel_size), {"convention": convention, "tolerance": tolerance}
    if task in TREE_TASKS:
        of: dict[str, Any] = {"units": units, "projected": projected, "voxel_size": voxel_size, "image": image}
        return evaluate_task(task, pred, truth, words | {"sholl_step": sholl_step}, **of, report=report)
    if task not in LABEL_TASKS:
        raise ConfigError(f"task '{task}'", "one of " + ", ".join((*LABEL_TASKS, *TREE_TASKS)), "choose one of these")
    require_no_tree(task, pred, truth)
    of_trees = {"--tolerance": tolerance, "--units": units, "--projected": projected, "--sholl-step": sholl_step}
    _require_used(task, of_trees, image, report)
    predicted, true = _compared(pred, truth, voxel_size, task, skeletons=skeletons)
    shown = None if image is None else require_kind(opened(image, voxel_size), "image")
    runs = {} if skeletons is None else _run_length(predicted, skeletons)
    said = {} if true is None else _label_scores(true, predicted, task, ignore_border_nm, convention, ranks)
    found = {"task": task, **said, **runs}
    if report is not None:
        write_page([], report, image=shown, segmentation=predicted, truth=true, scores=found, task=task)
    return found


def _require_used(
    task: str, of_trees: Mapping[str, object], image: object, report: str | os.PathLike[str] | None
) -> None:
    """Refuse what would be ignored, and a report that could not be written."""
    for option, value in of_trees.items():
        if value is not None:
            raise InputError(f"{option} with --task {task}", "--task trees or morphology", "leave it out")
    if image is not None and report is None:
        raise InputError("--image without --report", "both: the image is for the page", "add --report page.html")
    if report is not None:
        require_page(report)


def _run_length(predicted: Volume, skeletons: str | os.PathLike[str]) -> dict[str, Any]:
    from neuropil.io.skeletons import read_skeletons
    from neuropil.metrics.evaluate import evaluate_skeletons

    trees = read_skeletons(skeletons, voxel_size=predicted.voxel_size)
    return evaluate_skeletons(predicted, trees, merge_tolerance_nm=0.0) if trees else {}


def _compared(
    pred: VolumeLike, truth: VolumeLike | None, voxel_size: Float3 | None, task: str, *, skeletons: object
) -> tuple[Volume, Volume | None]:
    if truth is None and skeletons is None:
        raise InputError("nothing to compare with", "a truth, or --skeletons", "name the truth after the segmentation")
    predicted = _labelled(opened(pred, voxel_size), task)
    if truth is None:
        return predicted, None
    true = _labelled(opened(truth, voxel_size), task)
    return cut_to(predicted, true), true


def _labelled(volume: Volume, task: str) -> Volume:
    mask = task == "semantic" and volume.kind == "mask"
    return volume.with_kind("labels") if mask else require_kind(volume, "labels")


def _ranks(scores: VolumeLike | None, task: str, truth: VolumeLike | None, voxel_size: Float3 | None) -> Volume | None:
    """What ranks instances for average precision: the foreground of a prediction, or a volume of one channel."""
    if scores is None:
        return None
    if task != "mitochondria":
        raise InputError(f"--scores with --task {task}", "--task mitochondria", "leave it out: it ranks objects for AP")
    if truth is None:
        raise InputError("--scores without a truth", "true objects to rank predicted ones by", "name the truth as well")
    volume = opened(scores, voxel_size)
    channels = list(volume.attrs.get("channels", ()))
    if volume.axes == "zyx" and volume.kind in ("image", "prediction"):
        return volume
    if "foreground" not in channels:
        raise InputError(
            f"'{volume.name}' as the scores of objects: {volume.kind} with channels {channels}",
            "a prediction with a channel 'foreground', or a volume of one channel",
            "neuropil predict RUN VOLUME --out p.zarr, then --scores p.zarr",
        )
    return volume.channel(channels.index("foreground"))


def _label_scores(
    true: Volume,
    predicted: Volume,
    task: str,
    ignore_border_nm: float | None,
    convention: str | None,
    scores: Volume | None,
) -> dict[str, Any]:
    from neuropil.metrics.detection import evaluate_detection, evaluate_semantic
    from neuropil.metrics.evaluate import evaluate_volumes

    how: dict[str, Any] = {"ignore_border_nm": ignore_border_nm, "block_shape": (128, 512, 512)}
    convention = convention or "neuropil"
    if task == "neurons":
        said = {"convention": convention, "ignore_border_nm": ignore_border_nm or 0}
        return said | evaluate_volumes(true, predicted, convention=convention, **how)
    if convention != "neuropil":
        raise ConfigError(
            f"convention '{convention}' for task '{task}'",
            "none: conventions are for neurons",
            "leave out --convention",
        )
    said = {"ignore_border_nm": ignore_border_nm or 0}
    if task == "semantic":
        return said | evaluate_semantic(true, predicted, **how)
    return said | evaluate_detection(true, predicted, scores=scores, **how)


def report(
    runs: Sequence[RunLike] = (),
    out: str | os.PathLike[str] = "report.html",
    *,
    image: VolumeLike | None = None,
    segmentation: VolumeLike | None = None,
    truth: VolumeLike | None = None,
    affinities: VolumeLike | Affinities | None = None,
    task: str | None = None,
    voxel_size: Float3 | None = None,
) -> Path:
    """Write one self-contained HTML page about runs, and about a segmentation if there is one.

    Parameters
    ----------
    runs
        Run directories, and folders of studies; several are shown side by side.
    image, segmentation, truth, affinities
        Volumes on one grid; the page shows what is given, and scores the segmentation where there is a truth.
    task
        What the segmentation is of, as `evaluate` has it; that of the last run when empty, else neurons.
    """
    require_page(out)
    studies = [folder for folder in map(_study, runs) if folder is not None]
    trained = [opened_run(run) for run in runs if _study(run) is None]
    if task not in (None, *LABEL_TASKS):
        raise ConfigError(f"task '{task}' of a report", "one of " + ", ".join(LABEL_TASKS), "choose one of these")
    last = trained[-1].task if trained else "neurons"
    task = task or (last if last in LABEL_TASKS else "neurons")
    shown = None if image is None else require_kind(opened(image, voxel_size), "image")
    pred, true = (None if v is None else _labelled(opened(v, voxel_size), task) for v in (segmentation, truth))
    scores = evaluate(pred, true, task=task) if pred is not None and true is not None else {}
    held, offsets = (None, ()) if affinities is None else opened_prediction(affinities, voxel_size)
    evidence = Affinities(held, offsets) if held is not None and offsets else held
    words: dict[str, Any] = {"image": shown, "segmentation": pred, "truth": true, "studies": studies}
    return write_page(trained, out, **words, affinities=evidence, scores=scores, task=task)


def _study(run: RunLike) -> Path | None:
    """The folder of a study, if this is one."""
    from neuropil.studies.run import is_study

    return Path(run) if isinstance(run, str | os.PathLike) and is_study(Path(run)) else None


def write_page(runs: Sequence[Run], out: str | os.PathLike[str], **shown: Any) -> Path:
    """Write the page of runs and volumes that are open already."""
    from neuropil.pages import pages
    from neuropil.report import write_report

    require_page(out)
    return write_report(pages(runs, title=Path(out).stem, **shown), Path(out))
