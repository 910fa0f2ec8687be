"""What is labelled at all: one channel of foreground, for masks and for labels whose ids do not matter.

The threshold is the one of best IoU over all held-back slabs together, and 1 - IoU picks the weights that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config import Config
from neuropil.data.augment.base import NO_HALO
from neuropil.data.organelles import RARE, ForegroundTargets
from neuropil.data.targets import known_labels
from neuropil.geometry import Float3
from neuropil.post.instances import components
from neuropil.tasks.base import Channel, Predicted, Task, masks_of

if TYPE_CHECKING:
    from torch import Tensor

#: Thresholds that are tried.
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 20))


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


def check(config: Config, voxel_size: Float3) -> None:
    """Nothing can be wrong that the settings do not say themselves."""


def decode(
    stored_CZYX: npt.NDArray[Any], offsets: Offsets, voxel_size: Float3, config: Config
) -> npt.NDArray[np.uint64]:
    """See `neuropil.post.instances.components`."""
    return components(stored_CZYX, voxel_size, config.instances)


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """IoU and Dice of voxels at the best threshold, and this as the calibration to keep."""
    histograms = np.zeros((2, 256), np.int64)
    for stored, labels in slabs:
        ids, valid = known_labels(labels)
        if config.data.zero_label == "ignore":
            valid &= ids > 0
        for is_inside in (0, 1):
            histograms[is_inside] += np.bincount(stored[0][valid & ((ids > 0) == is_inside)], minlength=256)
    thresholds = THRESHOLDS if config.instances.calibrate else (config.instances.foreground,)
    rows = [{"foreground": t, **overlap_at(histograms, t)} for t in thresholds]
    best = max(rows, key=lambda row: row["iou"])
    kept = {"foreground": best["foreground"]} if config.instances.calibrate else {}
    return {"score": round(1 - best["iou"], 5), "iou": best["iou"], "dice": best["dice"], "calibration": kept}


def overlap_at(histograms: npt.NDArray[np.int64], threshold: float) -> dict[str, float]:
    """IoU and Dice of a threshold, from (2, 256) counts of stored values outside and inside the truth."""
    level = int(np.ceil(255 * threshold))
    false, both = (int(h[level:].sum()) for h in histograms)
    missed = int(histograms[1].sum()) - both
    return {
        "iou": round(both / max(1, both + false + missed), 5),
        "dice": round(2 * both / max(1, 2 * both + false + missed), 5),
    }


TASK = Task(
    name="semantic",
    kind="prediction",
    group="instances",
    truth=masks_of,
    channels=channels,
    targets=targets,
    loss=loss,
    check=check,
    calibrate=calibrate,
    decode=decode,
    headline=("iou", "dice"),
)
