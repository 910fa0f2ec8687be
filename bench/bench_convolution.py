"""What single crops cost in float32, through PyTorch's own choice of kernels and through `neuropil.models.one_crop`.

    python bench/bench_convolution.py --threads 1

Rows: a training step and a prediction of networks of two recipes, on a crop of sections and on a cube, both ways in
turns; medians of the processor's seconds, which other work hardly changes. Where a processor has no bf16 arithmetic,
networks are computed so. JSON: docs/results/convolution_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from neuropil.config import load_config
from neuropil.infer.devices import keep_heap
from neuropil.models import build_model, one_crop
from neuropil.versions import versions

RESULT = Path(__file__).parents[1] / "docs" / "results" / "convolution_speed.json"
Int3 = tuple[int, int, int]
#: Recipe, settings, voxel size in nm and crop.
ROWS: dict[str, tuple[str, list[str], tuple[float, float, float], Int3]] = {
    "resunet of em_neurons, sections": ("em_neurons", [], (50.0, 4.0, 4.0), (8, 128, 128)),
    "resunet of em_semantic, sections": ("em_semantic", [], (50.0, 5.0, 5.0), (4, 128, 128)),
    "resunet of em_neurons, cube": ("em_neurons", [], (8.0, 8.0, 8.0), (64, 64, 64)),
    "unetr, sections": ("em_neurons", ["model.name=unetr"], (50.0, 4.0, 4.0), (8, 128, 128)),
}


def ways(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median processor seconds through PyTorch's choice, and through ours, in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for ours in (False, True):
            with mock.patch.object(one_crop, "concerns", one_crop.concerns if ours else lambda *_: False):
                started = time.process_time()
                work()
                if turn:  # the first of each does not count
                    seconds[ours].append(time.process_time() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def row(
    recipe: str, words: list[str], voxel_size: tuple[float, float, float], crop: Int3, repeats: int
) -> dict[str, Any]:
    """Seconds of a step and of a prediction, each way."""
    torch.manual_seed(0)
    net = build_model(load_config(recipe, words).model, voxel_size, 9).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 1, *crop)
    found: dict[str, Any] = {"crop": crop}

    def step() -> None:
        net(x).square().mean().backward()
        net.zero_grad()

    def prediction() -> None:
        with torch.inference_mode():
            net(x)

    for name, work in (("step", step), ("prediction", prediction)):
        plain, ours = ways(work, repeats)
        found[name] = {"pytorch_s": round(plain, 3), "ours_s": round(ours, 3), "ratio": round(plain / ours, 2)}
    return found


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    keep_heap()
    torch.set_num_threads(asked.threads)
    rows = {}
    for name, (recipe, words, voxel_size, crop) in ROWS.items():
        rows[name] = row(recipe, words, voxel_size, crop, asked.repeats)
        print(name, rows[name], flush=True)
    command = f"python bench/bench_convolution.py --threads {asked.threads} --repeats {asked.repeats}"
    found = {"command": command, "cores": os.cpu_count(), "versions": versions(), "rows": rows}
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
