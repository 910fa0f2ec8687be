"""Memory: what this machine has left, and what a step of training needs, counted without taking it.

A network is run with fake tensors, which have shapes and types but no values, and what autograd keeps is added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, UnsupportedFakeTensorException

from neuropil.config import Config
from neuropil.geometry import Float3, Int3
from neuropil.infer.devices import default_device, precision_of
from neuropil.models import build_model
from neuropil.tasks.base import task_named

#: Of a process before it trains or predicts: interpreter, torch and its libraries.
PROCESS_BYTES = 640 * 2**20
#: Of each weight: itself, gradient, two moments, moving average, and the copy of that which is validated; fp32.
_WEIGHT_BYTES = 6 * 4
#: Full-resolution copies of logits that losses hold, forward and backward.
_LOSS_COPIES = 6
#: What gradients and convolutions take for themselves beside what is kept, as a share of it: enough for the networks
#: and recipes that ship, by the growth of a process over two steps.
_WORKSPACE = 1.0
#: Limits of this process's group, where a container has one.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one step of training.

    Parameters
    ----------
    weights
        Of the network and all that has its shape.
    kept
        What the backward pass needs of the forward pass, for the whole batch.
    """

    weights: int
    kept: int

    @property
    def total(self) -> int:
        """All of it, with what is needed on the way."""
        return self.weights + round(self.kept * (1 + _WORKSPACE))


def available_bytes() -> int:
    """Memory that a new process can have: of the GPU that would be used, else of the machine or its container."""
    device = default_device()
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([int(psutil.virtual_memory().available), *_left_in_container()])


def _left_in_container() -> list[int]:
    for limit, used in _CGROUPS:
        try:
            most, taken = Path(limit).read_text().strip(), Path(used).read_text().strip()
        except OSError:
            continue
        if most.isdigit():
            return [max(0, int(most) - int(taken))]
    return []


def step_memory(config: Config, voxel_size: Float3) -> StepMemory | None:
    """What a step of training takes under settings that are resolved for a voxel size (nm; z, y, x).

    Returns
    -------
    StepMemory or None
        None for a network that cannot be run without values, as some of other packages.
    """
    channels = len(task_named(config.task).channels(config))
    assert config.data.crop is not None  # filled by `neuropil.plan.resolved`
    z, y, x = config.data.crop
    bf16 = precision_of(config.train.precision, default_device()) == "bf16"
    try:
        network = build_model(config.model, voxel_size, channels).train()
        with FakeTensorMode(allow_non_fake_inputs=True):
            kept = _kept_bytes(network, (config.train.batch, 1, z, y, x), bf16=bf16)
    except (NotImplementedError, RuntimeError, UnsupportedFakeTensorException):
        return None
    weights = sum(p.numel() for p in network.parameters()) * _WEIGHT_BYTES
    return StepMemory(weights, kept + _LOSS_COPIES * channels * z * y * x * 4 * config.train.batch)


def _kept_bytes(network: torch.nn.Module, shape: tuple[int, ...], *, bf16: bool) -> int:
    seen = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            total += storage.nbytes()
            held.append(tensor)  # a freed storage's address could come again
        return tensor

    held: list[Any] = []
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        network(torch.empty(shape))
    return total


def tile_bytes(config: Config, voxel_size: Float3, tile: Int3, batch: int) -> int | None:
    """About the most that predicting a batch of tiles takes; None as of `step_memory`.

    Without a backward pass only what a layer reads and writes is held, and skips: a third of what training keeps.
    """
    like = config.model_copy(
        update={
            "data": config.data.model_copy(update={"crop": tile}),
            "train": config.train.model_copy(update={"batch": batch}),
        }
    )
    found = step_memory(like, voxel_size)
    return None if found is None else found.weights // 6 + found.kept // 3
