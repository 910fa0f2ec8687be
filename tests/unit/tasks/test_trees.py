"""Trees: what has a gradient and what has none, and the threshold of best Dice against trying them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuropil.config import Config, parse_config
from neuropil.data.tree_labels import BESIDE, INSIDE, MIDDLE, SHELL, TreeVoxels
from neuropil.tasks.base import OF_ALL_LABELLED, Labelled, Predicted
from neuropil.tasks.foreground import THRESHOLDS
from neuropil.tasks.losses import centreline_recall_loss
from neuropil.tasks.trees import TASK, calibrate, channels, from_few, loss

NM = (600.0, 300.0, 300.0)


def config(**trees: float) -> Config:
    return parse_config({"task": "trees", "trees": trees})


def labelled(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, BESIDE + 1, (4, 10, 12)).astype(np.uint8)


def batch_of(labels: np.ndarray) -> dict[str, torch.Tensor]:
    taught = TreeVoxels()(labels.astype(np.uint32), np.ones(labels.shape, bool))
    return {name: torch.from_numpy(a)[None] for name, a in taught.items()}


def gradient(settings: Config, labels: np.ndarray) -> np.ndarray:
    logits = torch.zeros(1, 2, *labels.shape, requires_grad=True)
    loss(logits, batch_of(labels), settings).backward()
    assert logits.grad is not None
    return logits.grad.numpy()[0]


def test_the_shell_has_no_gradient_and_all_else_has() -> None:
    labels = labelled()
    foreground, centreline = gradient(config(), labels)
    assert not foreground[labels == SHELL].any()
    assert not centreline[labels == SHELL].any()
    assert (foreground[(labels == INSIDE) | (labels == MIDDLE) | (labels == BESIDE)] < 0).all()
    assert (foreground[labels == 0] > 0).all()
    assert (centreline[(labels == MIDDLE) | (labels == BESIDE)] < 0).all()
    assert (centreline[(labels == INSIDE) | (labels == 0)] > 0).all()


def test_each_loss_can_be_switched_off() -> None:
    labels = labelled()
    foreground, centreline = gradient(config(centreline=0, recall=0), labels)
    assert not centreline.any()
    assert not foreground[labels == BESIDE].any()  # only recall asks for it
    assert gradient(config(recall=1), labels)[0][labels == BESIDE].any()


def test_recall_is_the_missed_share_of_the_centreline() -> None:
    rng = np.random.default_rng(1)
    logits, line, valid = rng.normal(size=(3, 2, 1, 3, 4, 5))
    line, valid = line > 0, valid > -1
    probability = 1 / (1 + np.exp(-logits))
    expected = 1 - probability[line & valid].sum() / (line & valid).sum()
    given = torch.from_numpy(logits).requires_grad_()
    found = centreline_recall_loss(given, torch.from_numpy(line), torch.from_numpy(valid))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    found.backward()
    assert given.grad is not None
    slope = np.where(line & valid, -probability * (1 - probability) / (line & valid).sum(), 0)
    np.testing.assert_allclose(given.grad.numpy(), slope, rtol=1e-5, atol=1e-9)
    none = centreline_recall_loss(given, torch.zeros_like(given), torch.from_numpy(valid))
    assert float(none) == 0


def test_the_truth_is_the_best_answer() -> None:
    labels = labelled()
    batch = batch_of(labels)
    answer = batch["targets"].clone()
    answer[0, 0][torch.from_numpy(labels == BESIDE)] = 1  # nobody knows the foreground there, but recall asks for it
    right, wrong = (float(loss(sign * (20 * answer - 10), batch, config())) for sign in (1, -1))
    assert right < 0.1 < 5 < wrong


def slab(seed: int) -> Predicted:
    rng = np.random.default_rng(seed)
    labels = labelled(seed)
    inside = np.isin(labels, (INSIDE, MIDDLE))
    stored = np.clip(rng.normal(60 + 50 * inside, 30), 0, 255).astype(np.uint8)
    return Predicted(np.stack([stored, stored[::-1]]), labels)


def test_the_chosen_threshold_is_the_best_of_all() -> None:
    slabs = [slab(0), slab(1)]
    found = calibrate(slabs, NM, config())
    dice, recall = {}, {}
    for t in THRESHOLDS:
        settings = parse_config({"task": "trees", "instances": {"foreground": t}})
        both = either = line = hit = 0
        for stored, labels in slabs:
            mask, known = TASK.decode(stored, (), NM, settings) > 0, labels < SHELL
            inside = np.isin(labels, (INSIDE, MIDDLE))
            both += int((mask & inside & known).sum())
            either += int((mask & known).sum() + (inside & known).sum())
            line += int(np.isin(labels, (MIDDLE, BESIDE)).sum())
            hit += int(mask[np.isin(labels, (MIDDLE, BESIDE))].sum())
        dice[t], recall[t] = 2 * both / either, hit / line
    best = max(dice, key=lambda t: dice[t])
    assert found["calibration"] == {"foreground": best}
    assert found["dice"] == pytest.approx(dice[best], abs=1e-5)
    assert found["score"] == pytest.approx(1 - dice[best], abs=2e-5)
    assert found["centreline_recall"] == pytest.approx(recall[best], abs=1e-5)


def test_a_fixed_threshold_stays() -> None:
    settings = parse_config({"task": "trees", "instances": {"foreground": 0.3, "calibrate": False}})
    assert calibrate([slab(0)], NM, settings)["calibration"] == {}


def test_channels_are_named() -> None:
    assert [c.name for c in channels(config())] == ["foreground", "centreline"]


def test_slabs_with_hardly_any_neurite_leave_the_threshold_to_all_that_is_labelled() -> None:
    def slab(bright: int, neurite: int) -> Predicted:
        """Noise of 0.9 beside neurites of 0.5."""
        labels = np.zeros((1, 20, 100), np.uint8)
        labels[0, :neurite] = INSIDE
        stored = np.where(labels > 0, 128, 0).astype(np.uint8)[None].repeat(2, 0)
        stored[:, 0, 19, :bright] = 230
        return Predicted(stored, labels)

    bare, whole = slab(50, 0), slab(10, 10)
    asked = []

    def everything() -> list[Predicted]:
        asked.append(True)
        return [bare, whole]

    found = calibrate([bare], NM, config())
    assert found["foreground_voxels"] == 0
    better = from_few(found, Labelled([bare], everything), NM, config())
    assert 0 < better["calibration"]["foreground"] <= 0.5
    assert better == {**found, "decoding": OF_ALL_LABELLED, "calibration": better["calibration"]}
    assert len(asked) == 1
    enough = calibrate([whole], NM, config())
    assert enough["foreground_voxels"] == 1000
    assert from_few(enough, Labelled([whole], everything), NM, config()) is enough
    fixed = parse_config({"task": "trees", "instances": {"calibrate": False}})
    assert from_few(calibrate([bare], NM, fixed), Labelled([bare], everything), NM, fixed)["calibration"] == {}
    assert len(asked) == 1
