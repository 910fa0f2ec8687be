"""What the verbs are given, opened and checked: volumes, runs, affinities, times."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from neuropil.affinities import Affinities, Offsets, as_offsets
from neuropil.config import Config, load_config, override
from neuropil.errors import ConfigError, InputError, RunError, VolumeError
from neuropil.geometry import Float3, same_voxel_size
from neuropil.lazy import NoVoxelSize
from neuropil.tasks.base import labels_of, task_named
from neuropil.urls import split_part
from neuropil.volume import Volume, VolumeLike, as_volume, require_kind, require_same_grid

if TYPE_CHECKING:
    from neuropil.training.checkpoint import Run

RunLike: TypeAlias = "Run | str | os.PathLike[str]"
Pair: TypeAlias = tuple[Volume, Volume]

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def opened(volume: VolumeLike, voxel_size: Float3 | None) -> Volume:
    """A volume, opened if it was given by its url; `voxel_size` (nm, z, y, x) overrules its own."""
    return as_volume(volume, voxel_size=voxel_size)


def opened_in_voxels(volume: VolumeLike, voxel_size: Float3 | None, units: str | None) -> tuple[Volume, bool]:
    """A volume whose tree may be in voxels (`units`), and whether the size of these is known; else they are 1 nm cubes.

    Raises
    ------
    NoVoxelSize
        If it is not, and the tree is not said to be in voxels.
    """
    try:
        return opened(volume, voxel_size), True
    except NoVoxelSize as error:
        if units == "voxel":
            return opened(volume, (1.0, 1.0, 1.0)), False
        fix = f"{error.fix}; or say --units voxel, if the tree is in voxels"
        raise NoVoxelSize(error.got, error.expected, fix) from None


def cut_to(whole: Volume, part: Volume) -> Volume:
    """The same place of `whole`, where `part` was asked for as a part of its volume (``x.h5:labels[0:16]``)."""
    if ":" not in split_part(part.name)[1] or not same_voxel_size(whole.voxel_size, part.voxel_size):
        return whole
    return whole.crop(part.box).named(whole.name) if whole.box.contains(part.box) else whole


def opened_run(run: Any) -> Run:
    """A run, opened if it was given by its directory, or as ``zoo:NAME``."""
    from neuropil.training.checkpoint import Run

    return run if isinstance(run, Run) else Run.open(run_folder(run))


def run_folder(run: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Where a run lies: as it was given, or for ``zoo:NAME`` where its model was unpacked to, fetched if need be.

    Raises
    ------
    InputError, RunError, VolumeError
        If there is no such model, or it cannot be had; or if it is a bioimage.io model, which can only predict.
    """
    if _named(run, "zoo:"):
        from neuropil.zoo.store import model_folder

        return model_folder(os.fspath(run))
    if _named(run, "bioimageio:"):
        raise RunError(
            f"'{run}' is a bioimage.io model, which predicts and no more",
            "a run directory or zoo:NAME",
            f"neuropil predict {run} VOLUME --out prediction.zarr, then neuropil segment prediction.zarr",
        )
    return run


def opened_predictor(run: Any, image: Volume, words: Sequence[str]) -> tuple[Run, list[str]]:
    """What predicts an image (a run, ``zoo:NAME`` or ``bioimageio:MODEL``), and the settings that are left for it."""
    if _named(run, "bioimageio:"):
        from neuropil.exchange.foreign import opened_foreign

        return opened_foreign(os.fspath(run), image, words)
    return opened_run(run), list(words)


def _named(run: Any, prefix: str) -> bool:
    return isinstance(run, str | os.PathLike) and os.fspath(run).startswith(prefix)


def opened_affinities(source: Any, voxel_size: Float3 | None) -> Affinities:
    """Affinities with their offsets, opened if they were given by their url.

    Raises
    ------
    InputError
        If it is a run, or a volume that is no affinities or comes without offsets.
    """
    if isinstance(source, Affinities):
        return source
    if _is_run(source):
        raise InputError(
            f"'{source}' is a run, and no volume is given",
            "neuropil segment RUN VOLUME --out seg.zarr",
            "name the image behind the run",
        )
    volume = require_kind(opened(source, voxel_size), "affinities")
    if "offsets" not in volume.attrs:
        raise InputError(
            f"affinities '{volume.name}' without offsets",
            "an attribute `offsets`: the z, y, x voxel step of each channel",
            "store it with the array, for example [[-1,0,0],[0,-1,0],[0,0,-1]]",
        )
    return Affinities(volume, as_offsets(volume.attrs["offsets"]))


def opened_prediction(source: Any, voxel_size: Float3 | None) -> tuple[Volume, Offsets]:
    """A stored prediction, opened if it was given by its url, and its offsets where it is affinities.

    Raises
    ------
    InputError
        As `opened_affinities`.
    """
    if not isinstance(source, Affinities) and not _is_run(source):
        volume = opened(source, voxel_size)
        if volume.kind_stated and volume.kind == "prediction":
            return volume, ()
        if volume.kind == "image":
            raise InputError(
                f"'{volume.name}' holds an image, and no run is given",
                "a run and the image, or a stored prediction (affinities have an attribute 'offsets')",
                "neuropil segment RUN VOLUME --out seg.zarr",
            )
    affinities = opened_affinities(source, voxel_size)
    return affinities.volume, affinities.offsets


def _is_run(source: Any) -> bool:
    if _named(source, "zoo:") or _named(source, "bioimageio:"):
        return True
    return not isinstance(source, Volume) and (Path(source) / "run.json").is_file()


def training_pairs(
    image: VolumeLike | Sequence[VolumeLike],
    labels: VolumeLike | Sequence[VolumeLike],
    voxel_size: Float3 | None,
    *,
    resumed: Run | None,
    config: Config | None = None,
) -> list[Pair]:
    """Open images and their truths, one or several, and check that they are what they are called.

    What a truth is says the task of `config`; labels where there is none. Where no volumes are given, those of the run
    that is `resumed` are opened again by their names, at its voxel size.

    Raises
    ------
    InputError, GeometryError
        If a label volume is missing, or a volume is of another kind or does not lie on its image.
    RunError
        If a volume of the resumed run is not where it was, or was never a file.
    """
    images, truths = several(image), several(labels)
    if len(images) != len(truths):
        raise InputError(
            f"{len(images)} images and {len(truths)} label volumes",
            "as many --labels as --image",
            "give them in pairs, each --labels after its --image",
        )
    if images or resumed is None:
        return [_training_pair(one, other, voxel_size, config) for one, other in zip(images, truths, strict=True)]
    size, sources = voxel_size or resumed.voxel_size, resumed.card["sources"]
    try:
        return [_training_pair(source["image"], source["labels"], size, config) for source in sources]
    except VolumeError as error:
        raise _gone(resumed, error) from error


def raw_volumes(
    image: VolumeLike | Sequence[VolumeLike], voxel_size: Float3 | None, *, resumed: Run | None
) -> list[Volume]:
    """Open volumes without labels; where none are given, those of the run that is `resumed`, at their voxel sizes.

    Raises
    ------
    InputError
        If a volume is no image.
    RunError
        If a volume of the resumed run is not where it was.
    """
    images = several(image)
    if images or resumed is None:
        return [require_kind(opened(one, voxel_size), "image") for one in images]
    found = []
    for source in resumed.card["sources"]:
        z, y, x = source["voxel_size"]
        try:
            found.append(require_kind(opened(source["image"], (z, y, x)), "image"))
        except VolumeError as error:
            raise _gone(resumed, error) from error
    return found


def settled(
    out: str | os.PathLike[str], recipe: str, words: Sequence[str], *, resume: bool
) -> tuple[Run | None, Config]:
    """The run to go on with, if any, and the settings: its own, or those of the recipe, under `words`."""
    from neuropil.training.checkpoint import Run

    if not resume:
        return None, load_config(recipe, words)
    run = Run.open(out)
    return run, override(run.config, words)


def said_length(words: Sequence[str], budget: float | str | None, steps: int | None) -> list[str]:
    """The settings with how long to train, which may be said only once."""
    lasting = [w for w in words if w.partition("=")[0].strip() in ("train.steps", "train.budget")]
    said = [text for text, value in (("--budget", budget), ("--steps", steps)) if value is not None]
    if len(said) > 1 or (said and lasting):
        raise ConfigError(
            f"both {' and '.join([*said, *(f'--set {w}' for w in lasting)])}", "one of them", "leave out the others"
        )
    if budget is not None:
        return [*words, f"train.budget={seconds(budget)}"]
    # a recipe's own budget would win over its steps
    return [*words, *([] if steps is None else [f"train.steps={steps}", "train.budget=null"])]


def seconds(budget: float | str) -> float:
    """A time in seconds from a number of them, or from text with its unit, such as "30m", "2h" or "90s".

    Raises
    ------
    InputError
        If it is none, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", str(budget).strip())
    if not found or float(found[1]) == 0:
        raise InputError(f"a budget of '{budget}'", "a time such as 30m, 2h or 90s", "say, for example, --budget 30m")
    if isinstance(budget, str) and not found[2]:
        raise InputError(
            f"a budget of '{budget}' without a unit", "a time such as 30m, 2h or 90s", f"{budget}m or {budget}s"
        )
    return float(found[1]) * _SECONDS[found[2] or "s"]


def several(volumes: VolumeLike | Sequence[VolumeLike]) -> list[VolumeLike]:
    """One volume or several, as a list."""
    return [volumes] if isinstance(volumes, Volume | str | os.PathLike) else list(volumes)


def _training_pair(image: VolumeLike, labels: VolumeLike, voxel_size: Float3 | None, config: Config | None) -> Pair:
    pixels = require_kind(opened(image, voxel_size), "image")
    if config is None:
        ids = labels_of(labels, pixels, voxel_size, Config())
    else:
        ids = task_named(config.task).truth(labels, pixels, voxel_size, config)
    pixels = cut_to(pixels, ids)
    require_same_grid(pixels, ids)
    return pixels, ids


def _gone(run: Run, error: VolumeError) -> RunError:
    return RunError(
        f"the volumes that '{run.path}' was trained on cannot be opened: {error.got}",
        "volumes that are where they were in the first session",
        f"give the volumes again, or run it in the folder of the first session (this is '{Path.cwd()}')",
    )
