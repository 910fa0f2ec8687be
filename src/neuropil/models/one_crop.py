"""Convolutions in float32 on a processor, for which PyTorch has slow ways where crops are thin or come one by one.

PyTorch 2.13 gives one to oneDNN only where batch x channels x depth x height is above 20 480 (`use_mkldnn` in
ATen's Convolution.cpp); width does not count, and depth and height are the short axes of a crop of sections. One of
8 x 96 x 96 voxels and 16 channels stays below, and is unrolled into columns and multiplied: some ten times slower.
Kernels of one voxel go the same way, copied out of the channels-last order first; they are a matrix product of the
voxels as they lie. And of kernels one section deep oneDNN finds the gradient three times faster if told that they are
flat. `python bench/bench_convolution.py` measures all three together.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from neuropil.geometry import Int3

#: Batch x channels x depth x height up to which PyTorch does not ask oneDNN.
PASSED_OVER = 20480
_ONE, _TRANSPOSED = [1, 1, 1], False


def concerns(x_BCZYX: Tensor, weight_OIZYX: Tensor) -> bool:
    """Whether a convolution (stride 1, one group, zero padding) had better be done here.

    Exported networks must not branch on their input, and bf16 always goes to oneDNN.
    """
    followed = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    # tensors of other classes stand for what is not there (memory is planned with them)
    if followed or type(x_BCZYX) is not Tensor or x_BCZYX.device.type != "cpu":
        return False
    if x_BCZYX.dtype != torch.float32 or weight_OIZYX.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    return weight_OIZYX.shape[2] == 1 or _is_passed_over(x_BCZYX)


def convolved(x_BCZYX: Tensor, weight_OIZYX: Tensor, bias_O: Tensor | None, padding: Int3) -> Tensor:
    """What `torch.nn.functional.conv3d` gives, to rounding, and its gradients."""
    if weight_OIZYX.shape[2:] == (1, 1, 1) and padding == (0, 0, 0):
        return F.linear(x_BCZYX.permute(0, 2, 3, 4, 1), weight_OIZYX.flatten(1), bias_O).permute(0, 4, 1, 2, 3)
    if weight_OIZYX.shape[2] == 1 and padding[0] == 0:
        sections = x_BCZYX.transpose(1, 2).flatten(0, 1)
        flat = F.conv2d(sections, weight_OIZYX[:, :, 0], bias_O, padding=padding[1:])
        return flat.view(-1, x_BCZYX.shape[2], *flat.shape[1:]).transpose(1, 2)
    found: Tensor = _OneCrop.apply(x_BCZYX, weight_OIZYX, bias_O, list(padding))  # type: ignore[no-untyped-call]
    return found


class _OneCrop(torch.autograd.Function):
    """oneDNN is called directly where there is a call for it; for the gradient of the kernel there is none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.biased = padding, bias is not None
        return _asked(x, weight, bias, padding)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        padding, of_x, of_weight = ctx.padding, None, None
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        if ctx.needs_input_grad[0]:
            mirrored = weight.transpose(0, 1).flip(2, 3, 4)
            beside = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
            of_x = _asked(grad, mirrored, None, beside)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(grad, x, weight, padding)
        of_bias = grad.sum((0, 2, 3, 4)) if ctx.biased and ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None


def _asked(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    found: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, _ONE, _ONE, 1)
    return found


def _of_weight(grad: Tensor, x: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    """The gradient of the kernel; depth is put last where oneDNN is asked for that."""
    last = x.shape[0] * x.shape[1] * x.shape[3] * x.shape[4] > PASSED_OVER
    if last:
        grad, x, weight = (t.permute(0, 1, 3, 4, 2) for t in (grad, x, weight))
        padding = [*padding[1:], padding[0]]
        grad, x = (t.contiguous(memory_format=torch.channels_last_3d) for t in (grad, x))
    found: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, _ONE, padding, _ONE, _TRANSPOSED, [0, 0, 0], 1, [False, True, False]
    )[1]
    return found.permute(0, 1, 4, 2, 3) if last else found


def _is_passed_over(x: Tensor) -> bool:
    b, c, z, y, _ = x.shape
    return b == 1 and c * z * y <= PASSED_OVER
