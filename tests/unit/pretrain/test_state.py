from __future__ import annotations

import torch

from neuropil.pretrain.state import flattened, load_optimiser_state, nested, optimiser_state


def test_nested_state_comes_back() -> None:
    state = {
        "a": torch.ones(2),
        "n": 3,
        "deep": {"x.y": torch.zeros(1), "list": [1, 2], "deeper": {"t": torch.eye(2)}},
        "empty": {},
    }
    tensors, values = flattened(state)
    assert all("." in n or n == "a" for n in tensors)
    back = nested(tensors, values)
    assert back["n"] == 3
    assert back["empty"] == {}
    assert torch.equal(back["deep"]["x.y"], torch.zeros(1))
    assert torch.equal(back["deep"]["deeper"]["t"], torch.eye(2))
    assert set(back) == set(state)
    assert set(back["deep"]) == set(state["deep"])


def test_an_optimiser_goes_on_as_if_it_had_not_stopped() -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    made = [torch.optim.Adam([w], lr=0.1) for w in weights]

    def step(i: int) -> None:
        weights[i].square().sum().backward()
        made[i].step()
        made[i].zero_grad()

    step(0)
    with torch.no_grad():
        weights[1].copy_(weights[0])
    load_optimiser_state(made[1], optimiser_state(made[0]))
    step(0)
    step(1)
    assert torch.equal(weights[0], weights[1])
