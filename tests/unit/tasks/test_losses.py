from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from neuropil.tasks.losses import (
    affinity_loss,
    balance_weights,
    bce,
    contour_loss,
    dice,
    distance_loss,
    foreground_loss,
    mse,
)

SHAPE = (2, 3, 4, 5, 6)


def _random(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=g)
    target = (torch.rand(SHAPE, generator=g) > 0.3).to(torch.uint8)
    valid = (torch.rand(SHAPE, generator=g) > 0.2).to(torch.uint8)
    return logits, target, valid


def test_bce_and_its_gradient_equal_torchs() -> None:
    logits, target, valid = _random()
    weight = balance_weights(target, valid)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    a = bce(ours, target, weight)
    b = F.binary_cross_entropy_with_logits(theirs, target.float(), weight=weight, reduction="sum") / weight.sum()
    (3 * a).backward()
    (3 * b).backward()
    assert torch.allclose(a, b, rtol=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-7)


def test_balance_makes_both_classes_weigh_alike() -> None:
    _, target, valid = _random(1)
    weight = balance_weights(target, valid)
    for c in range(SHAPE[1]):
        joined = weight[:, c][target[:, c] > 0].sum()
        cut = weight[:, c][target[:, c] == 0].sum()
        assert torch.allclose(joined, cut, rtol=1e-4)
    assert float(weight[valid == 0].abs().sum()) == 0


def test_balance_is_bounded_where_a_class_is_absent() -> None:
    target, valid = torch.ones(SHAPE, dtype=torch.uint8), torch.ones(SHAPE, dtype=torch.uint8)
    assert float(balance_weights(target, valid).max()) < 1


@pytest.mark.parametrize("kind", ["bce", "mse"])
@pytest.mark.parametrize("balance", [True, False])
def test_edges_without_truth_have_no_say(kind: str, balance: bool) -> None:
    logits, target, valid = _random(2)
    wrong = torch.where(valid > 0, target, 1 - target)
    changed = torch.where(valid > 0, logits, logits + 50)
    a = affinity_loss(logits, target, valid, kind=kind, balance=balance, dice_weight=0.5)
    b = affinity_loss(changed, wrong, valid, kind=kind, balance=balance, dice_weight=0.5)
    assert torch.allclose(a, b)


def test_perfect_predictions_cost_nothing_and_wrong_ones_much() -> None:
    _, target, valid = _random(3)
    right = (target.float() * 2 - 1) * 30
    for loss in (bce, mse):
        assert float(loss(right, target, valid.float())) < 1e-6
        assert float(loss(-right, target, valid.float())) > 0.9
    assert float(dice(right, target, valid)) < 1e-3
    assert float(dice(-right, target, valid)) > 0.9


def test_losses_of_organelles_are_masked_and_least_at_the_truth() -> None:
    logits, target, valid = _random(4)
    wrong = torch.where(valid > 0, target, 1 - target)
    changed = torch.where(valid > 0, logits, logits + 50)
    distance = 1.8 * target.float() - 0.9
    for loss, truth, other in (
        (partial(foreground_loss, dice_weight=0.7), target, wrong),
        (partial(contour_loss, positive=4.0), target, wrong),
        (distance_loss, distance, torch.where(valid > 0, distance, -distance)),
    ):
        assert torch.allclose(loss(logits, truth, valid), loss(changed, other, valid))
        share = truth.float() / 2 + 0.5 if truth is distance else truth.float()
        right = torch.logit(share.clamp(1e-6, 1 - 1e-6))
        assert float(loss(right, truth, valid)) < 1e-3 < 0.1 < float(loss(-right, truth, valid))


def test_contour_voxels_weigh_what_is_asked() -> None:
    target = torch.zeros(1, 1, 1, 1, 4)
    target[..., 0] = 1
    logits = torch.full_like(target, 0.3).requires_grad_()
    contour_loss(logits, target, torch.ones_like(target), positive=5.0).backward()
    assert logits.grad is not None
    up, down = logits.grad[..., 0], logits.grad[..., 1]
    chance = torch.sigmoid(torch.tensor(0.3))
    assert torch.allclose(-up / down, 5 * (1 - chance) / chance)


def test_distance_is_read_as_two_sigmoid_minus_one() -> None:
    target = torch.tensor([[[[[-0.9, 0.2]]]]])
    logits = torch.logit((target + 1) / 2)
    assert float(distance_loss(logits, target, torch.ones_like(target))) == pytest.approx(0, abs=1e-10)
    off = distance_loss(torch.zeros_like(target), target, torch.ones_like(target))
    assert float(off) == pytest.approx((0.5 * 0.9**2 + 0.5 * 0.2**2) / 2)
