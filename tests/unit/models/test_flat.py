"""Flat networks see one section alone, and take images that are one voxel deep."""

from __future__ import annotations

import pytest
import torch

from neuropil.config import Config, ModelConfig, ViTConfig
from neuropil.models import build_model, network_stride
from neuropil.plan import resolved

NM = (300.0, 300.0, 300.0)
NETWORKS = {
    "resunet": ModelConfig(name="resunet", channels=(8, 8, 16), flat=True),
    "unetr": ModelConfig(
        name="unetr", flat=True, vit=ViTConfig(dim=24, depth=2, heads=2, patch=(1, 16, 16), decoder=(8, 8, 8, 8))
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_depth_one_is_enough_and_every_parameter_learns(name: str) -> None:
    config = NETWORKS[name]
    stride = network_stride(config, NM)
    assert stride[0] == 1
    assert stride[1] > 1
    network = build_model(config, NM, 2)
    logits = network(torch.randn(2, 1, 1, 32, 48))
    assert logits.shape == (2, 2, 1, 32, 48)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_otherwise_cubes_are_pooled_along_z() -> None:
    assert network_stride(ModelConfig(channels=(8, 8, 16)), NM)[0] == 4


def test_crops_and_tiles_are_one_voxel_deep() -> None:
    config = resolved(Config(model=NETWORKS["resunet"]), NM, (1, 4, 4))
    assert config.data.crop is not None
    assert config.predict.tile is not None
    assert (config.data.crop[0], config.predict.tile[0], config.predict.overlap[0]) == (1, 1, 0)  # type: ignore[index]
    assert config.data.crop[1] == config.data.crop[2] == 128
    assert config.predict.tile[1] % 8 == 0
