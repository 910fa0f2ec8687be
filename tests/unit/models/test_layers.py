from __future__ import annotations

import torch

from neuropil.models.layers import Down, Up, fold, unfold


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
