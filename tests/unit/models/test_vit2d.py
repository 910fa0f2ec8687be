"""The 2-D transformer: it learns, and its published names are DINO's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuropil.errors import InputError
from neuropil.models.vit2d import Planar, PlanarViT

SHAPE = Planar(dim=24, depth=2, heads=2, hidden=48, patch=(4, 4), grid=(3, 3))
ROTARY = Planar(dim=24, depth=1, heads=1, hidden=48, patch=(4, 4), grid=None, prefix=5, layer_scale=True)


@pytest.mark.parametrize("shape", [SHAPE, ROTARY])
def test_it_learns_one_batch(shape: Planar) -> None:
    torch.manual_seed(0)
    net, head = PlanarViT(shape), nn.Linear(24, 16)
    x = torch.randn(4, 3, 12, 12)
    # the grey values of each patch
    target = x.mean(1).unfold(1, 4, 4).unfold(2, 4, 4).reshape(4, 9, 16)
    optimiser = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (head(net(x)[:, shape.prefix :]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_names_are_those_of_dino() -> None:
    state = PlanarViT(SHAPE).published()
    assert tuple(state["pos_embed"].shape) == (1, 10, 24)
    assert tuple(state["cls_token"].shape) == (1, 1, 24)
    assert tuple(state["patch_embed.proj.weight"].shape) == (24, 3, 4, 4)
    assert {"blocks.1.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "norm.weight"} <= set(state)
    rotary = PlanarViT(ROTARY).published()
    assert tuple(rotary["storage_tokens"].shape) == (1, 4, 24)
    assert tuple(rotary["rope_embed.periods"].shape) == (6,)
    assert "pos_embed" not in rotary


@pytest.mark.parametrize("shape", [SHAPE, ROTARY])
def test_kept_patches_are_answered_in_their_order(shape: Planar) -> None:
    torch.manual_seed(0)
    net = PlanarViT(shape).eval()
    x = torch.randn(2, 3, 12, 16)
    order = torch.stack([torch.randperm(12), torch.randperm(12)])
    with torch.no_grad():
        whole, shuffled = net(x)[:, shape.prefix :], net(x, order)[:, shape.prefix :]
    assert torch.allclose(shuffled, whole.gather(1, order[:, :, None].expand(-1, -1, 24)), atol=1e-5)


def test_an_image_is_made_of_whole_patches() -> None:
    with pytest.raises(InputError, match=r"10 x 12[\s\S]*multiples of the patch"):
        PlanarViT(SHAPE)(torch.zeros(1, 3, 10, 12))
