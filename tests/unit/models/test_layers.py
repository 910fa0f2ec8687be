from __future__ import annotations

import pytest
import torch

from neuropil.models.layers import Conv, Down, StandardisedConv, Up, conv, fold, unfold


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


@pytest.mark.parametrize("kind", ["plain", "standardised"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_in_bf16_are_those_of_fp32(kind: str, depth: int) -> None:
    torch.manual_seed(0)
    layer, x = conv(48, 48, (3, 3, 3), kind), torch.randn(1, 48, depth, 4, 4)
    assert isinstance(layer, Conv)
    assert isinstance(layer, StandardisedConv) == (kind == "standardised")
    found, towards = {}, torch.randn(1, 48, depth, 4, 4)
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


def test_training_and_prediction_pad_alike() -> None:
    torch.manual_seed(0)
    layer, x = conv(4, 4, (3, 3, 3)), torch.randn(1, 4, 2, 5, 6)
    trained = layer.train()(x)
    torch.testing.assert_close(trained, layer.eval()(x))
