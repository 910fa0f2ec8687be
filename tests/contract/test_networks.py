"""What every network and every encoder promises; a new line in a table is tested here without a new test."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuropil.config import ModelConfig, ViTConfig
from neuropil.config.convnext import ConvNeXtConfig
from neuropil.errors import ConfigError
from neuropil.models import build_encoder, build_model, network_stride
from neuropil.registry import ENCODERS, NETWORKS

Nm = tuple[float, float, float]
VOXELS: list[Nm] = [(8, 8, 8), (40, 4, 4), (30, 6, 6)]
VIT = ViTConfig(dim=24, depth=3, heads=2, mlp_ratio=2, layer_scale=0.1, prefix_tokens=2, decoder=(8, 8, 16, 16))
CONVNEXT = ConvNeXtConfig(dims=(8, 12, 16, 24), depths=(1, 1, 2, 1), layer_scale=0.1, decoder=(8, 8, 8, 16, 16))
OUTPUTS = 4


def settings(name: str, norm: str = "group") -> ModelConfig:
    return ModelConfig(name=name, channels=(8, 16, 16), blocks=2, norm=norm, vit=VIT, convnext=CONVNEXT)


#: Encoders that can leave tokens out.
TOKENS = [name for name in sorted(ENCODERS) if hasattr(build_encoder(settings(name), (8, 8, 8)), "encode")]


def crop(stride: tuple[int, int, int], counts: tuple[int, int, int] = (2, 1, 2), batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, *(s * n for s, n in zip(stride, counts, strict=True)))


def without_gradient(module: nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


@pytest.fixture(params=sorted(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(ENCODERS))
def encoder_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=VOXELS, ids="{0[0]}x{0[1]}x{0[2]}".format)
def voxel_size(request: pytest.FixtureRequest) -> Nm:
    return request.param


@pytest.mark.parametrize("norm", ["group", "instance", "standardised", "none"])
def test_every_parameter_of_a_network_gets_gradient(name: str, voxel_size: Nm, norm: str) -> None:
    torch.manual_seed(0)
    net = build_model(settings(name, norm), voxel_size, OUTPUTS)
    # more than one place for every norm to average over
    x = crop(net.stride, (4, 2, 2), batch=2)
    y = net(x)
    assert y.shape == (2, OUTPUTS, *x.shape[2:])
    y.square().mean().backward()
    assert without_gradient(net) == []


def test_every_parameter_of_an_encoder_gets_gradient(encoder_name: str, voxel_size: Nm) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(settings(encoder_name), voxel_size)
    # the sum of squares of normed features is a constant: a weighted one is not
    features = encoder.pyramid(crop(encoder.stride, (4, 2, 2)))[-1][0]
    (features * torch.randn_like(features)).sum().backward()
    assert without_gradient(encoder) == []


def test_any_multiple_of_the_stride_is_a_crop(name: str, voxel_size: Nm) -> None:
    net = build_model(settings(name), voxel_size, OUTPUTS).eval()
    assert network_stride(settings(name), voxel_size) == net.stride
    for counts in [(1, 1, 1), (3, 1, 2), (1, 2, 3)]:
        x = crop(net.stride, counts)
        assert net(x).shape == (1, OUTPUTS, *x.shape[2:])


def test_state_round_trip(name: str, voxel_size: Nm) -> None:
    torch.manual_seed(0)
    a, b = (build_model(settings(name), voxel_size, OUTPUTS).eval() for _ in range(2))
    x = crop(a.stride)
    assert not torch.equal(a(x), b(x))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))


def test_same_seed_same_network(name: str) -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        made.append(build_model(settings(name), (8, 8, 8), OUTPUTS).state_dict())
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_network_learns_one_crop(name: str) -> None:
    """Where the neighbourhood is bright: loss falls far below chance on a crop that is shown again and again."""
    torch.manual_seed(0)
    net = build_model(settings(name, "standardised"), (8, 8, 8), 1)
    x = crop(net.stride, (1, 1, 2))
    target = (torch.nn.functional.avg_pool3d(x, 3, 1, 1) > 0).float()
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.69, abs=0.1)
    assert losses[-1] < 0.45


def test_pretrained_state_is_the_encoder_under_its_prefix(name: str, voxel_size: Nm) -> None:
    net, encoder = build_model(settings(name), voxel_size, OUTPUTS), build_encoder(settings(name), voxel_size)
    state, own = net.state_dict(), encoder.state_dict()
    assert net.encoder_names() == {encoder.key_prefix + n for n in encoder.encoder_names()}
    assert {encoder.key_prefix + n for n in own} == net.encoder_names() < set(state)
    assert all(state[encoder.key_prefix + n].shape == t.shape for n, t in own.items())
    taken = {encoder.key_prefix + n: t for n, t in own.items()}
    net.load_state_dict({**state, **taken})
    x = crop(net.stride)
    within = net.encoder if encoder.key_prefix else net
    for (a, _), (b, _) in zip(within.pyramid(x), encoder.pyramid(x), strict=True):
        assert torch.equal(a, b)


def test_layers_run_from_the_image_to_the_head(name: str, voxel_size: Nm) -> None:
    net = build_model(settings(name), voxel_size, OUTPUTS)
    layers = {n: net.layer_of(n) for n, _ in net.named_parameters()}
    assert set(layers.values()) == set(range(net.layers + 1))
    assert layers["head.weight"] == net.layers
    encoder = {n: layer for n, layer in layers.items() if n in net.encoder_names()}
    assert min(encoder.values()) == 0
    assert len(set(encoder.values())) >= net.layers
    # a layer never lies below one that comes before it on the way down
    order = [layer for n, layer in layers.items() if n in encoder and ("blocks." in n or "encoders." in n)]
    assert order == sorted(order)


def test_names_that_do_not_decay_exist_and_hold_all_vectors(name: str) -> None:
    net = build_model(settings(name), (8, 8, 8), OUTPUTS)
    parameters = dict(net.named_parameters())
    assert {n for n, p in parameters.items() if p.ndim == 1} <= net.no_decay() < set(parameters)


def test_pyramid_shapes_are_those_of_its_strides(encoder_name: str, voxel_size: Nm) -> None:
    encoder = build_encoder(settings(encoder_name), voxel_size).eval()
    x = crop(encoder.stride, (2, 1, 3), batch=2)
    levels = encoder.pyramid(x)
    for features, stride in levels:
        assert len(features) == 2
        assert features.shape[2:] == tuple(n // s for n, s in zip(x.shape[2:], stride, strict=True))
    strides = [stride for _, stride in levels]
    assert strides == sorted(strides)
    assert levels[-1][0].shape[1] == encoder.dim
    assert strides[-1] == encoder.stride
    assert encoder.voxel_size == voxel_size


@pytest.mark.parametrize("token_encoder", TOKENS)
def test_keeping_all_tokens_is_no_mask(token_encoder: str, voxel_size: Nm) -> None:
    encoder = build_encoder(settings(token_encoder), voxel_size).eval()
    x = crop(encoder.patch, (2, 2, 3), batch=2)
    everything = torch.arange(12).expand(2, -1)
    tokens = encoder.encode(x)
    assert tokens.shape == (2, 12, encoder.dim)
    assert torch.equal(encoder.encode(x, everything), tokens)
    grid = encoder.grid(tuple(x.shape[2:]))
    assert torch.equal(encoder.pyramid(x)[-1][0], tokens.transpose(1, 2).unflatten(2, grid))


def test_encoder_can_be_named_apart_from_the_network() -> None:
    config = settings("resunet").model_copy(update={"encoder": "vit3d"})
    assert hasattr(build_encoder(config, (8, 8, 8)), "patch")
    assert not hasattr(build_encoder(settings("resunet"), (8, 8, 8)), "patch")


def test_code_from_elsewhere_needs_no_line_in_a_table() -> None:
    net = build_model(settings("neuropil.models.unetr:build"), (8, 8, 8), OUTPUTS)
    assert type(net) is type(build_model(settings("unetr"), (8, 8, 8), OUTPUTS))
    foreign = settings("resunet").model_copy(update={"encoder": "neuropil.models.vit3d:build_encoder"})
    assert hasattr(build_encoder(foreign, (8, 8, 8)), "patch")


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'unet'[\s\S]*did you mean"):
        build_model(settings("unet"), (8, 8, 8), OUTPUTS)
    with pytest.raises(ConfigError, match=r"unknown encoder 'vit'"):
        build_encoder(settings("vit"), (8, 8, 8))


def test_stride_is_told_without_making_weights() -> None:
    before = torch.get_rng_state()
    huge = ModelConfig(name="unetr", vit=ViTConfig(dim=6144, depth=48, heads=48))
    assert network_stride(huge, (8, 8, 8)) == (8, 8, 8)
    assert torch.equal(torch.get_rng_state(), before)
