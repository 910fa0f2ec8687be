"""Positions of an inflated transformer: tables that stretch, angles that turn, and tokens that may be left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from neuropil.config import ViTConfig
from neuropil.models.vit_inflated import InflatedViT, rope_angles, rope_periods, stretched_line, stretched_table

SMALL: dict[str, Any] = {"dim": 24, "depth": 2, "heads": 2, "mlp_ratio": 2, "prefix_tokens": 3, "patch": (2, 4, 4)}
NM = (40.0, 8.0, 8.0)


def encoder(positions: str = "table", table: tuple[int, int, int] = (2, 3, 3), **changes: Any) -> InflatedViT:
    torch.manual_seed(0)
    config = ViTConfig(**{**SMALL, "inflated": {"positions": positions, "table": table}, **changes})
    net = InflatedViT(config, NM).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return net


def test_a_place_has_the_sum_of_both_tables() -> None:
    net = encoder()
    places = net.positions((2, 3, 3)).view(2, 3, 3, 24)
    for z, y, x in ((0, 0, 0), (1, 2, 1), (1, 0, 2)):
        assert torch.equal(places[z, y, x], net.depth_embed[z] + net.pos_embed[y, x])
    turning = encoder("rope").positions((2, 3, 3)).view(2, 9, 24)
    assert torch.equal(turning[1], encoder("rope").depth_embed[1].expand(9, -1))


@pytest.mark.parametrize("grid", [(1, 2), (3, 3), (7, 5)])
def test_tables_stretch_and_keep_what_is_the_same_everywhere(grid: tuple[int, int]) -> None:
    flat = torch.arange(4.0).expand(3, 3, 4)
    assert torch.allclose(stretched_table(flat, grid), torch.arange(4.0).expand(*grid, 4), atol=1e-5)
    line = torch.arange(4.0).expand(5, 4)
    assert torch.allclose(stretched_line(line, grid[0]), torch.arange(4.0).expand(grid[0], 4))
    table = torch.randn(3, 3, 4)
    assert stretched_table(table, (3, 3)) is table
    line = torch.randn(3, 4)
    assert stretched_line(line, 3) is line


def test_periods_are_those_of_the_paper() -> None:
    periods = rope_periods(64, 100.0)
    assert len(periods) == 16
    assert (periods[0], periods[8]) == (1, pytest.approx(10))


def test_turned_tokens_see_only_differences_of_places() -> None:
    """A shift of the whole image leaves every product of turned queries and keys as it was."""
    periods = rope_periods(16, 100.0)
    angles = rope_angles((5, 6), periods).view(5, 6, 16)
    assert torch.allclose(angles[..., :8], angles[..., 8:])
    steps = (angles[1:] - angles[:-1]).flatten(0, 1)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5)
    # rows turn by one step of 2 / 5 of half the image, in the first half of the channels only
    assert torch.allclose(steps[0, :4], 2 * math.pi * (2 / 5) / periods, atol=1e-5)
    assert torch.allclose(steps[0, 4:8], torch.zeros(4), atol=1e-5)


@pytest.mark.parametrize("positions", ["table", "rope"])
def test_kept_tokens_are_answered_in_their_order_wherever_they_stand(positions: str) -> None:
    net = encoder(positions)
    x = torch.randn(2, 1, 4, 12, 12)
    order = torch.stack([torch.randperm(18), torch.randperm(18)])
    with torch.no_grad():
        whole, shuffled = net.encode(x), net.encode(x, order)
    assert torch.allclose(shuffled, whole.gather(1, order[:, :, None].expand(-1, -1, 24)), atol=1e-5)
    with torch.no_grad():
        few = net.encode(x, order[:, :5])
    assert few.shape == (2, 5, 24)
    assert not torch.allclose(few, shuffled[:, :5], atol=1e-3)


@pytest.mark.parametrize("positions", ["table", "rope"])
def test_tokens_that_are_left_out_are_seen_by_none(positions: str) -> None:
    net = encoder(positions)
    x = torch.randn(1, 1, 4, 12, 12)
    changed = x.clone()
    changed[..., 8:, 8:] += 5
    keep = torch.tensor([[0, 3, 10]])
    with torch.no_grad():
        assert torch.equal(net.encode(x, keep), net.encode(changed, keep))


@pytest.mark.parametrize("positions", ["table", "rope"])
def test_recomputing_blocks_changes_no_gradient(positions: str) -> None:
    grads = []
    for again in (False, True):
        net = encoder(positions, checkpointing=again).train()
        net.encode(torch.ones(1, 1, 4, 8, 8)).square().sum().backward()
        grads.append(net.blocks[0].attn.qkv.weight.grad)
    assert torch.allclose(*grads, atol=1e-5)


def test_positions_count_patches_and_do_not_decay() -> None:
    net = encoder()
    assert torch.equal(net.positions((2, 3, 3), (4.0, 4.0, 4.0)), net.positions((2, 3, 3)))
    assert {"pos_embed", "depth_embed", "prefix_tokens"} <= net.no_decay()
    assert "pos_embed" not in encoder("rope").no_decay()
    assert (net.layer_of("pos_embed"), net.layer_of("depth_embed"), net.layer_of("norm.weight")) == (0, 0, net.layers)


@pytest.mark.parametrize("positions", ["table", "rope"])
def test_half_precision_answers_as_well(positions: str) -> None:
    net = encoder(positions)
    x = torch.randn(1, 1, 4, 12, 12)
    with torch.no_grad():
        exact = net.encode(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = net.encode(x)
    assert (rounded.float() - exact).abs().mean() < 0.03 * exact.abs().mean()
