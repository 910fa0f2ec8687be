"""How fast a run predicts on this machine."""

from __future__ import annotations

import platform
import time
from typing import Any

import torch

from neuropil.infer.devices import default_device, precision_of
from neuropil.models import network_stride
from neuropil.plan import resolved
from neuropil.training.checkpoint import Run

#: Seconds to measure for, after one tile to warm up.
_SECONDS = 1.0


def measured(run: Run) -> dict[str, Any]:
    """Voxels a second through the network alone, in the tiles that prediction would use.

    Reading, blending and writing come on top; `neuropil segment` stores what they took.
    """
    settings = resolved(run.config, run.voxel_size, network_stride(run.config.model, run.voxel_size))
    assert settings.predict.tile is not None  # filled by `resolved`
    device = default_device()
    precision = precision_of(settings.train.precision, device)
    net = run.load_model(device)
    x_BCZYX = torch.rand(1, 1, *settings.predict.tile, device=device).contiguous(memory_format=torch.channels_last_3d)
    tiles, started = 0, 0.0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        _answered(net, x_BCZYX)
        started = time.perf_counter()
        while not tiles or time.perf_counter() - started < _SECONDS:
            _answered(net, x_BCZYX)
            tiles += 1
    seconds = time.perf_counter() - started
    gpu = device.type == "cuda"
    threads = f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"
    return {
        "voxels_per_second": round(tiles * x_BCZYX.numel() / seconds),
        "tile": list(settings.predict.tile),
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if gpu else threads,
    }


def _answered(net: torch.nn.Module, x_BCZYX: torch.Tensor) -> float:
    # a number of the answer: a GPU is waited for
    return float(net(x_BCZYX).sum())
