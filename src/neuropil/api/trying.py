"""The verbs that try the whole: demo, bench, doctor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuropil.api.learning import pretrain, train
from neuropil.api.looking import evaluate
from neuropil.api.segmenting import segment
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import opened_in_voxels, seconds
from neuropil.volume import VolumeLike


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
        raise ConfigError(f"study '{study}'", "label-efficiency", "neuropil bench label-efficiency FILE --out FOLDER")
    verbs: Any = {"pretrain": pretrain, "train": train, "segment": segment, "evaluate": evaluate}
    return run_study(read_design(design), out, verbs, shard=shard)


def doctor(
    tree: str | os.PathLike[str] | None = None,
    *,
    image: VolumeLike | None = None,
    units: str | None = None,
    voxel_size: Float3 | None = None,
    out: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Say what this installation has and how to get what is missing; with a tree, what is wrong with that.

    Parameters
    ----------
    tree
        An SWC file: everything odd about it is listed.
    image
        The image of the tree. Shifts, mirrored or exchanged axes and wrong units are found by the grey values at its
        nodes, and the fix is named.
    units
        "um", "voxel" or "nm", whatever the file states; with an image they may be left to that.
    voxel_size
        nm, z, y, x; of the image, or of a tree in voxels. An image may leave it unknown where `units` are "voxel".
    out
        A new SWC file for the tree as it should be: sorted, in um (voxels where their size is unknown), and saying so.
    """
    if tree is None:
        if any(given is not None for given in (image, units, voxel_size, out)):
            raise InputError(
                "no tree to examine",
                "neuropil doctor TREE.swc --image IMAGE",
                "name the tree, or leave --image out to examine the installation",
            )
        from neuropil.doctor import examine

        return examine()
    from neuropil.treedoctor import examine_tree

    if image is None:
        return examine_tree(tree, None, units=units, voxel_size=voxel_size, out=out)
    shown, known = opened_in_voxels(image, voxel_size, units)
    return examine_tree(tree, shown, units=units, voxel_size=voxel_size, out=out, size_known=known)


def demo(
    out: str | os.PathLike[str] = "demo", *, lm: bool = False, budget: float | str = 120.0, seed: int = 0
) -> dict[str, Any]:
    """The main job on a phantom: make tissue, train, segment an unseen volume, score it, and write a report.

    The unseen volume is segmented with a shipped model first, as it comes; training begins with its weights.

    Parameters
    ----------
    out
        A new folder.
    lm
        Light microscopy instead: make a stack with a neuron, trace it, score the tree, and write a report.
    budget
        Training time, in seconds or as "4m".

    Returns
    -------
    dict
        The scores, those of the shipped model as "untrained_...", and "report": where the page lies.
    """
    from neuropil.demo import run_demo, run_lm_demo

    if lm:
        return run_lm_demo(Path(out), seed=seed)
    return run_demo(Path(out), budget=seconds(budget), seed=seed)
