"""The verb that looks ahead: plan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.inputs import RunLike, opened, opened_run, raw_volumes, run_folder, said_length, training_pairs
from neuropil.outputs import LABELS
from neuropil.volume import VolumeLike, require_kind

if TYPE_CHECKING:
    from neuropil.auto.recipe import Choice
    from neuropil.preview.plan import Plan

Verb = Literal["train", "pretrain", "predict", "segment"]
#: Recipes that are used where none is given.
_RECIPES = {"train": "em_neurons", "pretrain": "mae"}
#: Words beside `out`, `set` and `voxel_size` that a verb has.
_WORDS = {
    "train": ("image", "labels", "recipe", "budget", "steps", "init"),
    "pretrain": ("image", "recipe", "budget", "steps"),
    "predict": ("run", "volume"),
    "segment": ("run", "volume", "block", "memory", "workers"),
}


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
        If it cannot fit into memory or onto the disk; the message says what would. Also if the verb has no such word.
    """
    given: dict[str, Any] = {"run": run, "volume": volume, "image": image, "labels": labels}
    given |= {"recipe": recipe, "budget": budget, "steps": steps, "init": init}
    given |= {"block": block, "memory": memory, "workers": workers}
    _require_used(verb, given)
    if verb in ("train", "pretrain"):
        words = said_length(set, budget, steps)
        planned, choice = _learning(verb, image, labels, recipe, words, voxel_size, Path(out), init)
        return planned.to_dict() | ({"recipe": choice.yaml()} if choice is not None else {})
    from neuropil.jobs.begin import said

    words = [*set, *said(threshold=None, block=block, memory=memory, workers=workers, dask=None)]
    asked = block is not None or workers is not None
    return _using(verb, run, volume, words, voxel_size, Path(out), asked=asked).to_dict()


def _require_used(verb: str, given: Mapping[str, Any]) -> None:
    """Refuse what would be ignored: words of other verbs."""
    if verb not in _WORDS:
        raise InputError(f"a plan of '{verb}'", "one of " + ", ".join(_WORDS), "neuropil VERB --help for others")
    said = [name for name, value in given.items() if value is not None and value not in ([], ())]
    if others := [name for name in said if name not in _WORDS[verb]]:
        shown = " and ".join(name.upper() if name in ("run", "volume") else f"--{name}" for name in others)
        raise InputError(f"{shown} in a plan of {verb}", f"the words of neuropil {verb}", f"leave out {shown}")


def _using(
    verb: str, run: Any, volume: Any, words: Sequence[str], voxel_size: Float3 | None, out: Path, *, asked: bool
) -> Plan:
    if run is None or volume is None:
        raise InputError(
            f"a plan of {verb} without a run or its image", f"neuropil plan {verb} RUN VOLUME", "give both"
        )
    from neuropil.preview.predict import plan_prediction, plan_segmentation

    trained, seen = opened_run(run), require_kind(opened(volume, voxel_size), "image")
    if verb == "predict":
        return plan_prediction(trained, seen, words, out)
    labels = out if out.suffix in LABELS else out / f"labels{LABELS[0]}"
    return plan_segmentation(trained, seen, words, labels, asked=asked)


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
