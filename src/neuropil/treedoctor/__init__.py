"""`neuropil doctor tree.swc --image vol`: does a tree lie on its image, and if not, what was done to it?

Nodes of a tree that fits lie on voxels that stand out, bright or dark, from the rest. So each way in which trees get
displaced between programs (unit, order of axes, mirrored axes, shift) is undone in turn, and the image says which one
is right. A voxel counts by its rank among the voxels of the image, which no hot pixel or haze can sway: a placing's
score is the mean of 2 rank - 1 over the nodes, 0 outside the image, minus what few nodes could reach by chance. What is
simpler wins unless something else is clearly better, and nothing else is believed unless the nodes also stand out from
the voxels around them: a tree crowded into a dark corner would not. Shifts are told first, all lengths at once, by
what is thin and stands out (`neuropil.treedoctor.shifts`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuropil.errors import InputError
from neuropil.geometry import Float3
from neuropil.io.base import require_new
from neuropil.io.swc import (
    SwcReport,
    UnstatedUnit,
    UnstatedVoxelSize,
    examine_swc,
    in_plane_nm,
    placement,
    write_swc,
)
from neuropil.skeleton import Skeleton
from neuropil.treedoctor.image import TreeOnImage
from neuropil.treedoctor.search import best_placing
from neuropil.volume import Volume

__all__ = ["examine_tree"]


def examine_tree(
    tree: str | os.PathLike[str],
    image: Volume | None,
    *,
    units: str | None,
    voxel_size: Float3 | None,
    out: str | os.PathLike[str] | None,
    size_known: bool = True,
) -> dict[str, Any]:
    """Examine a tree, on its image if there is one, and write it as it should be.

    Parameters
    ----------
    units
        Of the tree, if it does not state them; with an image they may be left to it, and only what is written needs
        them.
    voxel_size
        nm, z, y, x; of a tree in voxels without an image.
    out
        New SWC file that states everything, sorted: in um, or in voxels where the size of these is unknown.
    size_known
        Whether the voxel size of the image is known; if not, the image has cubes of 1 nm.

    Returns
    -------
    dict
        The account of the file, and with an image: `score` as it is, `best` placing and its score, `verdict`, `fix`.
    """
    if out is not None:
        if Path(out).suffix.lower() != ".swc":
            raise InputError(f"--out {out}", "a name that ends in .swc", f"--out {Path(out).with_suffix('.swc')}")
        require_new(Path(out))
    if image is None:
        skeleton, found = _alone(tree, units, voxel_size, must_know=out is not None)
    else:
        skeleton, found = _on_image(tree, image, units)
        found |= {} if size_known else {"voxel_size": "unknown: taken for cubes, in which the tree is"}
    if out is not None:
        how: dict[str, Any] = {} if size_known else {"voxel_size": (1.0, 1.0, 1.0), "size_known": False}
        write_swc(skeleton, out, units="um" if size_known else "voxel", **how)
        found["written"] = str(out)
    return found


def _alone(
    tree: str | os.PathLike[str], units: str | None, voxel_size: Float3 | None, *, must_know: bool
) -> tuple[Skeleton, dict[str, Any]]:
    """A tree without an image: what is odd about it is told whatever its unit; written it is in a known one only."""
    try:
        skeleton, report = examine_swc(tree, units=units, voxel_size=voxel_size)
    except (UnstatedUnit, UnstatedVoxelSize) as error:
        if must_know:
            raise
        skeleton, report = examine_swc(tree, units="nm", origin_nm=(0.0, 0.0, 0.0))
        unit = "not stated" if isinstance(error, UnstatedUnit) else "voxel, of unknown size"
        return skeleton, report.as_dict() | {"unit": unit}
    return skeleton, report.as_dict()


def _on_image(tree: str | os.PathLike[str], image: Volume, units: str | None) -> tuple[Skeleton, dict[str, Any]]:
    raw, report = examine_swc(tree, units="nm", origin_nm=(0.0, 0.0, 0.0))
    stated, origin = _stated(tree, image, units)
    case = TreeOnImage(raw, image, (stated.unit if stated else None, origin))
    fit = best_placing(case, stated.unit if stated else None)
    found = report.as_dict() | {"unit": f"{stated.unit} ({stated.unit_from})" if stated else "not stated"}
    found |= {"image": image.name, "nodes_inside": round(float(case.grey(case.voxels(fit.as_is))[1].mean()), 3)}
    found |= {"neurites_are": "bright" if case.sign > 0 else "dark", "score": round(fit.score_as_is, 3)}
    found |= {"best": str(fit.best), "best_score": round(fit.score_best, 3), "verdict": fit.verdict, "fix": fit.fix}
    how = fit.best if fit.fits else fit.as_is
    scale, _ = placement(how.unit, image.voxel_size, None, image.name)
    placed = Skeleton(case.place(raw.nodes_nm, how), raw.radius_nm * in_plane_nm(scale), raw.parent, raw.kind)
    return placed, found


def _stated(tree: str | os.PathLike[str], image: Volume, units: str | None) -> tuple[SwcReport | None, Float3 | None]:
    """What is said of the tree's unit, and where its coordinates 0, 0, 0 lie."""
    try:
        skeleton, report = examine_swc(tree, units=units, voxel_size=image.voxel_size)
    except InputError:
        if units is not None:
            raise
        return None, None
    raw, _ = examine_swc(tree, units="nm", origin_nm=(0.0, 0.0, 0.0))
    scale, _ = placement(report.unit, image.voxel_size, None, report.path)
    z, y, x = (float(v) for v in skeleton.nodes_nm[0] - raw.nodes_nm[0] * scale)
    return report, (z, y, x)
