"""Averages of weights while training."""

import torch

from neuropil.training.loop import average_into


def test_averages_follow_weights_and_counts_are_taken_as_they_are() -> None:
    ema = {"w": torch.tensor([0.0, 4.0]), "batches": torch.tensor(3)}
    average_into(ema, {"w": torch.tensor([1.0, 0.0]), "batches": torch.tensor(9)}, 0.75)
    assert ema["w"].tolist() == [0.25, 3.0]
    assert ema["batches"].item() == 9
