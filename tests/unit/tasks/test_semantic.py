"""Semantic: the threshold of best IoU over all slabs, against trying them all on voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuropil.config import Config
from neuropil.tasks.base import Predicted
from neuropil.tasks.foreground import THRESHOLDS
from neuropil.tasks.semantic import TASK, calibrate, loss

NM = (8.0, 8.0, 8.0)


def slab(seed: int) -> Predicted:
    rng = np.random.default_rng(seed)
    truth = np.zeros((6, 20, 20), np.uint8)
    truth[2:5, 4:12, 5:15] = 1
    stored = np.clip(rng.normal(70 + 60 * truth, 30), 0, 255).astype(np.uint8)
    return Predicted(stored[None], truth)


def test_the_chosen_threshold_is_the_best_of_all() -> None:
    slabs = [slab(0), slab(1)]
    found = calibrate(slabs, NM, Config(task="semantic"))
    ious = {}
    for t in THRESHOLDS:
        settings = Config.model_validate({"task": "semantic", "instances": {"foreground": t}})
        pairs = [(TASK.decode(s.stored_CZYX, (), NM, settings) > 0, s.labels_ZYX > 0) for s in slabs]
        both = sum(int((a & b).sum()) for a, b in pairs)
        ious[t] = both / sum(int((a | b).sum()) for a, b in pairs)
    best = max(ious, key=lambda t: ious[t])
    assert found["calibration"] == {"foreground": best}
    assert found["iou"] == pytest.approx(ious[best], abs=1e-5)
    assert found["score"] == pytest.approx(1 - ious[best], abs=1e-5)
    assert found["dice"] == pytest.approx(2 * ious[best] / (1 + ious[best]), abs=1e-4)


def test_a_fixed_threshold_stays() -> None:
    config = Config.model_validate({"task": "semantic", "instances": {"foreground": 0.3, "calibrate": False}})
    assert calibrate([slab(0)], NM, config)["calibration"] == {}


def test_ignored_background_and_unannotated_voxels_do_not_judge() -> None:
    stored, truth = slab(0)
    labels = truth.astype(np.int64)
    labels[:, 12:] = -1
    stored = stored.copy()
    stored[:, :, 12:] = 255
    plain = calibrate([Predicted(stored[:, :, :12], truth[:, :12])], NM, Config(task="semantic"))
    assert calibrate([Predicted(stored, labels)], NM, Config(task="semantic")) == plain


def test_the_truth_is_the_best_answer() -> None:
    target = torch.from_numpy(slab(0).labels_ZYX.astype(np.float32))[None, None]
    batch = {"targets": target, "valid": torch.ones_like(target)}
    right, wrong = (float(loss(sign * (20 * target - 10), batch, Config(task="semantic"))) for sign in (1, -1))
    assert right < 1e-2 < 5 < wrong
