"""What a run optimises, seen from the loop: losses by group, parameters by group, and the module that is kept.

Supervised training and every way of pretraining are one of these, so that they share one loop without a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from neuropil.models.layers import Conv
from neuropil.tasks.base import Hint

Batch = dict[str, Tensor]
#: State beside the parameters: tensors, and plain values.
ExtraState = tuple[dict[str, Tensor], dict[str, Any]]


class Objective(Protocol):
    """An `nn.Module` whose forward turns a batch into losses.

    Attributes
    ----------
    kept
        The module whose moving average is validated and written as the run's weights.

    It may have ``warnings() -> Sequence[str]`` besides: sentences that belong to whatever is said of the run, such as
    that something was given up on the way. They are asked for at each validation.
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


class HintedObjective(SupervisedObjective):
    """Supervised training with something taught beside, by a layer of its own that the run does not keep.

    Parameters
    ----------
    network, loss
        See `SupervisedObjective`.
    hint
        What is taught beside, from what the network's last layer (`head`) is given.
    """

    def __init__(self, network: nn.Module, loss: Callable[[Tensor, Batch], Tensor], hint: Hint) -> None:
        super().__init__(network, loss)
        features = network.get_parameter("head.weight").shape[1]
        self.beside = Conv(features, hint.outputs, 1)
        self._hint = hint

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch."""
        seen: list[Tensor] = []
        # for this pass only: the network is copied and kept, and must not carry the hook
        handle = self.kept.get_submodule("head").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.kept(batch["image"])
        finally:
            handle.remove()
        return {"network": self._loss(logits, batch) + self._hint.loss(self.beside(seen[0]), batch)}

    def groups(self) -> dict[str, nn.Module]:
        """One group: the network, and the layer beside."""
        return {"network": self}

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch."""
        network: Any = self.kept
        return {"beside.bias"} | {f"kept.{name}" for name in network.no_decay()}

    @property
    def layers(self) -> int:
        """Number of the last layer."""
        network: Any = self.kept
        return int(network.layers)

    def layer_of(self, name: str) -> int:
        """Layer of a parameter: the layer beside is with the head."""
        network: Any = self.kept
        return int(network.layer_of(name.removeprefix("kept."))) if name.startswith("kept.") else self.layers

    def encoder_names(self) -> set[str]:
        """Names of the state that pretraining makes."""
        network: Any = self.kept
        return {f"kept.{name}" for name in network.encoder_names()}
