from __future__ import annotations

import pytest
import torch

from neuropil.config import load_config
from neuropil.errors import ConfigError
from neuropil.models import build_model
from neuropil.models.layers import Down, Up, fold, unfold
from neuropil.models.resunet import ResUNet, plan_levels


@pytest.mark.parametrize(
    ("voxel_size", "stride"),
    [
        ((8, 8, 8), (8, 8, 8)),
        ((40, 4, 4), (1, 8, 8)),
        ((30, 6, 6), (2, 8, 8)),
        ((50, 4, 4), (1, 8, 8)),
        ((16, 8, 8), (4, 8, 8)),
        ((10, 20, 10), (8, 4, 8)),
    ],
)
def test_stride_follows_the_voxel_size(voxel_size: tuple[float, float, float], stride: tuple[int, int, int]) -> None:
    assert plan_levels(voxel_size, 4)[-1].stride == stride


def test_coarse_sections_get_flat_kernels_until_near_isotropic() -> None:
    kernels = [level.kernel for level in plan_levels((40, 4, 4), 4)]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert all(level.kernel == (3, 3, 3) for level in plan_levels((8, 8, 8), 4))


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


def test_fold_is_inverted_and_matches_strided_convolution() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    factor = (2, 3, 4)
    assert torch.equal(unfold(fold(x, factor), factor), x)
    down = Down(3, 5, (1, 2, 2), "group")
    kernel = down.proj.weight.view(5, 1, 2, 2, 3).permute(0, 4, 1, 2, 3)
    assert torch.allclose(down(x), torch.nn.functional.conv3d(x, kernel, stride=(1, 2, 2)), atol=1e-5)
    up = Up(3, 4, (2, 1, 2), "group")
    kernel = up.proj.weight.view(2, 1, 2, 4, 3).permute(4, 3, 0, 1, 2)
    assert torch.allclose(up(x), torch.nn.functional.conv_transpose3d(x, kernel, stride=(2, 1, 2)), atol=1e-5)


def test_one_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least two levels"):
        ResUNet((8, 8, 8), 3, (8,), blocks=1, norm_kind="group")
