"""A ConvNeXt over volumes: what it answers to sections, how it pools, what reaches what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from neuropil.config import ConvNeXtConfig, ModelConfig
from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.models import build_encoder, build_model
from neuropil.models.convnext import ConvNeXt3d, Depthwise, Step, plan_fold
from neuropil.pretrain.restorer import Restorer

SMALL = ConvNeXtConfig(dims=(8, 12, 16, 24), depths=(1, 1, 2, 1), decoder=(8, 8, 8, 8, 8), layer_scale=0.3)


def network(voxel_size: Float3 = (40.0, 4.0, 4.0), **changes: Any) -> Any:
    torch.manual_seed(0)
    config = ModelConfig(name="convnext", norm="standardised", convnext=SMALL.model_copy(update=changes))
    return build_model(config, voxel_size, 3)


@pytest.mark.parametrize(
    ("voxel_size", "stem_stride", "fold"),
    [
        ((8.0, 8.0, 8.0), 4, (4, 2, 2, 2)),
        ((8.0, 8.0, 8.0), 2, (2, 2, 2, 2)),
        ((40.0, 4.0, 4.0), 4, (1, 1, 2, 2)),
        ((50.0, 4.0, 4.0), 2, (1, 1, 1, 2)),
        ((1e5, 4.0, 4.0), 4, (1, 1, 1, 1)),
    ],
)
def test_sections_are_put_together_where_voxels_are_about_as_long(
    voxel_size: Float3, stem_stride: int, fold: tuple[int, ...]
) -> None:
    assert plan_fold(voxel_size, stem_stride) == fold
    encoder = ConvNeXt3d(SMALL.model_copy(update={"stem_stride": stem_stride}), voxel_size)
    features = encoder.pyramid(torch.rand(1, 1, *(2 * n for n in encoder.stride)))
    assert [tuple(f.shape[1:2]) for f, _ in features] == [(dim,) for dim in SMALL.dims]
    for f, stride in features:
        assert tuple(f.shape[2:]) == tuple(2 * n // s for n, s in zip(encoder.stride, stride, strict=True))
    assert features[-1][1] == encoder.stride


@pytest.mark.parametrize(("kernel", "stride", "aside"), [((2, 4, 4), (2, 4, 4), 0), ((2, 4, 4), (2, 2, 2), 1)])
def test_a_step_is_the_convolution(kernel: Int3, stride: Int3, aside: int) -> None:
    torch.manual_seed(0)
    step = Step(3, 5, kernel, stride, padding=(0, aside, aside))
    x = torch.rand(2, 3, 4, 8, 12, requires_grad=True)
    ours, theirs = step(x), torch.nn.Conv3d.forward(step, x)
    assert torch.allclose(ours, theirs, atol=1e-5)
    a, b = (torch.autograd.grad(y.square().sum(), [x, step.weight]) for y in (ours, theirs))
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("sections", [1, 3, 5])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_depthwise_kernels_see_the_end_sections_again_beyond_the_ends(sections: int, depth: int) -> None:
    torch.manual_seed(0)
    layer = Depthwise(4, sections)
    x = torch.rand(2, 4, depth, 9, 8, requires_grad=True)
    reach = sections // 2
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, reach, reach), mode="replicate")
    truth = torch.nn.functional.conv3d(padded, layer.weight, layer.bias, padding=(0, 3, 3), groups=4)
    assert torch.allclose(layer(x), truth, atol=1e-6)
    ours, theirs = (torch.autograd.grad(y.square().sum(), [x, layer.weight]) for y in (layer(x), truth))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("voxel_size", "stem_stride", "shape"),
    [
        ((8.0, 8.0, 8.0), 4, (32, 32, 64)),
        ((8.0, 8.0, 8.0), 2, (16, 32, 16)),
        ((40.0, 4.0, 4.0), 4, (4, 32, 64)),
        ((1e5, 4.0, 4.0), 2, (1, 32, 48)),
    ],
)
def test_every_weight_of_the_network_learns(voxel_size: Float3, stem_stride: int, shape: tuple[int, ...]) -> None:
    net = network(voxel_size, stem_stride=stem_stride)
    y = net(torch.rand(2, 1, *shape))
    assert y.shape == (2, 3, *shape)
    y.square().mean().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # of one section, neighbours in depth are all the same; of kernels none is idle
    assert idle == []


def test_layers_go_from_the_stem_to_the_decoder() -> None:
    net = network()
    assert net.layers == 5
    layer = {name: net.layer_of(name) for name in net.state_dict()}
    assert layer["encoder.downsample_layers.0.0.weight"] == layer["encoder.downsample_layers.0.1.bias"] == 0
    assert layer["encoder.stages.0.0.gamma"] == 1
    assert layer["encoder.downsample_layers.1.1.weight"] == layer["encoder.stages.1.0.gamma"] == 2
    assert layer["encoder.stages.3.0.gamma"] == 4
    assert {layer["encoder.norm.weight"], layer["head.weight"], layer["ups.0.proj.weight"]} == {5}
    assert all(name.startswith("encoder.") for name in net.encoder_names())
    assert {
        "encoder." + name
        for name in build_encoder(ModelConfig(name="convnext", convnext=SMALL), (40.0, 4.0, 4.0)).state_dict()
    } == net.encoder_names()
    still = net.no_decay()
    assert "encoder.stages.0.0.gamma" in still
    assert "encoder.stages.0.0.dwconv.weight" not in still


def test_it_restores_without_its_skips() -> None:
    net = network()
    pyramid, restored = Restorer(net, restores=True)(torch.rand(2, 1, 4, 32, 32), (40.0, 4.0, 4.0))
    assert restored is not None
    assert restored.shape[2:] == (4, 32, 32)
    assert pyramid[0][1] == net.stride
    restored.square().mean().backward()
    grads: dict[str, Tensor | None] = {name: p.grad for name, p in net.named_parameters()}
    learned = {name for name, grad in grads.items() if grad is not None and float(grad.abs().sum()) > 0}
    assert learned.isdisjoint(net.skip_names())
    assert learned | net.skip_names() == set(grads)


def test_a_decoder_with_too_few_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"channels for 5 levels"):
        network(decoder=(8, 8, 8))


def test_it_has_as_many_weights_as_its_page_says() -> None:
    net = build_model(ModelConfig(name="convnext", norm="standardised"), (8.0, 8.0, 8.0), 9)
    encoder = sum(p.numel() for p in net.encoder.parameters())
    assert (round(encoder / 1e6, 1), round((sum(p.numel() for p in net.parameters()) - encoder) / 1e6, 1)) == (3.8, 2.3)
