"""State as a checkpoint keeps it: tensors by name, and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def flattened(state: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split nested dictionaries into tensors, by dotted names, and what JSON can hold."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, Mapping):
            inner, plain = flattened(value, f"{prefix}{name}.")
            tensors |= inner
            values[name] = plain
        else:
            values[name] = value
    return tensors, values


def nested(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flattened`: the branches are those of `values`, whose names may hold dots."""
    out: dict[str, Any] = {
        name: nested(_under(tensors, name), value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
    branches = tuple(f"{name}." for name, value in values.items() if isinstance(value, Mapping))
    return out | {name: tensor for name, tensor in tensors.items() if not branches or not name.startswith(branches)}


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """What an optimiser remembers of each parameter."""
    return {
        f"{i}.{name}": torch.as_tensor(value)
        for i, moments in optimiser.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Take back what `optimiser_state` gave."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
