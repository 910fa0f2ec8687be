"""`inflate_to_run`: from a file of a 2-D network to a run directory that holds an encoder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neuropil.config import Config, InflateConfig, override
from neuropil.errors import ConfigError
from neuropil.geometry import Box, Float3, Int3
from neuropil.models import build_encoder
from neuropil.models.checkpoints2d import (
    ConvNeXt2d,
    ViT2d,
    convnext_family,
    open_weights,
    read_convnext,
    read_vit2d,
)
from neuropil.models.inflate import InflateReport, inflate, plan_inflated
from neuropil.models.inflate_convnext import inflate_convnext, plan_convnext
from neuropil.training.card import model_card
from neuropil.training.checkpoint import WEIGHTS, Run, load_exactly, write_atomic, write_tensors
from neuropil.training.rundir import origin
from neuropil.training.transfer import sha256_of

#: Settings that only transformers have, and only ConvNeXts.
_OF_PATCHES = {f"inflate.{name}" for name in ("mode", "slab", "levels", "heads")}
_OF_STEPS = {f"inflate.{name}" for name in ("sections", "stem_stride")}


@dataclass(frozen=True)
class _Made:
    """An encoder from a file: its settings, every tensor, the account, what run.json says besides, and a first line."""

    source: ViT2d | ConvNeXt2d
    config: Config
    tensors: dict[str, Tensor]
    report: InflateReport
    card: dict[str, Any]
    about: list[str]


def inflate_to_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    words: Sequence[str],
    *,
    patch: Int3 | None,
    voxel_size: Float3 | None,
) -> Run:
    """Read a 2-D vision transformer or ConvNeXt, make it 3-D, and keep it as an encoder for `train --init`.

    Parameters
    ----------
    source
        The file; see `neuropil.models.checkpoints2d`.
    out
        The run directory to make.
    words
        Settings as "a.b=value": those under `inflate.` say how, those under `model.` go over what the file says.
    patch, voxel_size
        Voxels of a patch, and nm, z, y, x; see `neuropil.models.inflate.plan_inflated`, and `plan_convnext`.

    Raises
    ------
    ConfigError, RunError
        If settings, file or directory cannot be used.
    """
    if voxel_size is not None:
        voxel_size = Box((0, 0, 0), (0, 0, 0), voxel_size).voxel_size  # three positive numbers, or an error
    how = override(Config(), [w for w in words if w.strip().startswith("inflate.")]).inflate
    file = open_weights(Path(source))
    if convnext_family(file.tensors) is not None:
        made = _convolutional(read_convnext(file), how, words, patch, voxel_size)
    else:
        made = _transformer(read_vit2d(file, heads=how.heads), how, words, patch, voxel_size)
    encoder: Any = build_encoder(made.config.model, voxel_size or (1.0, 1.0, 1.0))
    load_exactly(encoder, made.tensors, str(made.source.path))
    print("\n".join([*made.about, *made.report.lines()]), file=sys.stderr)
    weights = sum(p.numel() for p in encoder.parameters())
    run = Run.create(out, made.config, _card(made, weights, voxel_size))
    state = {"step": 0, "calibration": {}}
    write_tensors(run.path / WEIGHTS, {encoder.key_prefix + name: t for name, t in made.tensors.items()}, state)
    run = run.updated(status="complete")
    write_atomic(run.path / "README.md", model_card(run).encode())
    return run


def _transformer(
    read: ViT2d, how: InflateConfig, words: Sequence[str], patch: Int3 | None, voxel_size: Float3 | None
) -> _Made:
    for name in sorted({word.partition("=")[0].strip() for word in words} & _OF_STEPS):
        raise ConfigError(
            f"{name} for '{read.path}', a transformer", "nothing: it is of ConvNeXts", f"leave {name} out"
        )
    config = override(_settings("unetr", "vit_inflated", vit=plan_inflated(read, how, patch, voxel_size)), words)
    tensors, report = inflate(read, config.model.vit, how)
    assert config.model.vit.patch is not None  # filled by `plan_inflated`
    about = {"heads_from": read.heads_from, "notes": list(read.notes), "shape": asdict(read.shape)}
    card = {"patch": list(config.model.vit.patch), "inflation": about}
    return _Made(read, config, tensors, report, card, _told(read))


def _convolutional(
    read: ConvNeXt2d, how: InflateConfig, words: Sequence[str], patch: Int3 | None, voxel_size: Float3 | None
) -> _Made:
    if patch is not None:
        raise ConfigError(f"--patch {patch} for '{read.path}', a ConvNeXt", "no patch: it has none", "leave it out")
    said = {word.partition("=")[0].strip() for word in words}
    for name in sorted(said & _OF_PATCHES):
        raise ConfigError(f"{name} for '{read.path}', a ConvNeXt", "nothing: it is of patches", f"leave {name} out")
    if "model.convnext.stem_stride" in said:
        raise ConfigError(
            "model.convnext.stem_stride", "inflate.stem_stride, from which the steps follow", "say that instead"
        )
    config = override(_settings("convnext", "convnext", convnext=plan_convnext(read, how, voxel_size)), words)
    tensors, report = inflate_convnext(read, config.model.convnext, how)
    about = {"shape": {"dims": list(read.dims), "depths": list(read.depths)}}
    told = (
        f"'{read.path}': a {read.family} of {list(read.dims)} channels and {list(read.depths)} blocks; sections put "
        f"together by the stem and the steps after it: {list(config.model.convnext.fold or ())}"
    )
    return _Made(read, config, tensors, report, {"inflation": about}, [told])


def _settings(name: str, encoder: str, **sizes: Any) -> Config:
    own = Config()
    return own.model_copy(update={"model": own.model.model_copy(update={"name": name, "encoder": encoder, **sizes})})


def _card(made: _Made, weights: int, voxel_size: Float3 | None) -> dict[str, Any]:
    path = made.source.path
    return {
        **origin(made.config, weights),
        "kind": "encoder",
        # positions count patches, and steps are kept: an encoder fits voxels of any size
        "voxel_size": None if voxel_size is None else list(voxel_size),
        "offsets": [],
        "sources": [{"image": str(path), "sha256": sha256_of(path)}],
        "init": None,
        "best": {"step": 0},
        **made.card,
        "inflation": {"family": made.source.family, **made.card["inflation"], **made.report.summary()},
    }


def _told(read: ViT2d) -> list[str]:
    shape = read.shape
    positions = "rotary positions" if shape.grid is None else f"positions for {shape.grid[0]} x {shape.grid[1]} patches"
    return [
        f"'{read.path}': a {read.family} model of width {shape.dim}, {shape.depth} blocks, {shape.heads} heads "
        f"({read.heads_from}), patches of {shape.patch[0]} x {shape.patch[1]}, {positions}, "
        f"{shape.prefix} tokens without a place",
        *(f"  {note}" for note in read.notes),
    ]
