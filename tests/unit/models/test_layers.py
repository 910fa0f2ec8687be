from __future__ import annotations

import pytest
import torch

from neuropil.models.layers import Conv, Down, StandardisedConv, Up, by_sections, conv, fold, unfold


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


#: Channels and extents. Thin and wide ones killed the process (LOG.md, 2026-11-30).
INPUTS = [*((48, (depth, 4, 4)) for depth in (1, 2, 3)), *((16, (depth, 128, 128)) for depth in (1, 2, 3, 7))]


@pytest.mark.parametrize("kind", ["plain", "standardised"])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize(("channels", "extent"), INPUTS)
def test_gradients_in_bf16_are_those_of_fp32(
    kind: str, kernel: tuple[int, int, int], channels: int, extent: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    layer, x = conv(channels, channels, kernel, kind), torch.randn(1, channels, *extent)
    assert isinstance(layer, Conv)
    assert isinstance(layer, StandardisedConv) == (kind == "standardised")
    found, towards = {}, torch.randn(1, channels, *extent)
    for low in (False, True):
        layer.zero_grad()
        junk = [torch.full((2**20,), float("nan")) for _ in range(4)]  # so that memory holds no kind numbers
        del junk
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            layer(x).float().backward(towards)
        assert layer.weight.grad is not None
        found[low] = layer.weight.grad.clone()
    assert torch.isfinite(found[True]).all()
    assert (found[True] - found[False]).abs().max() < 0.05 * found[False].abs().max()


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 3, 3), (5, 3, 1)])
def test_sections_one_by_one_are_the_volume_at_once(depth: int, kernel: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, depth, 9, 7, requires_grad=True), torch.randn(6, 4, *kernel, requires_grad=True)
    bias, towards = torch.randn(6, requires_grad=True), torch.randn(2, 6, depth, 9, 7)
    padding = tuple(extent // 2 for extent in kernel)
    known, found = torch.nn.functional.conv3d(x, weight, bias, padding=padding), by_sections(x, weight, bias)
    torch.testing.assert_close(found, known, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(out, (x, weight, bias), towards) for out in (found, known)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


def test_training_and_prediction_pad_alike() -> None:
    torch.manual_seed(0)
    layer, x = conv(4, 4, (3, 3, 3)), torch.randn(1, 4, 2, 5, 6)
    trained = layer.train()(x)
    torch.testing.assert_close(trained, layer.eval()(x))
