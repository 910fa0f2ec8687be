"""Single neurons whose truth is trees: foreground and centreline, for a mask that can be traced.

The threshold is the one of best Dice over all held-back slabs together, where the foreground is known: near a surface
it is not. 1 - Dice picks the weights that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config import Config
from neuropil.data.tree_labels import TreeVoxels, tree_labels
from neuropil.geometry import Float3
from neuropil.post.instances import components
from neuropil.tasks.base import Channel, Predicted, Task
from neuropil.tasks.semantic import THRESHOLDS, overlap_at

if TYPE_CHECKING:
    from torch import Tensor

#: What is expected before anything is learned: one neuron fills about a percent of its stack.
RARE = 0.02


def channels(config: Config) -> tuple[Channel, ...]:
    """Foreground and centreline."""
    return Channel("foreground", prior=RARE), Channel("centreline", prior=RARE)


def targets(config: Config, voxel_size: Float3) -> TreeVoxels:
    """What is taught of a crop."""
    return TreeVoxels()


def loss(logits_BCZYX: Tensor, batch: dict[str, Tensor], config: Config) -> Tensor:
    """Cross entropy and Dice loss of both channels, and the centreline that the foreground misses."""
    from neuropil.tasks.losses import centreline_recall_loss, foreground_loss

    settings = config.trees
    logits, taught, known = (logits_BCZYX, batch["targets"], batch["valid"])
    inside, line = ([a[:, c : c + 1] for a in (logits, taught, known)] for c in (0, 1))
    total = foreground_loss(*inside, dice_weight=settings.dice)
    if settings.centreline:
        total = total + settings.centreline * foreground_loss(*line, dice_weight=settings.dice)
    if settings.recall:
        total = total + settings.recall * centreline_recall_loss(inside[0], *line[1:])
    return total


def check(config: Config, voxel_size: Float3) -> None:
    """Nothing can be wrong that the settings do not say themselves."""


def decode(
    stored_CZYX: npt.NDArray[Any], offsets: Offsets, voxel_size: Float3, config: Config
) -> npt.NDArray[np.uint64]:
    """See `neuropil.post.instances.components`."""
    return components(stored_CZYX, voxel_size, config.instances)


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Dice and IoU of the foreground and recall of the centreline at the best threshold, which is kept."""
    inside = np.zeros((2, 256), np.int64)
    line = np.zeros(256, np.int64)
    teach = targets(config, voxel_size)
    for stored, labels in slabs:
        taught = teach(labels.astype(np.uint32), np.ones(labels.shape, np.bool_))
        (foreground, centreline), (known, line_known) = taught["targets"] > 0, taught["valid"] > 0
        for is_inside in (0, 1):
            inside[is_inside] += np.bincount(stored[0][known & (foreground == is_inside)], minlength=256)
        line += np.bincount(stored[0][centreline & line_known], minlength=256)
    thresholds = THRESHOLDS if config.instances.calibrate else (config.instances.foreground,)
    rows = [{"foreground": t, **overlap_at(inside, t), "centreline_recall": _above(line, t)} for t in thresholds]
    best = max(rows, key=lambda row: row["dice"])
    kept = {"foreground": best["foreground"]} if config.instances.calibrate else {}
    return {
        "score": round(1 - best["dice"], 5),
        **{key: best[key] for key in ("dice", "iou", "centreline_recall")},
        "calibration": kept,
    }


def _above(histogram: npt.NDArray[np.int64], threshold: float) -> float:
    """Share of voxels whose stored value reaches a threshold."""
    return round(int(histogram[int(np.ceil(255 * threshold)) :].sum()) / max(1, int(histogram.sum())), 5)


TASK = Task(
    name="trees",
    kind="prediction",
    group="instances",
    truth=tree_labels,
    channels=channels,
    targets=targets,
    loss=loss,
    check=check,
    calibrate=calibrate,
    decode=decode,
    headline=("dice", "iou", "centreline_recall"),
)
