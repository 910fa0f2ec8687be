"""Runs that were never trained, for what does not ask how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from neuropil.config import load_config
from neuropil.models import build_model, network_stride
from neuropil.plan import resolved
from neuropil.training.checkpoint import CARD, CONFIG, WEIGHTS, Run, write_tensors
from neuropil.training.rundir import origin

SMALL = (
    "model.channels=[8,8]",
    "model.offsets=[[-1,0,0],[0,-1,0],[0,0,-1]]",
    "predict.tile=[16,24,24]",
    "predict.overlap=[4,8,8]",
    "train.precision=fp32",
)
VIT = (
    *SMALL,
    "model.name=unetr",
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.patch=[4,8,8]",
    "model.vit.decoder=[8,8,8]",
)
VOXEL = (8.0, 8.0, 8.0)


def run_of(folder: Path, *words: str, seed: int = 0, image: str = "data.h5:raw", **card: Any) -> Run:
    """A run directory with random weights, finished as its card says."""
    config = load_config("em_neurons", [*(words or SMALL), f"train.seed={seed}"])
    config = resolved(config, VOXEL, network_stride(config.model, VOXEL))
    assert config.model.offsets is not None
    torch.manual_seed(seed)
    network = build_model(config.model, VOXEL, len(config.model.offsets))
    with torch.no_grad():
        network.get_parameter("head.weight").normal_(std=0.5)  # answers that differ
    steps = [list(step) for step in config.model.offsets]
    run = Run.create(
        folder,
        config,
        {
            **origin(config, sum(p.numel() for p in network.parameters())),
            "voxel_size": list(VOXEL),
            "task": "neurons",
            "channels": [[f"affinity {i}", step] for i, step in enumerate(steps)],
            "offsets": steps,
            "sources": [{"image": image, "labels": "data.h5:labels", "held_back": None}],
            "init": None,
            "status": "complete",
            "best": {"voi_split": 0.5 + seed, "voi_merge": 0.25, "voi_sum": 0.75 + seed, "arand": 0.1},
            **card,
        },
    )
    state = {"step": 1, "calibration": {"threshold": 0.4, "bias": []}}
    write_tensors(run.path / WEIGHTS, network.state_dict(), state)
    return Run.open(folder)


def rewritten(folder: Path, **settings: Any) -> None:
    """Change groups of settings in the config.yaml of a run, as anybody could."""
    values = yaml.safe_load((folder / CONFIG).read_text())
    for group, change in settings.items():
        values[group] = {**values[group], **change} if isinstance(change, dict) else change
    (folder / CONFIG).write_text(yaml.safe_dump(values))


__all__ = ["CARD", "CONFIG", "SMALL", "VIT", "VOXEL", "rewritten", "run_of"]
