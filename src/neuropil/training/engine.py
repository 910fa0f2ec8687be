"""Devices, precision and processes: the only file that knows the training engine (Lightning Fabric)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessRaisedException

from neuropil.errors import ConfigError, RunError
from neuropil.infer.devices import default_device, keep_heap, precision_of


def check_devices(devices: int) -> None:
    """Raise a ConfigError if the machine has fewer devices (GPUs, or CPU cores where there is no GPU)."""
    there = torch.cuda.device_count() if default_device().type == "cuda" else os.cpu_count() or 1
    if devices > there:
        raise ConfigError(
            f"train.devices = {devices}", f"at most {there}, what this machine has", f"--set train.devices={there}"
        )


def launch(work: Callable[..., Any], *arguments: Any, devices: int, precision: str) -> Any:
    """Run `work(fabric, *arguments)` on one device, or as one process for each of several (DDP)."""
    keep_heap()
    device = default_device()
    # the precision is a setting of ours; the engine need not announce it
    logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(_worth_saying)
    strategy = "auto" if devices == 1 else "ddp_spawn"
    fabric = Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=devices,
        strategy=strategy,
        precision="bf16-mixed" if precision_of(precision, device) == "bf16" else "32-true",
    )
    if devices == 1:
        fabric.launch()
        return work(fabric, *arguments)
    try:
        return fabric.launch(partial(_called, work, arguments))
    except ProcessRaisedException as error:
        # one process failed and the others were ended; its message is what the user must see
        reason = str(error).strip().splitlines()[-1]
        raise RunError(
            f"a training process failed: {reason}", "all processes to finish", "see the lines above"
        ) from None


def _worth_saying(record: logging.LogRecord) -> bool:
    return "Using bfloat16 Automatic Mixed Precision" not in record.getMessage()


def _called(work: Callable[..., Any], arguments: tuple[Any, ...], fabric: Fabric) -> Any:
    """The engine walks through arguments and trips over frozen dataclasses, so they travel inside the function."""
    keep_heap()
    return work(fabric, *arguments)
