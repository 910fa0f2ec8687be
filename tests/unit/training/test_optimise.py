"""Parameter groups: what decays, what is frozen, how fast each layer learns; moments come back as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuropil.config import TrainConfig
from neuropil.errors import ConfigError
from neuropil.training.optimise import make_optimisers, moments, parameter_groups, restore_moments, set_rate


class Layered(nn.Module):
    """Four layers, the last one a head."""

    layers = 3

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.head = nn.Linear(2, 1)

    def layer_of(self, name: str) -> int:
        return 3 if name.startswith("head") else int(name.split(".")[1])

    def encoder_names(self) -> set[str]:
        return {n for n, _ in self.named_parameters() if n.startswith("body")}

    def no_decay(self) -> set[str]:
        return {n for n, _ in self.named_parameters() if n.endswith("bias")}


def _scale_of(net: nn.Module, groups: list[dict], parameter: nn.Parameter) -> tuple[float, float]:
    (found,) = [g for g in groups if any(p is parameter for p in g["params"])]
    return found["scale"], found["weight_decay"]


def test_layer_decay_and_weight_decay() -> None:
    net = Layered()
    groups = parameter_groups(net, TrainConfig(layer_decay=0.5, weight_decay=0.1))
    assert _scale_of(net, groups, net.head.weight) == (1.0, 0.1)
    assert _scale_of(net, groups, net.head.bias) == (1.0, 0.0)
    assert _scale_of(net, groups, net.body[0].weight) == (0.125, 0.1)
    assert sum(len(g["params"]) for g in groups) == 8


@pytest.mark.parametrize(("freeze", "still"), [("none", 4), ("half", 2), ("encoder", 1)])
def test_frozen_layers_do_not_move(freeze: str, still: int) -> None:
    net = Layered()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimisers = make_optimisers({"network": net}, TrainConfig(freeze=freeze))  # type: ignore[arg-type]
    set_rate(optimisers, 0.1)
    x = torch.ones(1, 2)
    for layer in net.body:
        x = layer(x)
    net.head(x).sum().backward()
    optimisers["network"].step()
    moved = {n.rsplit(".", 1)[0] for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert len(moved) == still
    assert "head" in moved


def test_a_network_without_layers_cannot_decay_by_layer() -> None:
    with pytest.raises(ConfigError, match="layer_of"):
        parameter_groups(nn.Linear(2, 2), TrainConfig(layer_decay=0.9))


def test_rates_follow_the_scales() -> None:
    optimisers = make_optimisers({"a": Layered()}, TrainConfig(layer_decay=0.5))
    set_rate(optimisers, 0.01)
    rates = {g["scale"]: g["lr"] for g in optimisers["a"].param_groups}
    assert rates == {1.0: 0.01, 0.5: 0.005, 0.25: 0.0025, 0.125: 0.00125}


def test_moments_come_back() -> None:
    torch.manual_seed(0)
    nets = [Layered(), Layered()]
    nets[1].load_state_dict(nets[0].state_dict())
    made = [make_optimisers({"a": n}, TrainConfig()) for n in nets]

    def step(k: int) -> None:
        for layer in nets[k].body:
            layer(torch.ones(1, 2)).square().sum().backward()
        nets[k].head(torch.ones(1, 2)).sum().backward()
        made[k]["a"].step()
        made[k]["a"].zero_grad()

    step(0)
    nets[1].load_state_dict(nets[0].state_dict())
    restore_moments(made[1], moments(made[0]))
    step(0)
    step(1)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
