"""A small made-up volume whose mistakes are known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.report import Look, ReportData, Timing

#: Pictures small enough for a test.
SMALL = Look(sections=4, worst=4, neurons=4, turns=2, solid_pixels=48, solid_side=48, plane_pixels=96, place_pixels=64)


@pytest.fixture
def small_look() -> Look:
    return SMALL


@pytest.fixture
def truth() -> np.ndarray:
    """Six columns along z (ids 10, 20, … 60), two rows of three, and a corner without truth."""
    labels = np.zeros((12, 24, 36), np.uint32)
    for k in range(6):
        y, x = divmod(k, 3)
        labels[:, y * 12 : y * 12 + 12, x * 12 : x * 12 + 12] = 10 * (k + 1)
    labels[:, :2, :2] = 0
    return labels


@pytest.fixture
def pred(truth: np.ndarray) -> np.ndarray:
    """10 is cut at z = 8 into 1 and 2; 20 and 30 are fused as 3; 60 is missed; 40 and 50 are right."""
    labels = np.zeros_like(truth, dtype=np.uint64)
    labels[truth == 10] = 1
    labels[8:][truth[8:] == 10] = 2
    labels[(truth == 20) | (truth == 30)] = 3
    labels[truth == 40] = 4
    labels[truth == 50] = 5
    return labels


@pytest.fixture
def full(truth: np.ndarray, pred: np.ndarray) -> ReportData:
    """A report with every part."""
    image = np.random.default_rng(0).integers(0, 255, truth.shape, dtype=np.uint8)
    return ReportData(
        title="toy <run> & co",
        summary={"Recipe": "em_neurons", "Seed": "0", "command": "neuropil segment a b"},
        metrics=[{"step": s, "loss": 1.0 / (s + 1)} for s in range(60)],
        validation=[{"step": 30, "voi_sum": 1.0, "arand": 0.2}, {"step": 59, "voi_sum": 0.5, "arand": 0.1}],
        sweep=[
            {"threshold": t / 10, "voi_sum": 1.0 + abs(t - 4) / 10, "voi_split": 0.5, "voi_merge": 0.5, "arand": 0.1}
            for t in range(1, 9)
        ],
        threshold=0.4,
        scores={"voi_sum": 0.75, "voi_split": 0.25, "voi_merge": 0.5, "arand": 0.125, "num_truth": 6, "luck": 7.5},
        image=image,
        truth=truth,
        segmentation=pred,
        affinities=np.full((3, *truth.shape), 200, np.uint8),
        offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        voxel_size=(20.0, 8.0, 8.0),
        timings={"predict": Timing(2.0, 3 * 2**30, 4_000_000), "read": 2.0},
        notes=("A note.",),
    )
