"""Every policy hides exactly its budget, and with the frequencies that it claims."""

from __future__ import annotations

import math

import pytest
import torch

from neuropil.config.pretrain import MaskConfig
from neuropil.errors import ConfigError, InputError
from neuropil.pretrain.masking import MaskContext, budget, gumbel_order, split
from neuropil.registry import MASKS

GRID, PATCH, N = (2, 3, 4), (4, 16, 16), 24
CONFIG = MaskConfig()


def _context(crops: int, edges_N: torch.Tensor | None = None) -> MaskContext:
    g = torch.Generator().manual_seed(5)
    edges_N = torch.rand(N, generator=g) if edges_N is None else edges_N
    return MaskContext(
        GRID,
        PATCH,
        edges_N.expand(crops, N),
        difficulty_BN=torch.rand(N, generator=g).expand(crops, N),
        logits_BN=torch.randn(N, generator=g).expand(crops, N),
    )


def _frequency(policy: str, count: int, context: MaskContext, config: MaskConfig = CONFIG) -> torch.Tensor:
    """Share of the crops in which each patch is hidden, (N,)."""
    mask = MASKS.resolve(policy)(context, count, torch.Generator().manual_seed(11), config)
    crops = context.edges_BN.shape[0]
    return torch.bincount(mask.masked_BM.flatten(), minlength=N) / crops


def _close(share_N: torch.Tensor, truth_N: torch.Tensor | float, crops: int) -> bool:
    """Whether frequencies lie within five standard errors of the truth."""
    truth = torch.as_tensor(truth_N).expand(N)
    error = (truth * (1 - truth) / crops).sqrt() + 1e-9
    return bool(((share_N - truth).abs() / error).max() < 5)


@pytest.mark.parametrize("policy", list(MASKS))
@pytest.mark.parametrize("count", [1, 7, 18, 23])
def test_exactly_the_budget_is_hidden(policy: str, count: int) -> None:
    context = _context(16)
    mask = MASKS.resolve(policy)(context, count, torch.Generator().manual_seed(0), CONFIG)
    again = MASKS.resolve(policy)(context, count, torch.Generator().manual_seed(0), CONFIG)
    assert torch.equal(mask.masked_BM, again.masked_BM)
    assert mask.masked_BM.shape == (16, count)
    for part in (mask.keep_BK, mask.masked_BM):
        assert part.dtype == torch.int64
        assert bool((part.diff(dim=1) > 0).all())
    both = torch.cat([mask.keep_BK, mask.masked_BM], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(N).expand(16, N))


def test_random_hides_every_patch_and_every_pair_alike() -> None:
    crops = 20_000
    context = _context(crops)
    assert _close(_frequency("random", 6, context), 6 / N, crops)
    mask = MASKS.resolve("random")(context, 6, torch.Generator().manual_seed(2), CONFIG)
    hidden = torch.zeros(crops, N).scatter_(1, mask.masked_BM, 1.0)
    pairs = hidden.T @ hidden / crops
    truth = 6 * 5 / (N * (N - 1))
    apart = ~torch.eye(N, dtype=torch.bool)
    assert float((pairs[apart] - truth).abs().max()) < 5.5 * math.sqrt(truth / crops)


def test_blocks_hide_neighbours_together_but_favour_no_place_much() -> None:
    crops = 4000
    context = _context(crops)
    config = MaskConfig(block=(2, 2, 2))
    share = _frequency("block", 8, context, config)
    assert float(share.min()) > 0.7 * 8 / N
    assert float(share.max()) < 1.3 * 8 / N
    mask = MASKS.resolve("block")(context, 8, torch.Generator().manual_seed(2), config)
    hidden = torch.zeros(crops, N).scatter_(1, mask.masked_BM, 1.0).reshape(crops, *GRID)
    together = (hidden[..., 1:] * hidden[..., :-1]).mean()
    assert float(together) > 1.8 * 8 * 7 / (N * (N - 1)), "neighbours are hidden together more often than by chance"


def test_blocks_of_one_patch_are_random_masks() -> None:
    crops = 4000
    assert _close(_frequency("block", 6, _context(crops), MaskConfig(block=(1, 1, 1))), 6 / N, crops)


def test_a_block_is_whole_before_the_next_begins() -> None:
    line = MaskContext((1, 1, N), PATCH, torch.ones(64, N))
    mask = MASKS.resolve("block")(line, 10, torch.Generator().manual_seed(2), MaskConfig(block=(1, 1, 4)))
    hidden = torch.zeros(64, N).scatter_(1, mask.masked_BM, 1.0)
    for row in hidden:
        partial = [sum(0 < float(piece.mean()) < 1 for piece in _pieces(row, corner)) for corner in range(4)]
        assert min(partial) <= 1


def _pieces(row_N: torch.Tensor, corner: int) -> list[torch.Tensor]:
    cuts = range(4 - corner, N, 4)
    return [piece for piece in torch.tensor_split(row_N, tuple(cuts)) if piece.numel()]


def test_edge_masks_follow_edge_density() -> None:
    crops = 20_000
    edges = torch.linspace(0.1, 3.0, N)
    share = _frequency("edge", 1, _context(crops, edges))
    assert _close(share, edges / edges.sum(), crops)
    flat = _frequency("edge", 6, _context(crops, torch.zeros(N)))
    assert _close(flat, 6 / N, crops), "a crop without edges is drawn at random"


def test_mix_is_its_share_of_edges_and_the_rest_at_random() -> None:
    crops = 20_000
    edges = torch.where(torch.arange(N) < 3, 1e6, 1.0)
    share = _frequency("mix", 6, _context(crops, edges), MaskConfig(edge_share=0.5))
    assert float(share[:3].min()) > 0.999
    assert _close(share[3:].mean().expand(N), 3 / 21, crops)
    assert _close(_frequency("mix", 6, _context(crops, edges), MaskConfig(edge_share=0.0)), 6 / N, crops)


def test_loss_ranked_takes_the_hardest_and_a_random_share() -> None:
    crops = 20_000
    context = _context(crops)
    assert context.difficulty_BN is not None
    hardest = context.difficulty_BN[0].topk(7).indices
    share = _frequency("loss_ranked", 10, context, MaskConfig(random_share=0.3))
    truth = torch.full((N,), 3 / 17).index_fill(0, hardest, 1.0)
    assert _close(share, truth, crops)


def test_loss_ranked_breaks_ties_at_random() -> None:
    crops = 20_000
    context = MaskContext(GRID, PATCH, torch.ones(crops, N), difficulty_BN=torch.zeros(crops, N))
    assert _close(_frequency("loss_ranked", 6, context, MaskConfig(random_share=0.0)), 6 / N, crops)


def test_learned_masks_follow_the_logits() -> None:
    crops = 20_000
    context = _context(crops)
    assert context.logits_BN is not None
    assert _close(_frequency("learned", 1, context), context.logits_BN[0].softmax(0), crops)


def test_what_a_policy_needs_is_asked_for() -> None:
    bare = MaskContext(GRID, PATCH, torch.ones(1, N))
    g = torch.Generator().manual_seed(0)
    for policy in ("learned", "loss_ranked"):
        with pytest.raises(InputError, match=f"'{policy}' without"):
            MASKS.resolve(policy)(bare, 3, g, CONFIG)
    broken = MaskContext(GRID, PATCH, torch.ones(1, N), logits_BN=torch.full((1, N), math.nan))
    with pytest.raises(InputError, match="NaN"):
        MASKS.resolve("learned")(broken, 3, g, CONFIG)
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        MASKS.resolve("randon")


def test_budget_rounds_up_and_leaves_something_to_see() -> None:
    assert [budget(100, r) for r in (0.55, 0.7, 0.75, 0.751)] == [55, 70, 75, 76]
    assert budget(4, 0.99) == 3
    assert budget(800, 1e-6) == 1


def test_a_patch_cannot_be_hidden_twice() -> None:
    with pytest.raises(InputError, match="twice"):
        split(torch.tensor([[1, 1]]), 4)


def test_gumbel_order_of_all_patches_is_a_permutation() -> None:
    order = gumbel_order(torch.randn(5, 9, generator=torch.Generator().manual_seed(1)), 9, torch.Generator())
    assert torch.equal(order.sort(dim=1).values, torch.arange(9).expand(5, 9))
