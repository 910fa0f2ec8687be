"""What `evaluate` and `info` do with SWC files."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import opened, opened_in_voxels
from neuropil.lazy import only_section
from neuropil.outputs import require_page
from neuropil.volume import Volume, VolumeLike, require_same_grid

if TYPE_CHECKING:
    from neuropil.config.trees import TreeScoreConfig
    from neuropil.metrics.tree_pair import TreePair

PathLike = str | os.PathLike[str]
#: Steps up to which a tree lies in one plane: what rounding leaves.
_FLAT = 1e-3
#: Trees whose extents along y and x differ by one factor (within the first; the second or more) look like one tree.
_ALIKE, _SCALED = 1.3, 2.0
TREE_TASKS = ("trees", "morphology", "masks")


class Read:
    """A tree as it was read: the skeleton, its unit, and whether the length of that is known.

    What a file states counts; `units` is for files that state none. Where nobody states anything, coordinates are
    voxels, as BigNeuron and Vaa3D have it, and a voxel is a step of unknown length. Where the size of a voxel is known,
    that would be a guess at lengths, which is refused.
    """

    def __init__(self, path: PathLike, units: str | None, voxel_size: Float3 | None) -> None:
        from neuropil.io.swc import UNITS, UnstatedUnit, UnstatedVoxelSize, examine_swc

        self.known, self.assumed = True, False
        try:
            self.skeleton, self.report = examine_swc(path, default_units=units, voxel_size=voxel_size)
        except (UnstatedUnit, UnstatedVoxelSize) as error:
            if voxel_size is not None:
                raise InputError(
                    f"{error.got}, though the size of a voxel is known",
                    "one of " + ", ".join(UNITS),
                    "say --units voxel if its coordinates are voxels, as in Vaa3D and BigNeuron; or --units um, or nm",
                ) from None
            self.known, self.assumed = False, isinstance(error, UnstatedUnit)
            self.skeleton, self.report = examine_swc(path, default_units="voxel", voxel_size=(1.0, 1.0, 1.0))
        _note(self.report.unit_note)

    def told_changes(self) -> list[str]:
        """What was repaired or left out, which is said on stderr too."""
        _note(self.report.change_note)
        return [str(change) for change in self.report.changes]


def is_tree(name: object) -> TypeGuard[PathLike]:
    """Whether a name is that of an SWC file."""
    from neuropil.io.swc import SUFFIXES

    return isinstance(name, str | os.PathLike) and Path(name).suffix.lower() in SUFFIXES


def require_no_tree(task: str, *names: object) -> None:
    """Raise an InputError if one of the names is an SWC file's: the task compares volumes."""
    for name in names:
        if is_tree(name):
            raise InputError(f"'{name}' for task '{task}'", "a label volume", "for trees: --task trees")


def tree_info(path: PathLike, *, units: str | None, voxel_size: Float3 | None) -> dict[str, Any]:
    """Counts and sizes of a tree, in voxels or micrometres, and what is odd about its file."""
    from neuropil.metrics.morphology import summary

    read = Read(path, units, voxel_size)
    step_nm, unit = _step(read, None)
    said = read.report.as_dict()
    return {
        "name": os.fspath(path),
        "kind": "tree",
        "unit": unit,
        "unit_from": "nobody (say --units um, if that is what it is)" if read.assumed else read.report.unit_from,
        **summary(read.skeleton, unit_nm=step_nm),
        "changed": said["changed"],
        "odd": said["odd"],
    }


def evaluate_task(
    task: str,
    pred: VolumeLike,
    truth: VolumeLike | None,
    words: dict[str, Any],
    *,
    units: str | None,
    projected: bool | None,
    voxel_size: Float3 | None,
    image: VolumeLike | None,
    report: PathLike | None,
) -> dict[str, Any]:
    """What `evaluate` does for one of TREE_TASKS.

    Raises
    ------
    InputError
        If something is missing or is no SWC file, or a page is asked for that there is not.
    """
    if task != "masks":
        for name in (pred, *([] if truth is None else [truth])):
            if not is_tree(name):
                raise InputError(
                    f"'{name}' for task '{task}'", "an SWC file (.swc, .eswc)", "for volumes: --task masks, or another"
                )
    for option, value in {"--report": report, "--projected": projected}.items():
        if task != "trees" and value is not None:
            raise InputError(f"{option} for task '{task}'", "task trees", f"leave {option} out")
    sholl_step = words.pop("sholl_step")
    if task != "morphology" and sholl_step is not None:
        raise InputError(f"--sholl-step for task '{task}'", "task morphology", "leave --sholl-step out")
    if task == "morphology":
        if truth is not None:
            raise InputError("two trees for task 'morphology'", "one", "compare trees with --task trees")
        return tree_shape(_path(pred), units=units, voxel_size=voxel_size, sholl_step=sholl_step)
    if truth is None:
        raise InputError(
            f"nothing to compare '{pred}' with", "a truth after it", "neuropil evaluate TEST TRUTH --task " + task
        )
    if task == "masks":
        return evaluate_masks(pred, truth, voxel_size=voxel_size)
    return evaluate_trees(
        _path(pred),
        _path(truth),
        words=words,
        units=units,
        projected=projected,
        voxel_size=voxel_size,
        image=image,
        report=report,
    )


def _path(name: VolumeLike) -> PathLike:
    assert not isinstance(name, Volume)
    return name


def tree_shape(
    path: PathLike, *, units: str | None, voxel_size: Float3 | None, sholl_step: float | None
) -> dict[str, Any]:
    """NeuroM's features of a tree; see `neuropil.metrics.morphology.morphometrics`."""
    from neuropil.config.trees import MorphologyConfig
    from neuropil.metrics.morphology import morphometrics

    if sholl_step is not None and not 0 < sholl_step < math.inf:
        raise InputError(f"Sholl's spheres {sholl_step} apart", "a positive number", "leave it out")
    read = Read(path, units, voxel_size)
    step_nm, unit = _step(read, None)
    return {"task": "morphology", "unit": unit, "changed": read.told_changes()} | morphometrics(
        read.skeleton, unit_nm=step_nm, config=MorphologyConfig(sholl_step=sholl_step)
    )


def evaluate_trees(
    pred: PathLike,
    truth: PathLike,
    *,
    words: dict[str, Any],
    units: str | None,
    projected: bool | None,
    voxel_size: Float3 | None,
    image: VolumeLike | None,
    report: PathLike | None,
) -> dict[str, Any]:
    """Scores of a traced tree; see `neuropil.metrics.tree.tree_scores`.

    Lengths are in steps. A step is the shortest side of a voxel where the voxel size is said (by `voxel_size` or the
    image), else a micrometre where the files state their unit, else a voxel of the files. Of trees in the image plane,
    only the sides in that plane count.

    Parameters
    ----------
    words
        What was said of `convention` and `tolerance`; None is the settings' default.
    projected
        Whether both trees are laid into the image plane first; None lets the image decide.
    """
    from neuropil.metrics.tree import sweep, tree_scores
    from neuropil.metrics.tree_pair import TreePair

    config = _score_config(words)
    if report is not None:
        require_page(report)
    shown, size = (None, voxel_size) if image is None else _shown(image, voxel_size, units)
    traced, true = Read(pred, units, size), Read(truth, units, size)
    if traced.known != true.known:
        raise InputError(
            f"'{pred}' in {traced.report.unit} and '{truth}' in {true.report.unit} of unknown size",
            "trees in one unit",
            "say --units for both, or the size of a voxel with --voxel-size z,y,x",
        )
    if shown is not None and size is None and true.known:
        raise InputError(
            f"'{truth}' in {true.report.unit}, and an image that does not state its voxel size",
            "the size of a voxel",
            "give --voxel-size z,y,x in nm",
        )
    step_nm, unit = _step(true, size)
    if projected is None:
        projected = _in_plane(shown, (traced, true), step_nm)
    if projected:
        step_nm = step_nm if size is None else min(size[1:])
        traced.skeleton, true.skeleton = traced.skeleton.projected(), true.skeleton.projected()
    pair = TreePair(true.skeleton, traced.skeleton, step_nm=step_nm, config=config)
    scores = tree_scores(pair)
    _told_apart(traced, true, scores["f1"], step_nm, unit)
    said: dict[str, Any] = {"task": "trees", "convention": config.convention, "tolerance": config.tolerance}
    said |= {"unit": unit, "step_nm": step_nm if true.known else None, "projected": projected}
    said["changed"] = {"test": traced.told_changes(), "gold": true.told_changes()}
    if report is not None:
        _write_page(report, [traced, true], pair, shown, said, scores)
    return said | scores | {"sweep": sweep(pair)}


def _shown(image: VolumeLike, voxel_size: Float3 | None, units: str | None) -> tuple[Volume, Float3 | None]:
    """The image under two trees, and the size of its voxels, None where that is unknown and the trees are in voxels."""
    shown, known = opened_in_voxels(image, voxel_size, units)
    return shown, shown.voxel_size if known else None


def _score_config(words: dict[str, Any]) -> TreeScoreConfig:
    from neuropil.config.trees import TreeScoreConfig
    from neuropil.metrics.tree import CONVENTIONS

    if words["convention"] not in (None, *CONVENTIONS):
        raise ConfigError(
            f"convention '{words['convention']}' for trees",
            "one of " + ", ".join(CONVENTIONS),
            "leave it out for the default",
        )
    if words["tolerance"] is not None and not words["tolerance"] > 0:
        raise InputError(
            f"a tolerance of {words['tolerance']}", "a positive number of steps", "leave it out for the default"
        )
    return TreeScoreConfig(**{key: value for key, value in words.items() if value is not None})


def _in_plane(image: Volume | None, trees: Sequence[Read], step_nm: float) -> bool:
    """Whether trees are compared in the image plane though nobody says so, which is told; as is what was forgotten."""
    if image is not None and only_section(image.array, image.axes):
        _note(f"'{image.name}' has one section: the trees are compared in its plane, without their z (--projected)")
        return True
    depths = [float(np.ptp(tree.skeleton.nodes_nm[:, 0])) / step_nm for tree in trees]
    flat, deep = (trees[int(np.argmin(depths))], trees[int(np.argmax(depths))])
    # one node alone lies in every plane
    if min(depths) < _FLAT and max(depths) > 1 and flat.report.nodes > 1:
        _note(
            f"'{flat.report.path}' lies within one plane and '{deep.report.path}' does not: if that is the plane of a "
            "projection, --projected compares both in it"
        )
    return False


def _told_apart(traced: Read, true: Read, f1: float, step_nm: float, unit: str) -> None:
    """Say so where two trees look like one in two units, or lie nowhere near each other."""
    trees = (traced, true)
    spans = [np.ptp(tree.skeleton.nodes_nm, axis=0)[1:] / step_nm for tree in trees]
    told = [f"'{t.report.path}' spans {y:.4g} x {x:.4g} (y, x)" for t, (y, x) in zip(trees, spans, strict=True)]
    if min(map(np.min, spans)) > 0:
        ratios = np.sort(spans[1] / spans[0])
        size = max(ratios[0], 1 / ratios[-1])
        if ratios[-1] / ratios[0] <= _ALIKE and size >= _SCALED:
            how = "if they are of one neuron, one is in other units or voxels: --units, --voxel-size"
            _note(f"{told[0]} and {told[1]} {unit}, about {size:.3g} times as much or as little; {how}")
            return
    if f1 == 0:
        how = "`neuropil doctor TREE.swc --image IMAGE` finds shifts, mirrored axes and wrong units"
        _note(f"no cable of the two trees lies together: {told[0]} and {told[1]} {unit}; {how}")


def evaluate_masks(pred: VolumeLike, truth: VolumeLike, *, voxel_size: Float3 | None) -> dict[str, Any]:
    """Scores of a mask; see `neuropil.metrics.masks.mask_scores`."""
    from neuropil.metrics.masks import mask_scores

    found, true = opened(pred, voxel_size), opened(truth, voxel_size)
    require_same_grid(true, found)
    return {"task": "masks"} | mask_scores(true.read(true.box), found.read(found.box), true.voxel_size)


def _note(text: str) -> None:
    if text:
        print(f"note: {text}", file=sys.stderr)


def _step(tree: Read, voxel_size: Float3 | None) -> tuple[float, str]:
    """Length of a step in nm, and what it is called."""
    if voxel_size is not None:
        return min(voxel_size), "voxel"
    return (1000.0, "um") if tree.known else (1.0, "voxel")


def _write_page(
    out: PathLike,
    trees: list[Read],
    pair: TreePair,
    image: Volume | None,
    said: dict[str, Any],
    scores: dict[str, float],
) -> None:
    from neuropil.report import ReportData, write_report
    from neuropil.report.trees import TreeView

    traced, true = trees
    unit = "µm" if said["unit"] == "um" else "voxel"
    summary = {
        "Traced": f"{traced.report.path} ({traced.report.nodes:,} nodes)",
        "Truth": f"{true.report.path} ({true.report.nodes:,} nodes)",
        "Convention": f"{said['convention']}, apart from {said['tolerance']:g} {unit} on",
    }
    summary |= {"Compared": "in the image plane, without z"} if said["projected"] else {}
    summary |= {} if image is None else {"Image": image.name}
    notes = [f"{read.report.path}: {change}." for read in trees for change in read.report.changes]
    view = TreeView(pair, unit, image, known=true.known)
    data = ReportData(title=Path(out).stem, summary=summary, scores=scores, notes=notes, trees=view)
    write_report(data, Path(out))
