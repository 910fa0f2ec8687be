"""A run as a program of `torch.export`: a .pt2 that a server loads without neuropil, and what it must be given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neuropil.data.normalise import CLIP
from neuropil.exchange.portable import exported, plan_of, save_exported
from neuropil.exchange.sample import grey
from neuropil.training.checkpoint import Run
from neuropil.zoo.package import write_card

PROGRAM, INTERFACE = "network.pt2", "interface.json"
_USE = """import torch

network = torch.export.load("network.pt2").module()
with torch.no_grad():
    probabilities = network(grey)          # float32 (batch, 1, z, y, x) -> (batch, channels, z, y, x)"""


def fill(folder: Path, run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """Write a run into a folder as a program of `torch.export`.

    Returns
    -------
    dict
        `extent` and `batch`: "any", or the only ones that it takes.

    Raises
    ------
    RunError
        If its network cannot be exported, or the program answers otherwise.
    """
    graph = exported(run, lambda extent: grey(extent, run.config.data))
    save_exported(graph.program, folder / PROGRAM)
    plan, data = plan_of(run), run.config.data
    count, _, *extent = graph.example_BCZYX.shape
    takes = {
        "extent": "any" if graph.any_extent else f"{extent[0]}, {extent[1]}, {extent[2]}",
        "batch": "any" if graph.any_batch else str(count),
    }
    interface = {
        **takes,
        "multiples_of": list(plan.stride),
        "input": "float32 (batch, 1, z, y, x), grey values normalised as below, clipped",
        "normalise": {"kind": data.normalise, "percentiles": list(data.percentiles), "clip": list(CLIP)},
        "output": "float32 (batch, channels, z, y, x), probabilities",
        "channels": [[channel.name, list(channel.step)] for channel in run.channels],
        "voxel_size_nm": list(run.voxel_size),
        "tile": list(plan.tile),
        "overlap": list(plan.overlap),
        "decoding": run.calibration,
    }
    (folder / INTERFACE).write_text(json.dumps(interface, indent=1) + "\n")
    write_card(folder, facts, _USE.splitlines())
    return takes
