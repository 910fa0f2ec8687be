"""`neuropil doctor`: what this installation has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
import time
from importlib import metadata
from typing import Any

import psutil

from neuropil.registry import plugins

#: Packages on which results and speed depend most; their versions are told.
PACKAGES = (
    "torch", "numpy", "scipy", "scikit-image", "numba", "tensorstore", "h5py", "tifffile", "imagecodecs",
    "lightning-fabric", "pydantic", "safetensors", "bioimage-cpp",
)  # fmt: skip
#: Modules that something asks for only when it is used: what for, and the extra that brings them.
OPTIONAL = {
    "neuroglancer": ("neuropil view", "view"),
    "napari": ("neuropil view --napari", "napari"),
    "distributed": ("neuropil segment --dask", "cluster"),
    "bioimageio.core": ("bioimage.io models in and out", "exchange"),
    "tensorboard": ("train.sinks=[tensorboard]", "tensorboard"),
    "wandb": ("train.sinks=[wandb]", "wandb"),
}


def examine() -> dict[str, Any]:
    """Versions, devices, memory, speed of a small convolution, and what is missing with the way to get it."""
    found: dict[str, Any] = {
        "neuropil": metadata.version("neuropil"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_free_gb": round(psutil.virtual_memory().available / 2**30, 1),
        "disk_free_gb": round(shutil.disk_usage(".").free / 2**30, 1),
    }
    missing: dict[str, str] = {}
    for name in required():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing[name] = "required: reinstall with `pip install neuropil`"
        else:
            found |= {name: version} if name in PACKAGES else {}
    found |= _devices()
    for name, (use, extra) in OPTIONAL.items():
        if not _importable(name):
            missing[name] = f"optional ({use}): pip install 'neuropil[{extra}]'"
    found["plugins"] = [f"{table} {name} ({package})" for table, name, _, package in plugins()] or "none"
    found["missing"] = missing
    found["healthy"] = not any(note.startswith("required") for note in missing.values())
    return found


def required() -> list[str]:
    """Names of the packages that neuropil cannot do without, as its own metadata state them; no extra's."""
    lines = metadata.requires("neuropil") or []
    plain = [line for line in lines if "extra ==" not in line]
    return sorted((re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in plain), key=_order)


def _order(name: str) -> int:
    return PACKAGES.index(name) if name in PACKAGES else len(PACKAGES)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def _devices() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    from neuropil.infer.devices import cpu_has_bf16

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "gpus": gpus or "none (training and prediction run on the CPU)",
        "cpu_bf16": cpu_has_bf16(),
        "cpu_conv_gflops": round(_convolution_speed()),
    }


def _convolution_speed() -> float:
    """GFLOP/s of a 32-channel 3x3x3 convolution, the bulk of the default network's work."""
    import torch

    from neuropil.infer.devices import cpu_has_bf16

    layer = torch.nn.Conv3d(32, 32, 3, padding=1).to(torch.bfloat16 if cpu_has_bf16() else torch.float32)
    x = torch.zeros(1, 32, 32, 32, 32, dtype=layer.weight.dtype).to(memory_format=torch.channels_last_3d)
    layer = layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with torch.inference_mode():
        layer(x)
        started = time.perf_counter()
        for _ in range(5):
            layer(x)
        seconds = (time.perf_counter() - started) / 5
    return float(2 * 32 * 32 * 27 * 32**3 / seconds / 1e9)
