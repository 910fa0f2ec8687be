"""Validation by the score that matters: held-back slabs are predicted, segmented at many thresholds, and compared.

The decoding that scores best (threshold and channel biases) is the calibration that a run keeps for its predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from neuropil.affinities import Offsets, affinities_from_labels
from neuropil.config import Config
from neuropil.data.normalise import Normaliser
from neuropil.data.targets import known_labels, widened
from neuropil.geometry import Box, Float3, Int3
from neuropil.infer.predict import PredictSettings, predict_volume
from neuropil.metrics.overlap import Contingency, contingency
from neuropil.metrics.partition import scores
from neuropil.post.agglomerate import hierarchy
from neuropil.registry import SEGMENTERS
from neuropil.volume import Volume

#: uint8 affinities and labels of a slab.
Predicted = tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]

#: Thresholds that are tried.
THRESHOLDS = tuple(round(0.05 + 0.025 * n, 3) for n in range(37))
KEPT = ("voi_split", "voi_merge", "voi_sum", "arand", "cremi_score")


@dataclass(frozen=True)
class HeldBack:
    """A slab of a training volume that is never trained on."""

    image: Volume
    labels: Volume
    box: Box
    normaliser: Normaliser


@dataclass(frozen=True)
class Validator:
    """Scores a network on held-back slabs.

    Parameters
    ----------
    held
        The slabs.
    config
        Resolved settings; `segment` says how to decode, `data.widen_border` what the targets were.
    offsets
        Voxel step of each channel.
    widen
        Border widening in voxels, z, y, x.
    settings
        How to predict.
    context
        Voxels of image around a slab that prediction may see.
    """

    held: Sequence[HeldBack]
    config: Config
    offsets: Offsets
    widen: Int3
    settings: PredictSettings
    context: Int3

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Scores at the best decoding, the sweep over thresholds, and the calibration to keep."""
        predicted = [self._predict(model, slab) for slab in self.held]
        none: tuple[float, ...] = (0.0,) * len(self.offsets)
        if self.config.segment.method != "agglomerate":
            row = self._segmented(predicted)
            return {**row, "calibration": {"threshold": None, "bias": []}, "slabs": len(self.held)}
        trials = [self._sweep(predicted, none)]
        if self.config.segment.calibrate_bias:
            trials.append(
                self._sweep(
                    predicted, fitted_bias(predicted, self.offsets, self.widen, zero_label=self.config.data.zero_label)
                )
            )
        best = min(trials, key=lambda trial: trial["score"])
        calibration = {"threshold": best["threshold"], "bias": best["bias"]}
        return {**best, "calibration": calibration, "slabs": len(self.held)}

    def _predict(self, model: nn.Module, slab: HeldBack) -> Predicted:
        around = slab.box.grown(self.context).intersected(slab.image.box)
        affinities = predict_volume(
            model,
            slab.image.crop(around),
            offsets=self.offsets,
            normalise=slab.normaliser,
            settings=self.settings,
        )
        assert isinstance(affinities, np.ndarray)
        inside = slab.box.slices(around.start)
        return np.ascontiguousarray(affinities[(slice(None), *inside)]), slab.labels.read(slab.box)

    def _sweep(self, predicted: Sequence[Predicted], bias: tuple[float, ...]) -> dict[str, Any]:
        """Mean scores over the slabs at each threshold."""
        segment = self.config.segment.model_copy(update={"bias": bias})
        wholes = [hierarchy(a, self.offsets, self._voxel_size, segment) for a, _ in predicted]
        tables = [contingency(labels, w.fragments_ZYX) for w, (_, labels) in zip(wholes, predicted, strict=True)]
        rows = []
        for threshold in THRESHOLDS:
            cuts = [table.regrouped(w.lookup(threshold)) for w, table in zip(wholes, tables, strict=True)]
            rows.append({"threshold": threshold, **_mean_scores(cuts)})
        best = rows[most_robust([row[self._objective] for row in rows])]
        return {"score": best[self._objective], **best, "bias": [round(b, 4) for b in bias], "sweep": rows}

    def _segmented(self, predicted: Sequence[Predicted]) -> dict[str, Any]:
        """Mean scores of a segmenter that has no threshold to calibrate."""
        segmenter = SEGMENTERS.resolve(self.config.segment.method)
        row = _mean_scores(
            [
                contingency(labels, segmenter(a, self.offsets, self._voxel_size, self.config.segment))
                for a, labels in predicted
            ]
        )
        return {"score": row[self._objective], **row}

    @property
    def _objective(self) -> str:
        return "cremi_score" if self.config.segment.objective == "cremi" else "voi_sum"

    @property
    def _voxel_size(self) -> Float3:
        return self.held[0].image.voxel_size


def _mean_scores(tables: Sequence[Contingency]) -> dict[str, float]:
    found = [scores(table, convention="neuropil") for table in tables]
    return {key: round(float(np.mean([f[key] for f in found])), 5) for key in KEPT}


def most_robust(scores: Sequence[float]) -> int:
    """Index of the lowest score after smoothing over neighbouring thresholds.

    One large neuron that merges or splits moves a slab's score by more than a step of the threshold does, so the lowest
    single score is often a lucky one beside a cliff; the middle of a good stretch carries over to other tissue.
    """
    weights = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    beyond = np.pad(np.asarray(scores, float), len(weights) // 2, mode="edge")
    return int(np.argmin(np.convolve(beyond, weights, mode="valid")))


def fitted_bias(predicted: Sequence[Predicted], offsets: Offsets, widen: Int3, *, zero_label: str) -> tuple[float, ...]:
    """The logit shift of each channel that makes its mean probability that of the truth.

    A balanced loss teaches the network that both classes are equally common, which they are not.
    """
    histogram = np.zeros((len(offsets), 256))
    joined = np.zeros(len(offsets))
    for affinities, labels in predicted:
        ids, annotated = known_labels(labels)
        if zero_label == "ignore":
            annotated &= ids > 0
        truth, _ = affinities_from_labels(widened(ids, annotated, widen), offsets)
        valid, _ = affinities_from_labels(annotated.view(np.uint8), offsets)
        for c in range(len(offsets)):
            inside = valid[c] > 0
            histogram[c] += np.bincount(affinities[c][inside], minlength=256)
            joined[c] += truth[c][inside].sum()
    probability = np.clip(np.arange(256) / 255, 1e-3, 1 - 1e-3)
    logits = np.log(probability / (1 - probability))
    return tuple(_shift(logits, h, j) for h, j in zip(histogram, joined, strict=True))


def _shift(logits: npt.NDArray[np.float64], histogram: npt.NDArray[np.float64], joined: float) -> float:
    low, high = -4.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        expected = (histogram / (1 + np.exp(-(logits + middle)))).sum()
        low, high = (middle, high) if expected < joined else (low, middle)
    return float((low + high) / 2)
