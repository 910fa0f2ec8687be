"""The verb that looks ahead: plan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.inputs import RunLike, opened, opened_run, raw_volumes, run_folder, said_length, training_pairs
from neuropil.volume import VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.auto.recipe import Choice
    from neuropil.preview.plan import Plan

Verb = Literal["train", "pretrain", "predict", "segment"]
#: Recipes that are used where none is given.
_RECIPES = {"train": "em_neurons", "pretrain": "mae"}


def plan(
    verb: Verb,
    run: RunLike | None = None,
    volume: VolumeLike | None = None,
    *,
    out: str | os.PathLike[str] = ".",
    image: VolumeLike | Sequence[VolumeLike] = (),
    labels: VolumeLike | Sequence[VolumeLike] = (),
    recipe: str | None = None,
    budget: float | str | None = None,
    steps: int | None = None,
    init: str | os.PathLike[str] | None = None,
    set: Sequence[str] = (),
    voxel_size: Float3 | None = None,
    block: Int3 | None = None,
    memory: str | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Say what a verb would take: stages, time (a few steps or tiles are measured), memory, disk. Nothing is kept.

    Parameters
    ----------
    verb
        train, pretrain, predict or segment.
    run, volume
        What predict and segment are given.
    out
        Where the result would go: its disk is looked at.
    image, labels, recipe, budget, steps, init, set, voxel_size, block, memory, workers
        As of the verb. With recipe "auto", what was chosen is told too.

    Returns
    -------
    dict
        `seconds`, `memory_gib`, `disk_gib`, `stages` and `notes`.

    Raises
    ------
    InputError, VolumeError
        If it cannot fit into memory or onto the disk; the message says what would.
    """
    if verb in ("train", "pretrain"):
        words = said_length(set, budget, steps)
        planned, choice = _learning(verb, image, labels, recipe, words, voxel_size, Path(out), init)
        return planned.to_dict() | ({"recipe": choice.yaml()} if choice is not None else {})
    from neuropil.jobs.begin import said

    words = [*set, *said(threshold=None, block=block, memory=memory, workers=workers, dask=None)]
    asked = block is not None or workers is not None
    return _using(verb, run, volume, words, voxel_size, Path(out), asked=asked).to_dict()


def _using(
    verb: str, run: Any, volume: Any, words: Sequence[str], voxel_size: Float3 | None, out: Path, *, asked: bool
) -> Plan:
    if verb not in ("predict", "segment"):
        raise InputError(
            f"a plan of '{verb}'", "train, pretrain, predict or segment", "neuropil VERB --help for others"
        )
    if run is None or volume is None:
        raise InputError(
            f"a plan of {verb} without a run or its image", f"neuropil plan {verb} RUN VOLUME", "give both"
        )
    from neuropil.preview.predict import plan_prediction, plan_segmentation

    trained, seen = opened_run(run), require_kind(opened(volume, voxel_size), "image")
    if verb == "predict":
        return plan_prediction(trained, seen, words, out)
    return plan_segmentation(trained, seen, words, out, asked=asked)


def _learning(
    verb: Verb,
    image: Any,
    labels: Any,
    recipe: str | None,
    words: Sequence[str],
    voxel_size: Float3 | None,
    out: Path,
    init: Any,
) -> tuple[Plan, Choice | None]:
    from neuropil.api.learning import begun, chosen
    from neuropil.preview.train import plan_pretraining, plan_training

    name = recipe or _RECIPES[verb]
    choice = chosen(name, image, labels if verb == "train" else None, words, voxel_size)
    _, config = begun(out, name, words, choice, resume=False)
    if verb == "pretrain":
        return plan_pretraining(raw_volumes(image, voxel_size, resumed=None), config, out), choice
    pairs = training_pairs(image, labels, voxel_size, resumed=None, config=config)
    return plan_training(pairs, config, out, init=None if init is None else str(run_folder(init))), choice
