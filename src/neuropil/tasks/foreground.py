"""What tasks of a foreground share: that background must be known, the threshold of best overlap, and its decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.config import Config
from neuropil.errors import ConfigError
from neuropil.geometry import Float3
from neuropil.post.decoders import Decoder
from neuropil.post.instances import Masks, components
from neuropil.tasks.base import OF_HELD_BACK, OF_SETTINGS

#: Thresholds that are tried.
THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 20))


def needs_background(config: Config, voxel_size: Float3) -> None:
    """Refuse labels whose zeros were not annotated: nothing would be left to tell objects from.

    Raises
    ------
    ConfigError
        If `data.zero_label` is ignore.
    """
    if config.data.zero_label == "ignore":
        raise ConfigError(
            f"data.zero_label = ignore for task {config.task}: only objects would be known, and no background",
            "background, so that label 0 is the truth",
            "give voxels that were not annotated the label -1 or 2**64 - 1, and leave data.zero_label out",
        )


def decode(
    stored_CZYX: npt.NDArray[Any], offsets: Offsets, voxel_size: Float3, config: Config
) -> npt.NDArray[np.uint64]:
    """See `neuropil.post.instances.components`."""
    return components(stored_CZYX, voxel_size, config.instances)


def blocks(offsets: Offsets, voxel_size: Float3, config: Config) -> Decoder:
    """The same in blocks."""
    return Masks(voxel_size, config.instances)


def counted(
    stored_ZYX: npt.NDArray[np.uint8], truth_ZYX: npt.NDArray[np.bool_], known_ZYX: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """How often each stored value occurs outside and inside the truth, (2, 256), where that is known."""
    return np.stack([np.bincount(stored_ZYX[known_ZYX & part], minlength=256) for part in (~truth_ZYX, truth_ZYX)])


def tried(config: Config) -> tuple[float, ...]:
    """Thresholds to choose from: all, or the one of the settings where nothing is to be calibrated."""
    return THRESHOLDS if config.instances.calibrate else (config.instances.foreground,)


def reached(counts: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.int64]:
    """How many of the stored values counted along the last axis reach a threshold, as decoding compares them."""
    return np.asarray(counts[..., int(np.ceil(255 * threshold)) :].sum(-1))


def overlap_at(counts: npt.NDArray[np.int64], threshold: float) -> dict[str, float]:
    """IoU and Dice of a threshold, from what `counted` gives."""
    false, both = (int(n) for n in reached(counts, threshold))
    missed = int(counts[1].sum()) - both
    return {
        "iou": round(both / max(1, both + false + missed), 5),
        "dice": round(2 * both / max(1, 2 * both + false + missed), 5),
    }


def best_of(rows: Sequence[Mapping[str, float]], by: str, config: Config) -> dict[str, Any]:
    """What `Task.calibrate` gives, from the scores ("iou", ...) at each threshold ("foreground"); `by` is the best."""
    best = max(rows, key=lambda row: row[by])
    scores = {name: value for name, value in best.items() if name != "foreground"}
    kept = {"foreground": best["foreground"]} if config.instances.calibrate else {}
    return {"score": round(1 - best[by], 5), **scores, "decoding": origin(config), "calibration": kept}


def origin(config: Config) -> str:
    """Where a decoding comes from that is calibrated on the slabs, or not at all."""
    return OF_HELD_BACK if config.instances.calibrate else OF_SETTINGS
