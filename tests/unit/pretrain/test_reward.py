"""Ranks against scipy, the noise baseline against means by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from neuropil.config.pretrain import AgentsConfig
from neuropil.pretrain.reward import NoiseBaseline, rank_normal, rewards

CONFIG = AgentsConfig(variance_bins=4, variance_range=(1e-4, 1.0), noise_decay=0.5)


def test_rank_normal_equals_quantiles_of_average_ranks() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 20, (7, 11), generator=g).float()  # many ties
    ranks = rankdata(x.numpy().ravel(), method="average").reshape(7, 11)
    np.testing.assert_allclose(rank_normal(x).numpy(), norm.ppf((ranks - 0.5) / 77), atol=1e-5)


def test_rank_normal_knows_no_scale_and_no_tails() -> None:
    x = torch.randn(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rank_normal(x), rank_normal((3 * x).exp()))
    assert abs(float(rank_normal(x).mean())) < 1e-6
    assert abs(float(rank_normal(x).std()) - 1) < 0.02
    assert torch.equal(rank_normal(torch.full((3, 2), 7.0)), torch.zeros(3, 2))
    assert rank_normal(torch.zeros(0)).shape == (0,)


def test_residual_is_loss_beyond_the_mean_of_its_bin() -> None:
    """Bins are decades here: 1e-4, 1e-3, 1e-2, 1e-1."""
    noise = NoiseBaseline(CONFIG)
    loss = torch.tensor([[1.0, 3.0, 5.0], [10.0, 20.0, 7.0]])
    variance = torch.tensor([[0.02, 0.05, 0.5], [2e-4, 5e-4, 99.0]])
    noise.observe(loss, variance, 0.75)
    expected = torch.tensor([[-1.0, 1.0, -1.0], [-5.0, 5.0, 1.0]])
    assert torch.allclose(noise.residual(loss, variance, 0.75), expected)
    # 3e-3 was never seen: the mean of everything
    unseen = noise.residual(torch.tensor([[1.0]]), torch.tensor([[3e-3]]), 0.75)
    assert float(unseen) == pytest.approx(1.0 - 46 / 6)


def test_ratios_have_means_of_their_own() -> None:
    noise = NoiseBaseline(CONFIG)
    one, variance = torch.ones(1, 4), torch.full((1, 4), 0.02)
    for ratio in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9):
        noise.observe(one * ratio * 10, variance, ratio)
    for ratio in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9):
        assert torch.allclose(noise.residual(one * ratio * 10, variance, ratio), torch.zeros(1, 4), atol=1e-6)


def test_the_mean_follows_the_present_and_bins_that_see_nothing_forget_nothing() -> None:
    noise = NoiseBaseline(CONFIG)
    low, high = torch.full((1, 2), 2e-4), torch.full((1, 2), 0.5)
    noise.observe(torch.tensor([[4.0, 4.0]]), low, 0.5)
    for _ in range(20):
        noise.observe(torch.tensor([[1.0, 1.0]]), high, 0.5)
        noise.observe(torch.tensor([[3.0, 3.0]]), high, 0.5)
    zero = torch.zeros(1, 2)
    assert torch.allclose(-noise.residual(zero, low, 0.5), torch.tensor([[4.0, 4.0]]))
    # memory 1/2: ... 1, 3 weigh (3 + 1/2) / (1 + 1/2) in the limit
    assert torch.allclose(-noise.residual(zero, high, 0.5), torch.full((1, 2), 3.5 / 1.5), atol=1e-4)


def test_the_baseline_survives_a_restart() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = NoiseBaseline(CONFIG), NoiseBaseline(CONFIG)
    loss, variance = torch.rand(2, 50, generator=g), torch.rand(2, 50, generator=g)
    a.observe(loss, variance, 0.75)
    b.load_state_dict(a.state_dict())
    for noise in (a, b):
        noise.observe(loss + 1, variance, 0.75)
    assert torch.equal(a.residual(loss, variance, 0.75), b.residual(loss, variance, 0.75))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_progress_counts_by_its_weight_however_small_it_is() -> None:
    g = torch.Generator().manual_seed(0)
    residual, progress = torch.randn(4000, generator=g), 1e-5 * torch.randn(4000, generator=g)
    assert torch.equal(rewards(residual, progress, 0.0), rank_normal(residual))
    for weight in (1.0, 4.0):
        mixed = rewards(residual, progress, weight)
        slopes = [float((mixed * rank_normal(x)).mean()) for x in (residual, progress)]
        assert slopes[1] / slopes[0] == pytest.approx(weight, rel=0.15)
