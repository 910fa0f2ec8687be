"""Devices, precision and processes: the only file that knows the training engine (Lightning Fabric)."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric


def keep_heap() -> None:
    """Ask glibc to keep freed memory: a training step frees and claims the same hundreds of MB each time.

    Without this, page faults take 10-25 % of a CPU step (measured in `bench/bench_speed.py`). Elsewhere it does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def precision_of(name: str, device: torch.device) -> str:
    """The engine's word for a precision; "auto" is bf16 on GPUs, and on CPUs that have bf16 arithmetic."""
    if name == "auto":
        fast = device.type == "cuda" or (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        name = "bf16" if fast else "fp32"
    return {"bf16": "bf16-mixed", "fp32": "32-true"}[name]


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def launch(work: Callable[..., Any], *arguments: Any, devices: int, precision: str) -> Any:
    """Run `work(fabric, *arguments)` on one device, or as one process for each of several (DDP)."""
    keep_heap()
    device = default_device()
    strategy = "auto" if devices == 1 else "ddp_spawn"
    fabric = Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=devices,
        strategy=strategy,
        precision=precision_of(precision, device),  # type: ignore[arg-type]
    )
    if devices == 1:
        fabric.launch()
        return work(fabric, *arguments)
    return fabric.launch(partial(_called, work, arguments))


def _called(work: Callable[..., Any], arguments: tuple[Any, ...], fabric: Fabric) -> Any:
    """The engine walks through arguments and trips over frozen dataclasses, so they travel inside the function."""
    keep_heap()
    return work(fabric, *arguments)
