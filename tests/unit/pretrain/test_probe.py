from __future__ import annotations

import pytest
import torch

from neuropil.pretrain.probe import probe_score


def test_a_linear_relation_is_found_and_noise_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 50, 6, generator=generator)
    slope = torch.randn(6, generator=generator)
    assert probe_score(features, features @ slope + 3) > 0.99
    assert probe_score(features, torch.randn(8, 50, generator=generator)) < 0.1


def test_a_constant_feature_says_nothing_and_breaks_nothing() -> None:
    cut = torch.rand(4, 20, generator=torch.Generator().manual_seed(1))
    assert probe_score(torch.ones(4, 20, 3), cut) == pytest.approx(0, abs=0.2)
