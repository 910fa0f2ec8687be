"""Optimisers of a run: what decays, what is frozen, and how fast each layer learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.config import TrainConfig
from neuropil.errors import ConfigError


def make_optimisers(groups: Mapping[str, nn.Module], config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """An AdamW for each group of parameters.

    Raises
    ------
    ConfigError
        If layers are to be told apart in a network that does not name them.
    """
    return {
        name: torch.optim.AdamW(parameter_groups(module, config), lr=config.lr, fused=True)
        for name, module in groups.items()
    }


def parameter_groups(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters that share weight decay and learning-rate scale.

    A layer's scale is ``layer_decay ** (layers - layer)`` (Clark et al. 2020; Bao et al. 2022 for vision transformers):
    the head learns at the full rate, the first layer most slowly. Frozen layers lose their gradient.
    """
    names: Any = getattr(module, "no_decay", set)
    plain: set[str] = names()
    frozen = _frozen(module, config)
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if name in frozen:
            parameter.requires_grad = False
            continue
        if not parameter.requires_grad:
            continue
        scale = 1.0
        if config.layer_decay < 1:
            scale = config.layer_decay ** (_layers(module).layers - _layers(module).layer_of(name))
        decay = 0.0 if name in plain else config.weight_decay
        found.setdefault((decay, scale), []).append(parameter)
    return [{"params": p, "weight_decay": decay, "scale": scale} for (decay, scale), p in found.items()]


def set_rate(optimisers: Mapping[str, torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of the step about to be taken."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]


def moments(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What optimisers remember, as named tensors."""
    return {
        f"{name}.{i}.{key}": torch.as_tensor(value)
        for name, optimiser in optimisers.items()
        for i, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_moments(optimisers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Take back what `moments` gave."""
    for name, optimiser in optimisers.items():
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            owner, _, rest = key.partition(".")
            if owner != name:
                continue
            index, _, what = rest.partition(".")
            like = parameters[int(index)]
            # the fused optimiser walks parameter and moments by memory address: they must lie in memory alike
            laid = tensor.clone() if tensor.ndim == 0 else torch.empty_like(like).copy_(tensor)
            state.setdefault(int(index), {})[what] = laid
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _frozen(module: nn.Module, config: TrainConfig) -> set[str]:
    if config.freeze == "none":
        return set()
    named = _layers(module)
    encoder: set[str] = named.encoder_names()
    if config.freeze == "encoder":
        return encoder
    half = max(named.layer_of(name) for name in encoder) // 2
    return {name for name in encoder if named.layer_of(name) <= half}


def _layers(module: nn.Module) -> Any:
    """The module, if it can say which layer a parameter belongs to."""
    if not hasattr(module, "layer_of"):
        raise ConfigError(
            f"train.layer_decay or train.freeze with {type(module).__name__}",
            "a network with `layers`, `layer_of` and `encoder_names`",
            "leave train.layer_decay at 1 and train.freeze at none",
        )
    return module
