"""Which device and precision the arithmetic runs on, and how its memory is kept."""

from __future__ import annotations

import ctypes
import sys
from typing import Literal

import torch


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively: convolutions are then 2-4 times faster than in fp32."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_of(name: str, device: torch.device) -> Literal["bf16", "fp32"]:
    """Resolve "auto": bf16 on GPUs and on CPUs that have it."""
    if name == "auto":
        return "bf16" if device.type == "cuda" or cpu_has_bf16() else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def keep_heap() -> None:
    """Ask glibc to keep freed memory: a training step, or a tile, frees and claims the same hundreds of MB each time.

    Without this, page faults take 5-20 % of a CPU step (see LOG.md, 2026-11-23). Elsewhere it does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
