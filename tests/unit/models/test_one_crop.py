"""Convolutions of one crop: what PyTorch gives, gradients too, by another way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from neuropil.models import one_crop
from neuropil.models.layers import conv

KERNELS = [(3, 3, 3), (1, 3, 3), (1, 1, 1), (3, 1, 1), (5, 3, 3)]
#: Shapes with one side of `one_crop.PASSED_OVER` or the other, sections of all depths, thin and wide ones.
SHAPES = [(1, 40, 40), (2, 48, 40), (3, 8, 64), (8, 40, 36), (5, 3, 7), (24, 40, 40), (4, 4, 4)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [(1, 6), (16, 12)])
@pytest.mark.parametrize("last", [True, False], ids=["channels-last", "plain"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_same_as_torch(kernel, shape, channels, last, biased) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, channels[0], *shape, generator=generator, dtype=torch.float32)
    x = x.contiguous(memory_format=torch.channels_last_3d) if last else x
    weight = torch.randn(*channels[::-1], *kernel, generator=generator)
    bias = torch.randn(channels[1], generator=generator) if biased else None
    padding = tuple(k // 2 for k in kernel)
    ours, theirs = (
        [t.double().requires_grad_() if d else t.clone().requires_grad_() for t in (x, weight)] for d in (0, 1)
    )
    pull = torch.randn(1, channels[1], *shape, generator=generator)
    found = one_crop.convolved(*ours, bias, padding)
    true = F.conv3d(*theirs, None if bias is None else bias.double(), padding=padding)
    torch.testing.assert_close(found.double(), true, rtol=1e-4, atol=1e-4)
    found.backward(pull)
    true.backward(pull.double())
    for mine, other in zip(ours, theirs, strict=True):
        scale = float(other.grad.abs().max())
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-4, atol=1e-5 * scale)


def test_gradient_of_the_bias() -> None:
    layer = conv(4, 8, (3, 3, 3), bias=True)
    x = torch.randn(1, 4, 6, 20, 20)
    assert one_crop.concerns(x, layer.weight)
    layer(x).sum().backward()
    assert layer.bias.grad.tolist() == pytest.approx([6 * 20 * 20] * 8)


def test_whom_it_concerns() -> None:
    kernel, point = torch.zeros(8, 16, 3, 3, 3), torch.zeros(8, 16, 1, 1, 1)
    thin, cube = torch.zeros(1, 16, 8, 96, 96), torch.zeros(1, 16, 64, 64, 64)
    assert one_crop.concerns(thin, kernel)
    assert not one_crop.concerns(thin.expand(2, -1, -1, -1, -1), kernel)
    assert not one_crop.concerns(cube, kernel)
    assert one_crop.concerns(cube, point)
    assert not one_crop.concerns(thin.bfloat16(), kernel.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not one_crop.concerns(thin, kernel)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not one_crop.concerns(thin, kernel)


def test_layers_that_are_otherwise_are_left_to_torch() -> None:
    for how in ({"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect", "padding": 1}):
        layer = type(conv(4, 4, (3, 3, 3)))(4, 4, 3, **how)
        x = torch.randn(1, 4, 8, 8, 8)
        expected = torch.nn.Conv3d(4, 4, 3, **how)
        expected.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(x), expected(x))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_what_pytorch_does_is_what_it_is_said_to_do() -> None:
    """Should this fail, PyTorch asks oneDNN for single crops too, and the module can go."""
    x = torch.zeros(1, 16, 8, 96, 96)
    weight = torch.zeros(16, 16, 3, 3, 3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        F.conv3d(x, weight, padding=1)
    assert any("slow_conv3d" in event.key for event in profile.key_averages())
