"""`neuropil doctor`: what this installation has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import time
from importlib import metadata
from typing import Any

import psutil

from neuropil.registry import plugins

PACKAGES = (
    "torch", "numpy", "scipy", "scikit-image", "numba", "tensorstore", "h5py", "tifffile", "imagecodecs",
    "lightning-fabric", "pydantic", "safetensors", "bioimage-cpp",
)  # fmt: skip
OPTIONAL = {
    "waterz": ("a peer to compare agglomeration with", "pip install 'neuropil[dev]'"),
    "monai": ("a peer to compare tiled prediction with", "pip install 'neuropil[bench]'"),
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
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing[name] = "required: reinstall with `pip install neuropil`"
    found |= _devices()
    for name, (use, how) in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            missing[name] = f"optional ({use}): {how}"
    if shutil.which("chromium") is None and shutil.which("google-chrome") is None:
        missing["chromium"] = "optional (only the tests of the report page open it): apt-get install chromium"
    found["plugins"] = [f"{table} {name} ({package})" for table, name, _, package in plugins()] or "none"
    found["missing"] = missing
    found["healthy"] = not any(note.startswith("required") for note in missing.values())
    return found


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
