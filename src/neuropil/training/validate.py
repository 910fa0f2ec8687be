"""Validation by the score that matters: held-back slabs are predicted, and the task judges their best decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from neuropil.config import Config
from neuropil.data.normalise import Normaliser
from neuropil.geometry import Box, Int3
from neuropil.infer.predict import PredictSettings, predict_volume
from neuropil.tasks.base import Labelled, Predicted, task_named
from neuropil.volume import Volume


@dataclass(frozen=True)
class Part:
    """A part of a training volume: a slab that is never trained on, or the rest."""

    image: Volume
    labels: Volume
    box: Box
    normaliser: Normaliser


def middles(parts: Sequence[Part], most: int | None) -> list[Part]:
    """The parts, or so much of each about its middle that all together have at most this many voxels."""
    whole = sum(part.box.size for part in parts)
    if most is None or whole <= most:
        return list(parts)
    side = (most / whole) ** (1 / 3)
    cuts = [[math.ceil(n * (1 - side) / 2) for n in part.box.shape] for part in parts]
    return [replace(part, box=part.box.grown((-z, -y, -x))) for part, (z, y, x) in zip(parts, cuts, strict=True)]


@dataclass(frozen=True)
class Validator:
    """Scores a network on held-back slabs.

    Parameters
    ----------
    held
        The slabs.
    learned
        The parts that are trained on: calibration looks at them where the slabs are too small for it.
    config
        Resolved settings; they say which task it is, and how to decode.
    settings
        How to predict.
    context
        Voxels of image around a slab that prediction may see.
    first
        The decoding that came with the first weights, if one did.
    """

    held: Sequence[Part]
    learned: Sequence[Part]
    config: Config
    settings: PredictSettings
    context: Int3
    first: Mapping[str, Any]

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Scores at the best decoding, and the calibration to keep; see `neuropil.tasks.base.Task.calibrate`."""
        slabs = [self._predict(model, slab) for slab in self.held]
        task, voxel_size = task_named(self.config.task), self.held[0].image.voxel_size
        found = task.calibrate(slabs, voxel_size, self.config)
        if task.from_few is not None:
            labelled = Labelled(slabs, partial(self._everything, model, slabs), self.first)
            found = task.from_few(found, labelled, voxel_size, self.config)
        return {**found, "slabs": len(self.held)}

    def _everything(self, model: nn.Module, slabs: Sequence[Predicted], most: int | None = None) -> Sequence[Predicted]:
        return [*slabs, *(self._predict(model, part) for part in middles(self.learned, most))]

    def _predict(self, model: nn.Module, slab: Part) -> Predicted:
        around = slab.box.grown(self.context).intersected(slab.image.box)
        stored = predict_volume(
            model,
            slab.image.crop(around),
            offsets=[channel.step for channel in task_named(self.config.task).channels(self.config)],
            normalise=slab.normaliser,
            settings=self.settings,
        )
        assert isinstance(stored, np.ndarray)
        inside = slab.box.slices(around.start)
        return Predicted(np.ascontiguousarray(stored[(slice(None), *inside)]), slab.labels.read(slab.box))
