from __future__ import annotations

import pytest
import torch

from neuropil.config import ModelConfig, ViTConfig
from neuropil.errors import ConfigError
from neuropil.models.unetr import UNETR, plan_taps

Nm = tuple[float, float, float]


def network(voxel_size: Nm = (8, 8, 8), **vit: object) -> UNETR:
    torch.manual_seed(0)
    given = {"dim": 24, "depth": 4, "heads": 2, "decoder": (8, 8, 8, 8), **vit}
    return UNETR(ModelConfig(name="unetr", vit=ViTConfig(**given), norm="standardised"), voxel_size, 3).eval()


@pytest.mark.parametrize(
    ("depth", "levels", "taps"),
    [(12, 4, (3, 6, 9, 12)), (6, 4, (2, 3, 5, 6)), (6, 3, (2, 4, 6)), (2, 4, (1, 2)), (1, 3, (1,)), (5, 1, (5,))],
)
def test_taps_are_spaced_evenly_and_end_with_the_last(depth: int, levels: int, taps: tuple[int, ...]) -> None:
    assert plan_taps(ViTConfig(depth=depth), levels) == taps


def test_taps_that_are_given_are_taken() -> None:
    net = network(taps=(1, 4))
    assert net.taps == (1, 4)
    assert net.places == (2,)
    with pytest.raises(ConfigError, match="at most 3, one for each level"):
        network(taps=(1, 2, 3, 4))


@pytest.mark.parametrize(("voxel_size", "places"), [((8, 8, 8), (1, 2)), ((40, 4, 4), (1, 2, 3))])
def test_deep_tokens_join_the_coarse_levels(voxel_size: Nm, places: tuple[int, ...]) -> None:
    net = network(voxel_size)
    assert net.places == places
    assert net.stride == net.encoder.patch


def test_every_tap_reaches_the_output() -> None:
    net = network()
    x = torch.randn(1, 1, 16, 16, 16)
    before = net(x)
    for n in range(len(net.taps)):
        tapped = net.encoder.taps
        net.encoder.taps = lambda x, blocks, n=n, tapped=tapped: [  # type: ignore[method-assign]
            torch.zeros_like(t) if k == n else t for k, t in enumerate(tapped(x, blocks))
        ]
        assert not torch.allclose(net(x), before, atol=1e-6), f"tap {n}"
        net.encoder.taps = tapped  # type: ignore[method-assign]
    assert torch.equal(net(x), before)


def test_one_voxel_shows_at_its_place_and_sections_see_each_other() -> None:
    """An affinity joins two sections: the output of one must depend on the next, even at 50 x 4 x 4 nm."""
    net = network((50, 4, 4))
    x = torch.randn(1, 1, 4, 32, 32).requires_grad_()
    # without the transformer, which sees everything
    net.encoder.taps = lambda x, blocks: [x.new_zeros(1, 8, 24) for _ in blocks]  # type: ignore[method-assign]
    net(x)[0, 0, 2, 16, 16].backward()
    assert x.grad is not None
    assert float(x.grad[0, 0, 2, 16, 16].abs()) > 0
    assert float(x.grad[0, 0, 1].abs().sum()) > 0


def test_far_tissue_is_seen_through_the_tokens() -> None:
    net = network()
    x = torch.randn(1, 1, 8, 8, 64).requires_grad_()
    net(x)[0, 0, 4, 4, 2].backward()
    assert x.grad is not None
    assert float(x.grad[0, 0, :, :, 56:].abs().sum()) > 0


def test_layers_are_those_of_the_transformer_with_the_decoder_in_the_last() -> None:
    net = network(prefix_tokens=1)
    names = ["encoder.prefix_tokens", "encoder.blocks.2.mlp.fc1.bias", "encoder.norm.bias", "ups.0.proj.weight"]
    assert [net.layer_of(name) for name in names] == [0, 3, 5, 5]
    assert net.layers == 5
    assert "encoder.prefix_tokens" in net.no_decay()


@pytest.mark.parametrize(
    ("vit", "message"),
    [
        ({"decoder": (8, 8)}, r"channels for 3 levels"),
        ({"patch": (1, 1, 1)}, r"patches of more than one voxel"),
    ],
)
def test_decoders_that_do_not_fit_are_refused(vit: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(**vit)


@pytest.mark.parametrize("patch", [(7, 14, 14), (2, 2, 2), (1, 6, 6), (3, 3, 3)])
def test_any_patch_has_a_decoder(patch: tuple[int, int, int]) -> None:
    net = network(patch=patch)
    shape = (2 * patch[0], patch[1], 3 * patch[2])
    assert net(torch.randn(1, 1, *shape)).shape == (1, 3, *shape)
