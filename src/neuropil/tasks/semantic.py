"""What is labelled at all: one channel of foreground, for masks and for labels whose ids do not matter.

The threshold is the one of best IoU over all held-back slabs together, and 1 - IoU picks the weights that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuropil.config import Config
from neuropil.data.augment.base import NO_HALO
from neuropil.data.organelles import RARE, ForegroundTargets
from neuropil.data.targets import known_labels
from neuropil.geometry import Float3
from neuropil.tasks.base import Channel, Predicted, Task, masks_of
from neuropil.tasks.foreground import best_of, blocks, counted, decode, needs_background, overlap_at, tried

if TYPE_CHECKING:
    from torch import Tensor


def channels(config: Config) -> tuple[Channel, ...]:
    """Foreground."""
    return (Channel("foreground", prior=RARE),)


def targets(config: Config, voxel_size: Float3) -> ForegroundTargets:
    """What is taught of a crop."""
    return ForegroundTargets(NO_HALO)


def loss(logits_BCZYX: Tensor, batch: dict[str, Tensor], config: Config) -> Tensor:
    """Cross entropy and Dice loss of the foreground."""
    from neuropil.tasks.losses import foreground_loss

    return foreground_loss(logits_BCZYX, batch["targets"], batch["valid"], dice_weight=config.organelles.dice)


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """IoU and Dice of voxels at the best threshold, and this as the calibration to keep."""
    counts = np.zeros((2, 256), np.int64)
    for stored, labels in slabs:
        ids, known = known_labels(labels)
        counts += counted(stored[0], ids > 0, known)
    return best_of([{"foreground": t, **overlap_at(counts, t)} for t in tried(config)], "iou", config)


TASK = Task(
    name="semantic",
    kind="prediction",
    group="instances",
    truth=masks_of,
    channels=channels,
    targets=targets,
    loss=loss,
    check=needs_background,
    calibrate=calibrate,
    decode=decode,
    blocks=blocks,
    headline=("iou", "dice"),
    pooled=True,
)
