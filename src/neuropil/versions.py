"""Versions of what decides a result."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("neuropil", "torch", "numpy", "tensorstore", "numba", "lightning-fabric")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}
