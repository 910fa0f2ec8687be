"""Which settings the weights of an encoder hang on: what shapes tell, and what they do not."""

from __future__ import annotations

import json
import math
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from neuropil.config import ModelConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models.convnext import plan_fold
from neuropil.models.vit3d import plan_patch
from neuropil.training.checkpoint import WEIGHTS, Run, read_tensors

#: Encoders that may come from a file of somebody else: where their sizes are under model., and which settings there are
#: of the network around them, or of its training. All others are taken over with their weights.
INFLATED = {
    "vit_inflated": ("vit", ("taps", "decoder", "drop_path", "checkpointing")),
    "convnext": ("convnext", ("decoder", "drop_path")),
}
#: Settings under model. that say what weights mean and that no shape tells, by encoder.
_UNSEEN = {
    "resunet": ("norm",),
    "vit3d": ("vit.heads", "vit.eps", "vit.wavelengths_nm"),
    "convnext": ("convnext.stem_stride", "convnext.sections", "convnext.eps"),
}
#: Settings under model. that an encoder's weights depend on, by encoder.
_DEPENDS = {
    "resunet": ("channels", "blocks", "norm"),
    "convnext": tuple(
        f"convnext.{name}" for name in ("dims", "depths", "sections", "stem_stride", "fold", "layer_scale", "eps")
    ),
    "vit3d": (
        *("vit.dim", "vit.depth", "vit.heads", "vit.mlp_ratio", "vit.mlp", "vit.eps"),
        *("vit.patch", "vit.wavelengths_nm", "vit.layer_scale", "vit.prefix_tokens"),
    ),
}
#: The tensor whose width is the number of voxels of a patch, as networks name it.
_EMBEDDING = "encoder.patch_embed.proj.weight"


def check_unseen(ours: ModelConfig, run: Run, voxel_size: Float3) -> None:
    """Refuse the weights of a run that would fit a network of these settings, and mean something else there.

    Parameters
    ----------
    voxel_size
        nm, z, y, x, of what the network is for.

    Raises
    ------
    ConfigError
        Naming the setting that differs.
    """
    theirs, kind = run.config.model, encoder_of(ours)
    if kind != encoder_of(theirs):
        return
    for name in _UNSEEN.get(kind, ()):
        mine, made = (attrgetter(name)(model) for model in (ours, theirs))
        if mine != made:
            raise ConfigError(
                f"model.{name} = {mine} with first weights of '{run.path}', made with {made}",
                "the same: the weights would fit, and mean something else",
                f"--set model.{name}={_written(made)}",
            )
    if kind == "convnext":
        _check_convnext(ours, run, voxel_size)
    if kind == "vit3d":
        _check_patch(ours, voxel_size, encoder_patch(run), str(run.path))


def _check_convnext(ours: ModelConfig, run: Run, voxel_size: Float3) -> None:
    """Refuse a stem and steps that would begin afresh below trained stages, and branches with another gain."""
    theirs = run.config.model
    here = fold_of(ours, voxel_size)
    made = fold_of(theirs, run.voxel_size if run.card.get("voxel_size") else voxel_size)
    if here != made:
        raise ConfigError(
            f"sections put together as {list(here)} (model.convnext.fold), with first weights of '{run.path}', made "
            f"with {list(made)}",
            "the same: the stem, or steps, would begin afresh below stages that did not",
            f"--set model.convnext.fold={_written(made)}",
        )
    mine, its = ours.convnext.layer_scale, theirs.convnext.layer_scale
    if (mine is None) != (its is None):
        raise ConfigError(
            f"model.convnext.layer_scale = {mine} with first weights of '{run.path}', made with {its}",
            "gains on both sides, or on none: branches would otherwise count more or less than they did",
            f"--set model.convnext.layer_scale={_written(its)}",
        )


def fold_of(model: ModelConfig, voxel_size: Float3) -> tuple[int, int, int, int]:
    """Sections that the stem and the steps of a ConvNeXt put together."""
    return model.convnext.fold or plan_fold(model.seen(voxel_size), model.convnext.stem_stride)


def encoder_patch(run: Run) -> Int3 | None:
    """Voxels z, y, x of the patches that a run's transformer was made with; None of another encoder, or if unknown."""
    if encoder_of(run.config.model) != "vit3d":
        return None
    if run.card.get("kind") == "encoder" and run.card.get("patch"):
        z, y, x = run.card["patch"]
        return int(z), int(y), int(x)
    return _patch_of(run.config.model, run.voxel_size if run.card.get("voxel_size") else None)


def _patch_of(model: ModelConfig, voxel_size: Float3 | None) -> Int3 | None:
    if model.vit.patch is not None or voxel_size is None:
        return model.vit.patch
    return plan_patch(model.seen(voxel_size))


def _check_patch(ours: ModelConfig, voxel_size: Float3, made: Int3 | None, where: str) -> None:
    """Refuse patches of another shape that have as many voxels; of another number, the shapes of weights tell."""
    here = _patch_of(ours, voxel_size)
    assert here is not None  # the voxel size is known
    if made is None or made == here or math.prod(made) != math.prod(here):
        return
    raise ConfigError(
        f"patches of {_across(here)} voxels (z, y, x), with first weights of '{where}', made with {_across(made)}",
        f"the same: both have {math.prod(made)} voxels, so the weights would fit, and mean something else",
        f"--set model.vit.patch={_written(made)}",
    )


def check_lone(ours: ModelConfig, init: Path, voxel_size: Float3) -> None:
    """The same for weights without a run, as far as they say it themselves; that they do not is said on stderr."""
    path = init / WEIGHTS if init.is_dir() else init
    if encoder_of(ours) != "vit3d" or not path.is_file():
        return  # what is missing is told when weights are read
    tensors, state = read_tensors(path)
    here = _patch_of(ours, voxel_size)
    assert here is not None  # the voxel size is known
    if _EMBEDDING not in tensors or tensors[_EMBEDDING].shape[-1] != math.prod(here):
        return
    if state.get("patch"):
        z, y, x = state["patch"]
        _check_patch(ours, voxel_size, (int(z), int(y), int(x)), str(path))
        return
    print(
        f"note: nothing says what patches '{path}' was made with; they must have been {_across(here)} voxels (z, y, x)",
        file=sys.stderr,
    )


def _across(extent: Int3) -> str:
    return " × ".join(str(n) for n in extent)


def _written(value: Any) -> str:
    """As in ``--set a.b=value``."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def encoder_of(model: ModelConfig) -> str:
    """The name of the encoder of a network."""
    return model.encoder or {"unetr": "vit3d"}.get(model.name, model.name)


def encoder_words(run: Run, ours: ModelConfig, voxel_size: Float3 | None) -> list[str]:
    """What must be set, as "a.b=value", for a network of these settings to have the encoder of a run.

    Of an encoder that is not ours any setting may matter, so all that differ are named.

    Parameters
    ----------
    voxel_size
        nm, z, y, x, of what the network is for; None if it is not known.
    """
    theirs = run.config.model
    if theirs.encoder in INFLATED:
        return []  # all of it is taken over
    depends = _DEPENDS.get(encoder_of(theirs), [n for n in _leaves(theirs) if n not in {"offsets", "flat"}])
    words = []
    for name in dict.fromkeys(("name", "encoder", *depends)):
        made, here = (attrgetter(name)(model) for model in (theirs, ours))
        if name == "vit.patch":
            made, here = encoder_patch(run), _patch_of(ours, voxel_size)
        if made != here and (made is not None or name != "vit.patch"):
            words.append(f"model.{name}={_written(made)}")
    return words


def _leaves(settings: BaseModel, prefix: str = "") -> list[str]:
    """Names of all settings, those within others with dots."""
    names: list[str] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        inner = isinstance(value, BaseModel)
        names += _leaves(value, f"{prefix}{name}.") if inner else [prefix + name]
    return names
