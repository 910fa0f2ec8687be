"""Predict one box of a volume: the bits that predicting the whole of it gives there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Box, Int3
from neuropil.infer.predict import TilePredictor, finished_rows
from neuropil.infer.stream import ArrayWriter, Normalise, RollingSum, tile_batches
from neuropil.infer.tiles import TilePlan
from neuropil.volume import Volume


def predict_box(
    predictor: TilePredictor,
    image: Volume,
    plan: TilePlan,
    box: Box,
    *,
    steps: Sequence[Int3],
    normalise: Normalise,
    batch: int,
) -> npt.NDArray[np.uint8]:
    """Predict the channels of a box as uint8 (C, Z, Y, X), from all tiles of the whole volume that touch it.

    Parameters
    ----------
    predictor
        Of the same steps.
    plan
        The tiles of the whole volume (`neuropil.infer.predict.volume_plan`).
    steps
        The voxel step of each channel.
    normalise
        Raw values of one tile → float32, the same for all boxes.
    batch
        Tiles computed at once.
    """
    rolling = RollingSum(plan, tuple(steps), box, predictor.device)
    out = np.empty((len(steps), *box.shape), np.uint8)
    with ArrayWriter(out, box, box) as writer:
        batches = tile_batches(image, plan, box, batch, normalise)
        for z, rows in finished_rows(predictor, batches, rolling, lambda tiles: None):
            writer.push(z, rows)
    return out
