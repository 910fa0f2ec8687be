"""Which patches of a crop are hidden: a fixed number of them, by one of several policies.

A policy is a function ``(context, count, generator, config) -> Mask``; the table `MASKS` names them. All chance comes
from the generator, which may live on another device than the patches, so that the same seed gives the same masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neuropil.config.pretrain import MaskConfig
from neuropil.errors import InputError
from neuropil.geometry import Int3

#: Edge density below which patches are equally unlikely, so that flat patches can still be drawn.
_FLAT = 0.01


@dataclass(frozen=True)
class MaskContext:
    """What a policy may know.

    Attributes
    ----------
    grid, patch
        Patches of a crop, and voxels of a patch, along z, y, x.
    edges_BN
        Edge density of each patch.
    difficulty_BN
        Loss that is expected of each patch; None unless something predicts it.
    logits_BN
        The agents' wish to be hidden; None without agents.
    """

    grid: Int3
    patch: Int3
    edges_BN: Tensor
    difficulty_BN: Tensor | None = None
    logits_BN: Tensor | None = None


@dataclass(frozen=True)
class Mask:
    """The two parts of a crop's patches, int64, each in rising order."""

    keep_BK: Tensor
    masked_BM: Tensor


def budget(n: int, ratio: float) -> int:
    """How many of n patches are hidden: the ratio rounded up, but at least one is hidden and one is seen."""
    # 0.55 * 100 is a little more than 55 in floating point
    return min(max(math.ceil(round(ratio * n, 6)), 1), n - 1)


def split(masked_BM: Tensor, n: int) -> Mask:
    """The mask that hides these of n patches, which may come in any order.

    Raises
    ------
    InputError
        If a crop names a patch twice.
    """
    seen_BN = torch.ones(masked_BM.shape[0], n, dtype=torch.bool, device=masked_BM.device)
    seen_BN.scatter_(1, masked_BM, value=False)
    keep = n - masked_BM.shape[1]
    if not bool((seen_BN.sum(1) == keep).all()):
        raise InputError("a mask that hides a patch twice", f"{masked_BM.shape[1]} different patches of each crop")
    # a stable sort of the flags lists hidden patches first, then seen ones, each in rising order
    order_BN = seen_BN.to(torch.uint8).argsort(dim=1, stable=True)
    hidden = masked_BM.shape[1]
    return Mask(order_BN[:, hidden:], order_BN[:, :hidden])


def uniform_like(x_BN: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers in (0, 1), fp32, of the shape and device of another tensor."""
    u = torch.rand(x_BN.shape, generator=generator, device=generator.device)
    return u.clamp(min=torch.finfo(torch.float32).tiny).to(x_BN.device)


def gumbel_order(logits_BN: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` patches of each crop without replacement, (B, count) in the order of their drawing.

    Adding Gumbel noise and sorting draws from the Plackett-Luce law of the logits (Yellott 1977; Kool et al. 2019,
    arXiv 1903.06059): first a patch by softmax, then one of the rest by softmax over the rest, and so on.
    """
    noise = -torch.log(-torch.log(uniform_like(logits_BN, generator)))
    return torch.topk(logits_BN.float() + noise, count, dim=1, sorted=True).indices


def random(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """Every set of patches is equally likely."""
    n = context.edges_BN.shape[1]
    return split(_top(uniform_like(context.edges_BN, generator), count), n)


def block(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """Whole cuboids of patches are hidden, in the spirit of Bao et al. 2022 (arXiv 2106.08254).

    The grid is cut into blocks from a random corner; blocks are hidden in random order, the last one only in part.
    """
    n = context.edges_BN.shape[1]
    keys = torch.stack([_block_keys(context.grid, config.block, generator) for _ in context.edges_BN])
    return split(_top(keys.to(context.edges_BN.device), count), n)


def edge(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """Patches are drawn one after the other with chances in proportion to their edge density."""
    return split(gumbel_order(_edge_logits(context), count, generator), context.edges_BN.shape[1])


def mix(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """A fixed share is drawn by edge density, the rest of the budget at random from what is left."""
    by_edge = gumbel_order(_edge_logits(context), round(config.edge_share * count), generator)
    return split(_with_random_rest(by_edge, count, context.edges_BN, generator), context.edges_BN.shape[1])


def loss_ranked(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """The patches of highest expected loss, and a random share of the rest; ties fall at random.

    The control that needs no agents (Wang et al. 2023, arXiv 2304.05919). Noise attracts it.

    Raises
    ------
    InputError
        If nothing predicts difficulty.
    """
    difficulty_BN = _needed(context.difficulty_BN, "loss_ranked", "difficulty_BN")
    shuffled = uniform_like(difficulty_BN, generator).argsort(dim=1)
    falling = difficulty_BN.gather(1, shuffled).argsort(dim=1, stable=True, descending=True)
    hardest = shuffled.gather(1, falling)[:, : count - round(config.random_share * count)]
    return split(_with_random_rest(hardest, count, difficulty_BN, generator), difficulty_BN.shape[1])


def learned(context: MaskContext, count: int, generator: torch.Generator, config: MaskConfig) -> Mask:
    """Patches are drawn by the agents' logits; always drawn, never the best ones.

    Raises
    ------
    InputError
        If there are no logits, or some are not finite.
    """
    logits_BN = finite(_needed(context.logits_BN, "learned", "logits_BN"))
    return split(gumbel_order(logits_BN, count, generator), logits_BN.shape[1])


def finite(logits_BN: Tensor) -> Tensor:
    """The logits themselves.

    Raises
    ------
    InputError
        If some are not finite: masks drawn from them would be no sample of anything.
    """
    if not bool(torch.isfinite(logits_BN).all()):
        raise InputError("agents' logits that are NaN or infinite", "finite logits", "lower pretrain.agents.lr")
    return logits_BN


def _needed(x_BN: Tensor | None, policy: str, what: str) -> Tensor:
    if x_BN is None:
        raise InputError(f"masks by '{policy}' without {what}", f"a context with {what}")
    return x_BN


def _top(keys_BN: Tensor, count: int) -> Tensor:
    return torch.topk(keys_BN, count, dim=1).indices


def _edge_logits(context: MaskContext) -> Tensor:
    return context.edges_BN.float().clamp(min=_FLAT).log()


def _with_random_rest(first_BJ: Tensor, count: int, like_BN: Tensor, generator: torch.Generator) -> Tensor:
    """`count` patches of each crop: the first ones, then random ones that are not among them."""
    keys = uniform_like(like_BN, generator).scatter(1, first_BJ, -1.0)
    return torch.cat([first_BJ, _top(keys, count - first_BJ.shape[1])], dim=1)


def _block_keys(grid: Int3, block: Int3, generator: torch.Generator) -> Tensor:
    """(N,) numbers whose order goes through the grid block by block, at random within a block."""
    owner = torch.zeros(grid, dtype=torch.int64, device=generator.device)
    blocks = 1
    for axis, (n, size) in enumerate(zip(grid, block, strict=True)):
        corner = torch.randint(size, (1,), generator=generator, device=generator.device)
        place = (torch.arange(n, device=generator.device) + corner) // size
        shape = [1, 1, 1]
        shape[axis] = n
        across = n // size + 2
        owner = owner * across + place.reshape(shape)
        blocks *= across
    rank = torch.randperm(blocks, generator=generator, device=generator.device)
    within = torch.rand(math.prod(grid), generator=generator, device=generator.device, dtype=torch.float64)
    return rank[owner.flatten()] + within
