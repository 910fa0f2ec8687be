"""What a run optimises, seen from the loop: losses by group, parameters by group, and the module that is kept.

Supervised training and every way of pretraining are one of these, so that they share one loop without a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

Batch = dict[str, Tensor]
#: State beside the parameters: tensors, and plain values.
ExtraState = tuple[dict[str, Tensor], dict[str, Any]]


class Objective(Protocol):
    """An `nn.Module` whose forward turns a batch into losses.

    Attributes
    ----------
    kept
        The module whose moving average is validated and written as the run's weights.
    """

    kept: nn.Module

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Group of parameters → its loss (a scalar); the losses of groups must not share parameters."""

    def groups(self) -> dict[str, nn.Module]:
        """Group → the module that holds its parameters; each group has an optimiser of its own."""

    def after_update(self, step: int, total: int | None) -> dict[str, float]:
        """Whatever follows step number `step` of so many (teachers, agents, schedules); numbers to log."""

    def judged(self, result: Mapping[str, Any]) -> None:
        """Take note of a validation, the same in every process."""

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of `kept` by the names that they are written by."""

    def extra_state(self) -> ExtraState:
        """What resuming needs beside parameters and buffers."""

    def load_extra_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take back what `extra_state` gave."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As of `nn.Module`."""

    def state_dict(self) -> dict[str, Tensor]:
        """As of `nn.Module`."""


class SupervisedObjective(nn.Module):
    """Supervised training: a network learns what a task teaches of labelled crops.

    Parameters
    ----------
    network
        Image (B, 1, Z, Y, X) → logits (B, C, Z, Y, X).
    loss
        (logits, batch) → scalar.
    """

    def __init__(self, network: nn.Module, loss: Callable[[Tensor, Batch], Tensor]) -> None:
        super().__init__()
        self.kept = network
        self._loss = loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch."""
        return {"network": self._loss(self.kept(batch["image"]), batch)}

    def groups(self) -> dict[str, nn.Module]:
        """One group: the network."""
        return {"network": self.kept}

    def after_update(self, step: int, total: int | None) -> dict[str, float]:
        """Nothing follows a step."""
        return {}

    def judged(self, result: Mapping[str, Any]) -> None:
        """Nothing follows a validation."""

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's own names."""
        return dict(tensors)

    def extra_state(self) -> ExtraState:
        """Nothing beside the parameters."""
        return {}, {}

    def load_extra_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Nothing to take back."""
