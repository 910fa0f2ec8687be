from __future__ import annotations

import pytest
import torch

from neuropil.config import load_config
from neuropil.errors import ConfigError
from neuropil.models import build_model
from neuropil.models.resunet import ResUNet


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 4, 4), (30, 6, 6)])
@pytest.mark.parametrize("kind", ["group", "instance", "standardised", "none"])
def test_every_parameter_gets_gradient_and_shapes_hold(voxel_size: tuple[float, float, float], kind: str) -> None:
    torch.manual_seed(0)
    net = ResUNet(voxel_size, 5, (8, 16, 16), blocks=2, norm_kind=kind)
    shape = tuple(4 * s for s in net.stride)
    x = torch.randn(2, 1, *shape)
    y = net(x)
    assert y.shape == (2, 5, *shape)
    y.square().mean().backward()
    lost = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert lost == []


def test_pyramid_shapes_follow_strides() -> None:
    net = ResUNet((40, 4, 4), 3, (8, 16, 24), blocks=1, norm_kind="group")
    levels = net.pyramid(torch.randn(1, 1, 4, 16, 16))
    assert [tuple(t.shape[1:]) for t, _ in levels] == [(8, 4, 16, 16), (16, 4, 8, 8), (24, 4, 4, 4)]
    assert [s for _, s in levels] == [level.stride for level in net.levels]


def test_state_round_trip_gives_the_same_output() -> None:
    config = load_config("em_neurons", ["model.channels=[8,16]"]).model
    torch.manual_seed(0)
    a, b = build_model(config, (8, 8, 8), 3), build_model(config, (8, 8, 8), 3)
    x = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(a(x), b(x))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))


def test_z_neighbours_reach_the_output_at_any_anisotropy() -> None:
    """An affinity joins two sections: the output of one must depend on the next, even at 50 x 4 x 4 nm."""
    net = ResUNet((50, 4, 4), 3, (8, 8), blocks=1, norm_kind="none")
    torch.manual_seed(0)
    x = torch.randn(1, 1, 4, 8, 8).requires_grad_()
    net(x)[0, 0, 2, 4, 4].backward()
    assert x.grad is not None
    assert float(x.grad[0, 0, 1].abs().sum()) > 0


def test_no_decay_names_only_vectors() -> None:
    net = ResUNet((8, 8, 8), 3, (8, 16), blocks=1, norm_kind="group")
    names = dict(net.named_parameters())
    assert "head.bias" in net.no_decay()
    assert all(names[n].ndim == 1 for n in net.no_decay())


def test_one_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least two levels"):
        ResUNet((8, 8, 8), 3, (8,), blocks=1, norm_kind="group")


def test_layers_are_the_stem_each_way_down_and_all_the_way_up() -> None:
    net = ResUNet((8, 8, 8), 3, (8, 16, 24), blocks=2, norm_kind="standardised")
    names = ["stem.0.weight", "downs.0.proj.gain", "encoders.1.1.conv2.bias", "ups.1.proj.weight", "head.bias"]
    assert set(names) <= set(net.state_dict())
    assert [net.layer_of(name) for name in names] == [0, 1, 2, 3, 3]
    assert net.layers == 3
