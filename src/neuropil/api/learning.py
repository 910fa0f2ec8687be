"""The verbs that make runs: pretrain, train."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from neuropil.config import Config
from neuropil.decoding import note_edge, note_unlearned
from neuropil.errors import ConfigError, InputError
from neuropil.geometry import Float3
from neuropil.inputs import raw_volumes, run_folder, said_length, settled, several, training_pairs
from neuropil.volume import VolumeLike

if TYPE_CHECKING:
    from neuropil.auto.recipe import Choice
    from neuropil.training.checkpoint import Run


_TASKS = ("neurons", "mitochondria", "semantic", "trees")
#: Groups of settings that concern some tasks only.
_CONCERNED = {
    "segment": ("neurons",),
    "organelles": ("mitochondria", "semantic"),
    "instances": ("mitochondria", "semantic", "trees"),
    "trees": ("trees",),
}


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
        "mae", "decision_mim", "multiscale", "auto" (chosen from the data), or a YAML file.
    probe_image, probe_labels
        Small labelled volumes: validation says how much of their membranes a straight line reads from the features
        ("probe"). Where `pretrain.mask.adapt_ratio` is set, they choose the mask ratio by it; nothing else is learned
        from them.
    """
    words = said_length(set, budget, steps)
    choice = None if resume else chosen(recipe, image, None, words, voxel_size)
    run, config = begun(out, recipe, words, choice, resume=resume)
    if _nothing_left(run, image, words):
        return run
    images = raw_volumes(image, voxel_size, resumed=run)
    from neuropil.training.pretrain import fit_pretext  # last: mistakes in what was typed are told at once

    probe = training_pairs(probe_image, probe_labels, voxel_size, resumed=None) if several(probe_image) else []
    return fit_pretext(images, config, out, probe=probe, resume=resume, beside=_beside(choice))


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
        Volumes in pairs; one, or several. What labels are says the recipe's task. With `resume` they may be empty: the
        run knows its volumes.
    out
        The run directory.
    recipe
        A shipped recipe, a YAML file, or "auto": chosen from the data; what was chosen, and why, is said and lies in
        the run's recipe.yaml.
    budget, steps
        How long: wall time (seconds, or text such as "30m"), or optimiser steps; the recipe's by default.
    init
        First weights: a run directory, ``zoo:NAME`` or a .safetensors file.
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
    words = said_length(set, budget, steps)
    choice = None if resume else chosen(recipe, image, labels, words, voxel_size)
    run, config = begun(out, recipe, words, choice, resume=resume)
    if _nothing_left(run, image, words):
        return run
    _require_used(words, config)
    pairs = training_pairs(image, labels, voxel_size, resumed=run, config=config)
    from neuropil.training.fit import fit  # last: mistakes in what was typed are told at once

    if pairs and init is None and not resume:
        _note_beginnings(config, pairs[0][0].voxel_size)
    first = None if init is None else str(run_folder(init))
    trained = fit(pairs, config, out, init=first, resume=resume, beside=_beside(choice))
    note_edge(trained)
    note_unlearned(trained)
    return trained


def _require_used(words: Sequence[str], config: Config) -> None:
    """Refuse settings of other tasks than the one that is trained: they would change nothing.

    Raises
    ------
    ConfigError
        For the first of them.
    """
    if config.task not in _TASKS:
        return  # what a task of somebody's own looks at is not known
    for word in words:
        group = word.partition(".")[0].strip()
        if config.task not in _CONCERNED.get(group, _TASKS):
            whom = ", ".join(_CONCERNED[group])
            raise ConfigError(
                f"--set {word} for a training of task {config.task}", f"{group}. for {whom} only", "leave it out"
            )


def _note_beginnings(config: Config, voxel_size: Float3) -> None:
    from neuropil.zoo.store import beginnings

    for name in beginnings(config, voxel_size):
        print(f"note: {name} has learned this task in voxels like these; --init {name} begins there", file=sys.stderr)


def chosen(
    recipe: str,
    image: VolumeLike | Sequence[VolumeLike],
    labels: VolumeLike | Sequence[VolumeLike] | None,
    words: Sequence[str],
    voxel_size: Float3 | None,
) -> Choice | None:
    """What `--recipe auto` chooses for these volumes, said on stderr; None for a recipe that has a name.

    Parameters
    ----------
    labels
        None for pretraining.
    words
        Settings of the user, about which nothing is decided.
    """
    if recipe != "auto":
        return None
    from neuropil.auto.recipe import choose_pretext, choose_recipe

    images = raw_volumes(image, voxel_size, resumed=None)
    if labels is None:
        choice = choose_pretext(images, words)
    else:
        truths = several(labels)
        if len(truths) != len(images):
            raise InputError(
                f"{len(images)} images and {len(truths)} label volumes", "as many --labels as --image", "give pairs"
            )
        choice = choose_recipe(images, truths, words)
    choice.show()
    return choice


def begun(
    out: str | os.PathLike[str], recipe: str, words: Sequence[str], choice: Choice | None, *, resume: bool
) -> tuple[Run | None, Config]:
    """The run to go on with, if any, and the settings: its own, those that were chosen, or those of the recipe."""
    return (None, choice.config(words)) if choice is not None else settled(out, recipe, words, resume=resume)


def _nothing_left(run: Run | None, image: VolumeLike | Sequence[VolumeLike], words: Sequence[str]) -> TypeGuard[Run]:
    """Whether a run that is to be resumed is complete, and nothing else was said that must be compared with it."""
    if run is None or run.card["status"] != "complete" or several(image) or words:
        return False
    print(f"'{run.path}' is complete: nothing is left to do", file=sys.stderr)
    return True


def _beside(choice: Choice | None) -> dict[str, str]:
    """Files for the run directory."""
    return {} if choice is None else {"recipe.yaml": choice.yaml()}
