"""Single neurons whose truth is trees: foreground and centreline, for a mask that can be traced.

The threshold is the one of best Dice over all held-back slabs together, where the foreground is known: near a surface
it is not. 1 - Dice picks the weights that are kept. A neuron often ends before its image does; where the slabs have
hardly any of it, the threshold is that of everything labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config
from neuropil.data.tree_labels import TreeVoxels, tree_labels
from neuropil.geometry import Float3
from neuropil.tasks.base import OF_ALL_LABELLED, Channel, Labelled, Predicted, Task
from neuropil.tasks.foreground import best_of, blocks, counted, decode, needs_background, overlap_at, reached, tried

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


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Dice and IoU of the foreground and recall of the centreline at the best threshold, which is kept."""
    inside, line = np.zeros((2, 256), np.int64), np.zeros((2, 256), np.int64)
    teach = targets(config, voxel_size)
    for stored, labels in slabs:
        taught = teach(labels.astype(np.uint32), np.ones(labels.shape, np.bool_))
        foreground, centreline = taught["targets"] > 0
        known, line_known = taught["valid"] > 0
        inside += counted(stored[0], foreground, known)
        line += counted(stored[0], centreline, line_known)
    rows = []
    for t in tried(config):
        recall = int(reached(line[1], t)) / max(1, int(line[1].sum()))
        rows.append({"foreground": t, **overlap_at(inside, t), "centreline_recall": round(recall, 5)})
    return {**best_of(rows, "dice", config), "foreground_voxels": int(inside[1].sum())}


def from_few(found: dict[str, Any], labelled: Labelled, voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Where the slabs have little foreground, the threshold of best Dice over all that is labelled.

    It is better to look at neurites that were learned from than at hardly any; other scores stay those of the slabs.
    """
    if not config.instances.calibrate or found["foreground_voxels"] >= config.trees.enough:
        return found
    return {
        **found,
        "decoding": OF_ALL_LABELLED,
        "calibration": calibrate(labelled.everything(), voxel_size, config)["calibration"],
    }


TASK = Task(
    name="trees",
    kind="prediction",
    group="instances",
    truth=tree_labels,
    channels=channels,
    targets=targets,
    loss=loss,
    check=needs_background,
    calibrate=calibrate,
    decode=decode,
    blocks=blocks,
    headline=("dice", "iou", "centreline_recall"),
    from_few=from_few,
    pooled=True,
)
