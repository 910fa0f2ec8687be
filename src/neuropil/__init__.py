"""neuropil: label neurons in microscope volumes with few labels.

The verbs of the command line are the functions of `neuropil.api`; the names below are resolved on first use, so that
`import neuropil` is quick and does not import torch. No room of the package may bear the name of a verb listed here:
the room would take the verb's place as soon as it is imported (hence `training`, not `train`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Affinities": "affinities",
    "Block": "geometry",
    "Box": "geometry",
    "NeuropilError": "errors",
    "Run": "training.checkpoint",
    "Skeleton": "skeleton",
    "Volume": "volume",
    "evaluate": "api",
    "info": "api",
    "load_config": "config",
    "open_volume": "volume",
    "predict": "api",
    "segment": "api",
    "train": "api",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from neuropil.affinities import Affinities
    from neuropil.api import evaluate, info, predict, segment, train
    from neuropil.config import load_config
    from neuropil.errors import NeuropilError
    from neuropil.geometry import Block, Box
    from neuropil.skeleton import Skeleton
    from neuropil.training.checkpoint import Run
    from neuropil.volume import Volume, open_volume


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'neuropil' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"neuropil.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
