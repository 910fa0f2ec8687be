"""Whether tensors are the whole state of a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def misfits(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """What keeps `tensors` from being the state `own`: names that are missing, unexpected, or of another shape."""
    return [
        *(f"missing {name}" for name in own if name not in tensors),
        *(f"unexpected {name}" for name in tensors if name not in own),
        *(
            f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ),
    ]
