"""Neurons: affinities are learned and agglomerated; thresholds and channel biases are calibrated by VOI or CREMI score.

A validation segments the slabs at many thresholds, with and without channel biases that make mean probabilities true;
the decoding that scores best is the calibration that a run keeps for its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets, affinities_from_labels
from neuropil.config import Config
from neuropil.data.descriptors import CHANNELS, Descriptors
from neuropil.data.targets import AffinityTargets, border_steps, known_labels, widened
from neuropil.geometry import Float3, Int3
from neuropil.metrics.overlap import Contingency, contingency
from neuropil.metrics.partition import scores
from neuropil.post.agglomerate import hierarchy
from neuropil.post.decoders import Decoder, Neurons
from neuropil.registry import SEGMENTERS
from neuropil.tasks.base import (
    OF_ALL_LABELLED,
    OF_FIRST_WEIGHTS,
    OF_HELD_BACK,
    OF_SETTINGS,
    Channel,
    Hint,
    Labelled,
    Predicted,
    Task,
    labels_of,
)

if TYPE_CHECKING:
    from torch import Tensor

#: Thresholds that are tried.
THRESHOLDS = tuple(round(0.05 + 0.025 * n, 3) for n in range(37))
#: Voxels, beside the slabs, that a threshold from all labelled voxels looks at: every validation predicts them.
_MOST = 4_000_000
KEPT = ("voi_split", "voi_merge", "voi_sum", "arand", "cremi_score")


def channels(config: Config) -> tuple[Channel, ...]:
    """One affinity for each step."""
    assert config.model.offsets is not None  # filled by `neuropil.plan.resolved`
    return affinity_channels(config.model.offsets)


def affinity_channels(offsets: Offsets) -> tuple[Channel, ...]:
    """Channels of affinities."""
    return tuple(Channel("affinity " + ",".join(str(o) for o in offset), offset) for offset in offsets)


def targets(config: Config, voxel_size: Float3) -> AffinityTargets:
    """Affinities of labels whose borders may be widened, and shape descriptors where they have a weight."""
    return AffinityTargets.of(_offsets(config), config.data, voxel_size, _descriptors(config, voxel_size))


def _descriptors(config: Config, voxel_size: Float3) -> Descriptors | None:
    # of a single section nothing is known before and behind
    size = config.model.seen(voxel_size)
    return Descriptors(config.data.descriptor_sigma_nm, size) if config.train.descriptors else None


def loss(logits_BCZYX: Tensor, batch: dict[str, Tensor], config: Config) -> Tensor:
    """The affinity loss of a batch with affinities and valid."""
    from neuropil.tasks.losses import affinity_loss

    train = config.train
    return affinity_loss(
        logits_BCZYX,
        batch["affinities"],
        batch["valid"],
        kind=train.loss,
        balance=train.balance,
        dice_weight=train.dice,
    )


def hint(config: Config, voxel_size: Float3) -> Hint | None:
    """Local shape descriptors, if they have a weight."""
    descriptors = _descriptors(config, voxel_size)
    if descriptors is None:
        return None
    weight, (sz, sy, sx) = config.train.descriptors, descriptors.stride

    def loss(logits_BCZYX: Tensor, batch: dict[str, Tensor]) -> Tensor:
        from neuropil.tasks.losses import bce

        described = batch["described"].expand_as(batch["descriptors"]).float()
        return weight * bce(logits_BCZYX[:, :, ::sz, ::sy, ::sx], batch["descriptors"], described)

    return Hint(CHANNELS, loss)


def check(config: Config, voxel_size: Float3) -> None:
    """Segment nothing much, to meet an unknown segmenter or offsets that it cannot use."""
    segment = config.segment.model_copy(update={"threshold": 0.5})
    probe = np.zeros((len(_offsets(config)), 4, 4, 4), np.uint8)
    decode(probe, _offsets(config), voxel_size, config.model_copy(update={"segment": segment}))


def decode(
    stored_CZYX: npt.NDArray[Any], offsets: Offsets, voxel_size: Float3, config: Config
) -> npt.NDArray[np.uint64]:
    """The segmenter that the settings name, applied."""
    labels: npt.NDArray[np.uint64] = SEGMENTERS.resolve(config.segment.method)(
        stored_CZYX, offsets, voxel_size, config.segment
    )
    return labels


def blocks(offsets: Offsets, voxel_size: Float3, config: Config) -> Decoder | None:
    """Agglomeration of fragments by ascent; other segmenters and floods decide in a global order."""
    segment = config.segment
    local = segment.method == "agglomerate" and segment.fragments.method == "ascent"
    return Neurons(offsets, voxel_size, segment) if local else None


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Scores at the best decoding, the sweep over thresholds, and the calibration to keep.

    A threshold or biases that the settings say are kept; with a threshold alone there are no biases.
    """
    offsets = _offsets(config)
    if config.segment.method != "agglomerate":
        # a segmenter that has no threshold to calibrate
        row = _mean_scores([contingency(labels, decode(a, offsets, voxel_size, config)) for a, labels in slabs])
        unset = {"decoding": OF_SETTINGS, "calibration": {"threshold": None, "bias": []}}
        return {"score": row[_objective(config)], **row, **unset}
    trials = [_sweep(slabs, voxel_size, config, config.segment.bias or (0.0,) * len(offsets))]
    if config.segment.calibrate_bias and not _said(config):
        widen = border_steps(config.data, voxel_size)
        trials.append(
            _sweep(slabs, voxel_size, config, fitted_bias(slabs, offsets, widen, zero_label=config.data.zero_label))
        )
    best = min(trials, key=lambda trial: trial["score"])
    told = {
        "decoding": OF_HELD_BACK if config.segment.threshold is None else OF_SETTINGS,
        "rests_on": best["fragments"],
    }
    return {**best, **told, "calibration": {"threshold": best["threshold"], "bias": best["bias"]}}


def _said(config: Config) -> bool:
    return config.segment.threshold is not None or bool(config.segment.bias)


def from_few(found: dict[str, Any], labelled: Labelled, voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Where the slabs hold little: the decoding of the first weights, or a cautious one from all labelled voxels.

    What thousands of fragments said of the first weights says more of weights that began there than some dozens do.
    Without such, the threshold is the best of all labelled voxels, raised: with some dozens of objects one contact
    decides what is best on a slab, and what is segmented later is larger and farther away, where the same share of
    wrong merges joins everything (docs/results/label_efficiency.md). The score that picks the weights stays the best of
    the slabs, and so does the decoding where nothing is labelled. What the settings say is not asked of any of them.
    """
    segment = config.segment
    if segment.method != "agglomerate" or segment.threshold is not None:
        return found
    fragments, first = found["fragments"], labelled.first
    if first and not _said(config) and fragments < min(segment.keep_first, first["rests_on"]):
        kept = calibrate(labelled.slabs, voxel_size, _decoded_as(config, first))
        return {**kept, "score": found["score"], "decoding": OF_FIRST_WEIGHTS, "rests_on": first["rests_on"]}
    objects = sum(_objects(slab.labels_ZYX) for slab in labelled.slabs)
    if objects >= segment.enough_objects:
        return found
    parts = [part for part in labelled.everything(most=_MOST) if _objects(part.labels_ZYX)]
    if not parts:
        return found
    best = calibrate(parts, voxel_size, config)
    # one that began trained is not led astray by its slabs that much: on GALA thresholds were too high without a raise
    caution = 0.0 if first else segment.caution
    raised = best["threshold"] + caution * (1 - objects / segment.enough_objects)
    decoding = {"threshold": min(THRESHOLDS, key=lambda t: abs(t - raised)), "bias": best["bias"]}
    kept = calibrate(labelled.slabs, voxel_size, _decoded_as(config, decoding))
    told = {"decoding": OF_ALL_LABELLED, "raised": round(kept["threshold"] - best["threshold"], 3)}
    return {**kept, "score": found["score"], **told, "rests_on": best["fragments"]}


def _objects(labels_ZYX: npt.NDArray[Any]) -> int:
    """How many objects are labelled."""
    ids, annotated = known_labels(labels_ZYX)
    return len(np.unique(ids[annotated & (ids > 0)]))


def _decoded_as(config: Config, calibration: Mapping[str, Any]) -> Config:
    kept = {"threshold": calibration["threshold"], "bias": tuple(calibration["bias"])}
    return config.model_copy(update={"segment": config.segment.model_copy(update=kept)})


def _sweep(slabs: Sequence[Predicted], voxel_size: Float3, config: Config, bias: tuple[float, ...]) -> dict[str, Any]:
    """Mean scores over the slabs at each threshold."""
    segment = config.segment.model_copy(update={"bias": bias})
    wholes = [hierarchy(a, _offsets(config), voxel_size, segment) for a, _ in slabs]
    tables = [contingency(labels, w.fragments_ZYX) for w, (_, labels) in zip(wholes, slabs, strict=True)]
    rows, said = [], config.segment.threshold
    for threshold in THRESHOLDS if said is None else sorted({*THRESHOLDS, said}):
        cuts = [table.regrouped(w.lookup(threshold)) for w, table in zip(wholes, tables, strict=True)]
        rows.append({"threshold": threshold, **_mean_scores(cuts)})
    objective = _objective(config)
    best = rows[most_robust([row[objective] for row in rows])]
    if said is not None:
        best = next(row for row in rows if row["threshold"] == said)
    fragments = sum(whole.tree.nodes for whole in wholes)
    bias_shown = [round(b, 4) for b in bias]
    return {"score": best[objective], **best, "fragments": fragments, "bias": bias_shown, "sweep": rows}


def _objective(config: Config) -> str:
    return "cremi_score" if config.segment.objective == "cremi" else "voi_sum"


def _offsets(config: Config) -> Offsets:
    return tuple(channel.step for channel in channels(config))


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


def fitted_bias(slabs: Sequence[Predicted], offsets: Offsets, widen: Int3, *, zero_label: str) -> tuple[float, ...]:
    """The logit shift of each channel that makes its mean probability that of the truth.

    A balanced loss teaches the network that both classes are equally common, which they are not.
    """
    histogram = np.zeros((len(offsets), 256))
    joined = np.zeros(len(offsets))
    for affinities, labels in slabs:
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


TASK = Task(
    name="neurons",
    kind="affinities",
    group="segment",
    truth=labels_of,
    channels=channels,
    targets=targets,
    loss=loss,
    check=check,
    calibrate=calibrate,
    decode=decode,
    headline=("voi_split", "voi_merge", "voi_sum", "arand"),
    from_few=from_few,
    hint=hint,
    blocks=blocks,
)
