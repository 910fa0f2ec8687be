"""`Task`: everything that the road from labels to labels has to know of what is learned.

A task says what its truth is, what is taught of a crop, how wrong an answer is, how a stored answer becomes labels, and
which decoding and which weights are best. Sampling, augmentation, training, resuming, tiled prediction and storage are
the same for all tasks. What every task has in common: a channel is stored as round(255·sigmoid(logit)).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets
from neuropil.geometry import Float3, Int3
from neuropil.registry import TASKS
from neuropil.volume import IGNORED_IDS, Volume, VolumeLike, as_volume, require_kind

if TYPE_CHECKING:
    from torch import Tensor

    from neuropil.config import Config
    from neuropil.data.targets import Targets
    from neuropil.post.decoders import Decoder


#: Where a decoding comes from ("decoding" among what `Task.calibrate` and `Task.from_few` find), as cards say it.
OF_HELD_BACK = "calibrated on what was held back"
OF_ALL_LABELLED = "calibrated on all labelled voxels"
OF_FIRST_WEIGHTS = "kept from the first weights"
OF_SETTINGS = "as it was set"
#: Of runs that were made before this was kept.
OF_OLD = "calibrated in training"

_ONE_OBJECT = (
    "'{}' holds one id, as masks do, and all of it counts as one object; --set organelles.components=true makes one "
    "of every connected piece"
)
#: Voxels up to which labels are looked at for that.
_LOOKED_AT = 2**28


class Channel(NamedTuple):
    """One output of a network; `step` is zero (voxels z, y, x) where it speaks of the voxel itself, not of an edge.

    `prior` is what a network without weights answers, 0 to 1. Where nearly all voxels are background, one half would
    teach features to say "background" first, and leave none that are awake inside of things.
    """

    name: str
    step: Int3 = (0, 0, 0)
    prior: float = 0.5


class Predicted(NamedTuple):
    """A held-back slab: stored prediction (C, Z, Y, X) uint8, and true labels (Z, Y, X) as they are stored."""

    stored_CZYX: npt.NDArray[np.uint8]
    labels_ZYX: npt.NDArray[Any]


@dataclass(frozen=True)
class Labelled:
    """What there is to calibrate on where the slabs alone are too small.

    Parameters
    ----------
    slabs
        What was held back.
    everything
        Predicts all labelled voxels when it is called: the slabs and what was learned from, or so much of that about
        its middle that it has at most `most` voxels.
    first
        What the first weights bring: their run's calibration, and "rests_on", how many things it was calibrated on.
        Empty unless the whole network began with those of a run whose decoding means the same here.
    """

    slabs: Sequence[Predicted]
    everything: Callable[..., Sequence[Predicted]]
    first: Mapping[str, Any] = field(default_factory=dict)


class Hint(NamedTuple):
    """Something that is only taught: its outputs come from the features of the last layer, and are not kept.

    Parameters
    ----------
    outputs
        How many.
    loss
        (logits (B, outputs, Z, Y, X), batch) → scalar, added to the task's own.
    """

    outputs: int
    loss: Callable[[Tensor, dict[str, Tensor]], Tensor]


def no_hint(config: Config, voxel_size: Float3) -> Hint | None:
    """Of a task that teaches nothing beside."""
    return None


def no_blocks(offsets: Offsets, voxel_size: Float3, config: Config) -> Decoder | None:
    """Of a task that is decoded as a whole only."""
    return None


@dataclass(frozen=True)
class Task:
    """One thing that can be learned.

    Parameters
    ----------
    name
        As in the TASKS table.
    kind
        Of stored predictions: "affinities" (with their offsets), or "prediction" (with the names of the channels).
    group
        The settings of its decoding, where calibrated values go: "segment" or "instances".
    truth
        ``(what --labels gave, its image, voxel size or None, settings) -> Volume`` of labels on the image's grid. A
        truth that is no volume (trees) becomes one whose array is drawn when a box is read.
    channels
        Settings, resolved for a voxel size → outputs of the network.
    targets
        (resolved settings, voxel size) → what is taught of a crop.
    loss
        (logits (B, C, Z, Y, X), batch, settings) → scalar. The batch holds image, index, and what `targets` made.
    check
        (settings, voxel size) → nothing; raises what would otherwise stop the first validation.
    calibrate
        (slabs, voxel size, settings) → "score" (lower is better: it picks the weights that are kept), further scores,
        "calibration": values for the settings of `group`, "decoding": where these come from, and optionally "rests_on".
    decode
        (stored (C, Z, Y, X) uint8, steps of its channels, voxel size, settings) → labels (Z, Y, X) uint64 1 .. n.
    headline
        Keys of the scores that a model card shows.
    from_few
        (what `calibrate` found, what is labelled, voxel size, settings) → the same, or, where the slabs are too small
        to calibrate on, with a decoding from all labelled voxels or from the first weights. Optional.
    hint
        (settings, voxel size) → what is taught beside, to help with the task; nothing by default.
    blocks
        (steps of the channels, voxel size, settings) → the same decoding for volumes that are worked in blocks, or
        None, as by default, where a voxel's object is decided by the whole volume.
    pooled
        Whether `calibrate` counts over all slabs together: then some may be without objects, as long as one has any.
    """

    name: str
    kind: Literal["affinities", "prediction"]
    group: Literal["segment", "instances"]
    truth: Callable[[VolumeLike, Volume, Float3 | None, Config], Volume]
    channels: Callable[[Config], tuple[Channel, ...]]
    targets: Callable[[Config, Float3], Targets]
    loss: Callable[[Tensor, dict[str, Tensor], Config], Tensor]
    check: Callable[[Config, Float3], None]
    calibrate: Callable[[Sequence[Predicted], Float3, Config], dict[str, Any]]
    decode: Callable[[npt.NDArray[Any], Offsets, Float3, Config], npt.NDArray[np.uint64]]
    headline: tuple[str, ...]
    from_few: Callable[[dict[str, Any], Labelled, Float3, Config], dict[str, Any]] | None = None
    hint: Callable[[Config, Float3], Hint | None] = no_hint
    blocks: Callable[[Offsets, Float3, Config], Decoder | None] = no_blocks
    pooled: bool = False


def task_named(name: str) -> Task:
    """The task of a name, or of a "package.module:TASK".

    Raises
    ------
    ConfigError
        If there is none.
    """
    found: Task = TASKS.resolve(name)
    return found


def labels_of(given: VolumeLike, image: Volume, voxel_size: Float3 | None, config: Config) -> Volume:
    """A truth that is a label volume."""
    return require_kind(as_volume(given, voxel_size=voxel_size), "labels")


def _is_one_object(labels: Volume) -> bool:
    """Whether labels of few bits, as masks have, hold one id."""
    if labels.dtype.itemsize > 1 or labels.box.size > _LOOKED_AT:
        return False
    values = np.unique(labels.numpy())
    return int((values > 0).sum()) == 1


def masks_of(given: VolumeLike, image: Volume, voxel_size: Float3 | None, config: Config) -> Volume:
    """A truth of labels or a mask; connected pieces get ids of their own where `organelles.components` says so.

    Pieces are found in memory, in the whole volume, before anything is held back.
    """
    volume = as_volume(given, voxel_size=voxel_size)
    stated_mask = volume.kind_stated and volume.kind == "mask"
    labels = volume.with_kind("labels") if stated_mask else require_kind(volume, "labels")
    if not config.organelles.components or labels.axes != "zyx":
        if config.task == "mitochondria" and _is_one_object(labels):
            print(f"note: {_ONE_OBJECT.format(labels.name)}", file=sys.stderr)
        return labels
    import cc3d

    from neuropil.data.targets import known_labels

    ids, valid = known_labels(labels.numpy())
    pieces = cc3d.connected_components(ids, connectivity=26).astype(np.uint64)
    pieces[~valid] = IGNORED_IDS[1]
    return Volume(pieces, labels.voxel_size, labels.offset, "zyx", "labels", attrs=labels.attrs, name=labels.name)
