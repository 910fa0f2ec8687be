"""Where the bf16 weight gradient of PyTorch's 3-D convolution kills the process here, and that ours does not.

    python bench/thin_gradients.py

Every case runs in a child process, because what is looked for is its death. Printed are, for each depth, how many cases
died of those wider, and of those not wider, than `neuropil.models.layers.WIDE` times their depth: the first may, the
second must not. Through our convolution none of all may. See LOG.md, 2026-11-30.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch
from torch import nn

from neuropil.geometry import Int3
from neuropil.models.layers import WIDE, Conv

KINDS: tuple[tuple[int, int, Int3], ...] = (
    *((16, 16, (3, 3, 3)), (16, 16, (1, 3, 3)), (1, 16, (3, 3, 3)), (64, 32, (1, 1, 1)), (16, 9, (1, 1, 1))),
    *((32, 32, (3, 3, 3)), (64, 64, (1, 3, 3)), (96, 96, (3, 3, 3)), (128, 64, (1, 1, 1))),
)
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
#: Larger inputs take too long, and too much memory.
LARGEST = 12_000_000


def cases(depth: int) -> Iterator[tuple[int, int, Int3, int]]:
    """Inputs, outputs, kernel, and side."""
    for side in sorted({4 * depth, 6 * depth, WIDE * depth, 64, 96, 128, 192, 320}):
        for inputs, outputs, kernel in KINDS:
            if depth * side * side * max(inputs, outputs) <= LARGEST:
                yield inputs, outputs, kernel, side


def dies(work: Callable[[], None]) -> bool:
    """Whether a child process that does this is killed; an exception in it is one here."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a child failed by itself")
    return os.WIFSIGNALED(status)


def learned(kind: type[nn.Conv3d], inputs: int, outputs: int, kernel: Int3, extent: Int3) -> None:
    """Three gradients of one layer, as training computes them."""
    torch.set_num_threads(1)
    z, y, x = kernel
    layer = kind(inputs, outputs, kernel, padding=(z // 2, y // 2, x // 2), bias=False)
    image = torch.randn(1, inputs, *extent).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(image)
        out.float().square().mean().backward()


def main() -> None:
    """See the module's docstring."""
    ours = 0
    for depth in DEPTHS:
        died, tried = [0, 0], [0, 0]
        for inputs, outputs, kernel, side in cases(depth):
            wide, extent = side > WIDE * depth, (depth, side, side)
            words = (inputs, outputs, kernel, extent)
            tried[wide] += 1
            died[wide] += dies(lambda words=words: learned(nn.Conv3d, *words))  # type: ignore[misc]
            ours += dies(lambda words=words: learned(Conv, *words))  # type: ignore[misc]
        print(f"depth {depth:2d}: {died[1]} of {tried[1]} wide died, {died[0]} of {tried[0]} others", flush=True)
    print(f"with ours {ours} died")


if __name__ == "__main__":
    main()
