"""`inflate_to_run`: from a file of a 2-D vision transformer to a run directory that holds an encoder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from neuropil.config import Config, ViTConfig, override
from neuropil.geometry import Float3, Int3
from neuropil.models import build_encoder
from neuropil.models.checkpoints2d import ViT2d, read_vit2d
from neuropil.models.inflate import InflateReport, inflate, plan_inflated
from neuropil.training.card import model_card
from neuropil.training.checkpoint import WEIGHTS, Run, load_exactly, write_atomic, write_tensors
from neuropil.training.rundir import origin
from neuropil.training.transfer import sha256_of

#: The settings that an inflated run begins from.
_MODEL = {"name": "unetr", "encoder": "vit_inflated"}


def inflate_to_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    words: Sequence[str],
    *,
    patch: Int3 | None,
    voxel_size: Float3 | None,
) -> Run:
    """Read a 2-D vision transformer, make it 3-D, and keep it as an encoder for `train --init`.

    Parameters
    ----------
    source
        The file; see `neuropil.models.checkpoints2d`.
    out
        The run directory to make.
    words
        Settings as "a.b=value": those under `inflate.` say how, those under `model.vit.` go over what the file says.
    patch, voxel_size
        Voxels of a patch, and nm, z, y, x; see `neuropil.models.inflate.plan_inflated`.

    Raises
    ------
    ConfigError, RunError
        If settings, file or directory cannot be used.
    """
    how = override(Config(), [w for w in words if w.strip().startswith("inflate.")]).inflate
    read = read_vit2d(source, heads=how.heads)
    planned = plan_inflated(read, how, patch, voxel_size)
    config = override(_settings(planned), words)
    tensors, report = inflate(read, config.model.vit, how)
    encoder: Any = build_encoder(config.model, (1.0, 1.0, 1.0))
    load_exactly(encoder, tensors, str(read.path))
    told = _told(read, report)
    print("\n".join(told), file=sys.stderr)
    weights = sum(p.numel() for p in encoder.parameters())
    run = Run.create(out, config, _card(read, report, config, weights, voxel_size))
    state = {"step": 0, "calibration": {}}
    write_tensors(run.path / WEIGHTS, {encoder.key_prefix + name: t for name, t in tensors.items()}, state)
    run = run.updated(status="complete")
    write_atomic(run.path / "README.md", model_card(run).encode())
    return run


def _settings(planned: ViTConfig) -> Config:
    own = Config()
    model = own.model.model_copy(update={**_MODEL, "vit": planned})
    return own.model_copy(update={"model": model})


def _card(
    read: ViT2d, report: InflateReport, config: Config, weights: int, voxel_size: Float3 | None
) -> dict[str, Any]:
    assert config.model.vit.patch is not None  # filled by `plan_inflated`
    return {
        **origin(config, weights),
        "kind": "encoder",
        # positions count patches: an encoder fits voxels of any size
        "voxel_size": None if voxel_size is None else list(voxel_size),
        "offsets": [],
        "patch": list(config.model.vit.patch),
        "sources": [{"image": str(read.path), "sha256": sha256_of(read.path)}],
        "init": None,
        "best": {"step": 0},
        "inflation": {
            "family": read.family,
            "heads_from": read.heads_from,
            "notes": list(read.notes),
            "shape": asdict(read.shape),
            **report.summary(),
        },
    }


def _told(read: ViT2d, report: InflateReport) -> list[str]:
    shape = read.shape
    positions = "rotary positions" if shape.grid is None else f"positions for {shape.grid[0]} x {shape.grid[1]} patches"
    return [
        f"'{read.path}': a {read.family} model of width {shape.dim}, {shape.depth} blocks, {shape.heads} heads "
        f"({read.heads_from}), patches of {shape.patch[0]} x {shape.patch[1]}, {positions}, "
        f"{shape.prefix} tokens without a place",
        *(f"  {note}" for note in read.notes),
        *report.lines(),
    ]
