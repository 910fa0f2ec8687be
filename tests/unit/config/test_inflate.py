"""Settings of inflation: what cannot be is refused with what could."""

from __future__ import annotations

import pytest

from neuropil.config import load_config
from neuropil.errors import ConfigError


def test_sizes_of_an_inflated_encoder_are_settings() -> None:
    words = ["model.encoder=vit_inflated", "model.vit.mlp=swiglu", "model.vit.eps=1e-5", "model.vit.prefix_tokens=5"]
    words += ["model.vit.inflated.positions=rope", "model.vit.inflated.table=[8,1,1]", "inflate.depth=gaussian"]
    config = load_config("em_neurons", words)
    assert (config.model.vit.mlp, config.model.vit.inflated.table, config.inflate.depth) == (
        "swiglu",
        (8, 1, 1),
        "gaussian",
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("inflate.depth=middle", "'center', 'average' or 'gaussian'"),
        ("inflate.mode=plane", "'slab' or 'cube'"),
        ("inflate.slab=4", "odd number of sections"),
        ("inflate.std=[0.2,0,0.2]", "greater than 0"),
        ("inflate.floor=2", "less than or equal to 1"),
        ("inflate.dept=center", "did you mean 'depth'"),
        ("model.vit.mlp=relu", "'gelu' or 'swiglu'"),
        ("model.vit.inflated.table=[0,3,3]", "greater than 0"),
    ],
)
def test_what_cannot_be_says_what_could(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("em_neurons", [word])


def test_rotary_positions_need_heads_in_fours() -> None:
    words = ["model.vit.dim=36", "model.vit.heads=6", "model.vit.inflated.positions=rope"]
    with pytest.raises(ConfigError, match="in fours"):
        load_config("em_neurons", words)
