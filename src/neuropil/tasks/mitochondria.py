"""Mitochondria, or any organelle with instance labels: foreground, contour and signed distance, grown from seeds.

Thresholds are calibrated one after another on the held-back slabs, whose objects are counted together: a slab holds a
few objects only, so the score is the mean of F1 at IoU 0.5 and 0.75 and of the foreground's IoU, which moves when the
other two do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuropil.affinities import NEAREST, Offsets
from neuropil.config import Config, InstancesConfig
from neuropil.data.organelles import CHANNELS, RARE, OrganelleTargets
from neuropil.data.targets import known_labels
from neuropil.errors import ConfigError
from neuropil.geometry import Float3
from neuropil.metrics.matching import match, overlaps
from neuropil.metrics.overlap import contingency
from neuropil.post.decoders import Decoder
from neuropil.post.instances import Organelles, instances
from neuropil.tasks.base import Channel, Predicted, Task, masks_of
from neuropil.tasks.foreground import needs_background, origin
from neuropil.tasks.neurons import affinity_channels

if TYPE_CHECKING:
    from torch import Tensor

#: Where calibration begins if that is better than the settings: a network that is not sure yet passes one threshold but
#: not the next, and then no single step would help.
PERMISSIVE = {"seed_distance": 0.0, "seed_foreground": 0.5, "seed_contour": 1.0}
#: What calibration tries then, one setting after another; where scores are equal, what was there stays.
TRIED: dict[str, tuple[float, ...]] = {
    "seed_distance": (0.5, 0.3, 0.1, 0.7),
    "foreground": (0.5, 0.4, 0.6, 0.3, 0.7),
    "seed_foreground": (0.9, 0.8, 0.7, 0.6),
    "seed_contour": (0.8, 0.6, 0.4, 1.0),
    "min_size_um3": (0.0005, 0.001, 0.002, 0.005, 0.01),
}

#: The crop where nobody says which, and the most voxels of labels that one may need with its context.
_CROP, _MOST_VOXELS = (64, 64, 64), 2**26


def channels(config: Config) -> tuple[Channel, ...]:
    """Foreground, contour, distance; and affinities where they are asked for."""
    return (*(Channel(name, prior=RARE) for name in CHANNELS), *affinity_channels(_offsets(config)))


def targets(config: Config, voxel_size: Float3) -> OrganelleTargets:
    """What is taught of a crop."""
    return OrganelleTargets.of(config, voxel_size, _offsets(config))


def loss(logits_BCZYX: Tensor, batch: dict[str, Tensor], config: Config) -> Tensor:
    """The losses of all channels, weighted as `organelles` says."""
    from neuropil.tasks.losses import bce, contour_loss, distance_loss, foreground_loss

    settings = config.organelles
    a, t, v = (logits_BCZYX, batch["targets"], batch["valid"])
    foreground, contour, distance = ((a[:, c : c + 1], t[:, c : c + 1], v[:, c : c + 1]) for c in range(3))
    total = foreground_loss(*foreground, dice_weight=settings.dice)
    total = total + settings.contour * contour_loss(*contour, positive=settings.contour_positive)
    total = total + settings.distance * distance_loss(*distance)
    if _offsets(config):
        total = total + bce(a[:, 3:], t[:, 3:], v[:, 3:].float())
    return total


def check(config: Config, voxel_size: Float3) -> None:
    """Refuse labels without a background, and distances that reach too far or not far enough.

    Raises
    ------
    ConfigError
        Naming the setting.
    """
    needs_background(config, voxel_size)
    settings = config.organelles
    if math.tanh(settings.reach) <= config.instances.seed_distance:
        raise ConfigError(
            f"organelles.reach = {settings.reach:g}: distances end at tanh({settings.reach:g}) = "
            f"{math.tanh(settings.reach):.3g}, and seeds begin above instances.seed_distance = "
            f"{config.instances.seed_distance:g}",
            "distances that reach beyond the seeds",
            "a larger organelles.reach (2 by default), or a lower instances.seed_distance",
        )
    around = targets(config, voxel_size).context
    extent = [n + a + b for n, (a, b) in zip(config.data.crop or _CROP, around, strict=True)]
    if math.prod(extent) > _MOST_VOXELS:
        raise ConfigError(
            f"organelles.sigma_nm = {settings.sigma_nm:g}: every crop needs labels of {' x '.join(map(str, extent))} "
            f"voxels, as distances end at {settings.reach:g} sigma",
            f"at most {_MOST_VOXELS:,} voxels",
            "a smaller organelles.sigma_nm or organelles.reach, or volumes of larger voxels",
        )


def decode(
    stored_CZYX: npt.NDArray[Any], offsets: Offsets, voxel_size: Float3, config: Config
) -> npt.NDArray[np.uint64]:
    """See `neuropil.post.instances.instances`."""
    return instances(stored_CZYX, voxel_size, config.instances)


def blocks(offsets: Offsets, voxel_size: Float3, config: Config) -> Decoder:
    """The same in blocks."""
    return Organelles(voxel_size, config.instances)


def calibrate(slabs: Sequence[Predicted], voxel_size: Float3, config: Config) -> dict[str, Any]:
    """Scores at the best thresholds, and these as the calibration to keep."""
    truths = [known_labels(slab.labels_ZYX) for slab in slabs]
    starts = [config.instances]
    if config.instances.calibrate:
        starts.append(config.instances.model_copy(update=PERMISSIVE))
    scored = [(_scored(slabs, truths, voxel_size, start), start) for start in starts]
    best, chosen = min(scored, key=lambda pair: float(pair[0]["score"]))
    for name, values in TRIED.items() if chosen.calibrate else ():
        before = chosen
        for value in values:
            trial = before.model_copy(update={name: value})
            found = _scored(slabs, truths, voxel_size, trial)
            if found["score"] < best["score"]:
                chosen, best = trial, found
    kept = {name: getattr(chosen, name) for name in TRIED} if chosen.calibrate else {}
    return {**best, "decoding": origin(config), "calibration": kept}


def _scored(
    slabs: Sequence[Predicted],
    truths: Sequence[tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]],
    voxel_size: Float3,
    config: InstancesConfig,
) -> dict[str, Any]:
    """Scores of all objects and voxels of all slabs together; lower "score" is better."""
    true = predicted = both = either = 0
    found = {0.5: 0, 0.75: 0}
    for slab, (ids, valid) in zip(slabs, truths, strict=True):
        made = instances(slab.stored_CZYX, voxel_size, config)
        wanted, got = (ids > 0) & valid, (made > 0) & valid
        both, either = both + int((wanted & got).sum()), either + int((wanted | got).sum())
        if not wanted.any():  # all that is found there is false
            predicted += len(np.unique(made[got]))
            continue
        pairs = overlaps(contingency(ids, made, valid=valid))
        true, predicted = true + len(pairs.truth_ids), predicted + len(pairs.pred_ids)
        found = {t: n + len(match(pairs, t).iou) for t, n in found.items()}
    f1 = {f"f1_{round(100 * t)}": 2 * n / max(1, true + predicted) for t, n in found.items()}
    kept = {**f1, "iou": both / max(1, either)}
    score = 1 - float(np.mean(list(kept.values())))
    return {"score": round(score, 5), **{k: round(v, 5) for k, v in kept.items()}, "objects": true}


def _offsets(config: Config) -> Offsets:
    return NEAREST if config.organelles.affinities else ()


TASK = Task(
    name="mitochondria",
    kind="prediction",
    group="instances",
    truth=masks_of,
    channels=channels,
    targets=targets,
    loss=loss,
    check=check,
    calibrate=calibrate,
    decode=decode,
    blocks=blocks,
    headline=("f1_50", "f1_75", "iou"),
    pooled=True,
)
