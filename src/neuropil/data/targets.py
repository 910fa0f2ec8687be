"""From augmented labels to what the network is taught: affinities and the mask of edges with a known truth.

What any task teaches is a `Targets`; that of neurons is here, that of organelles in `neuropil.data.organelles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuropil.affinities import Offsets, affinities_from_labels
from neuropil.config import DataConfig
from neuropil.data.augment.base import NO_HALO, Halo, compiled, sectioned
from neuropil.data.descriptors import Descriptors
from neuropil.geometry import Float3, Int3
from neuropil.volume import IGNORED_IDS

#: From here on up, uint64 values say "background" or "ignore".
_IGNORED_FROM = np.uint64(min(IGNORED_IDS))


class Targets(Protocol):
    """What a network is taught of a crop, made of its labels after all changes of place.

    Attributes
    ----------
    context
        Voxels of labels that it needs before and after the crop, for z, y, x.
    """

    @property
    def context(self) -> Halo:
        """See the class."""

    def __call__(
        self, labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_]
    ) -> dict[str, npt.NDArray[Any]]:
        """Arrays (C, Z, Y, X) of the crop alone, by name, from labels and validity of the crop with its context."""


def known_labels(labels_ZYX: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Split stored labels into compact ids and a mask of what was annotated.

    uint64 ignore values (2**64-1 and 2**64-2) and negative values become id 0 and are not valid; ids above 32 bits are
    renumbered, which keeps what affinities need: which voxels are the same.
    """
    kind = labels_ZYX.dtype.kind
    if kind == "i":
        valid = labels_ZYX >= 0
    elif labels_ZYX.dtype == np.uint64:
        valid = labels_ZYX < _IGNORED_FROM
    else:
        return labels_ZYX.astype(np.uint32), np.ones(labels_ZYX.shape, np.bool_)
    ids = np.where(valid, labels_ZYX, 0)
    if ids.size and ids.max() > np.iinfo(np.uint32).max:
        import fastremap  # only labels of whole brains need it

        ids, _ = fastremap.renumber(ids, preserve_zero=True)
    return ids.astype(np.uint32), valid


def context_for(offsets: Offsets, widen: Int3) -> Halo:
    """Voxels of labels needed around a crop so that every edge that begins in it has both its ends."""
    sides = []
    for axis in range(3):
        steps = [o[axis] for o in offsets]
        sides.append((max(0, -min(steps, default=0)) + widen[axis], max(0, max(steps, default=0)) + widen[axis]))
    return sides[0], sides[1], sides[2]


@dataclass(frozen=True)
class AffinityTargets:
    """Teaches affinities: "affinities" and "valid", both uint8; with descriptors "descriptors" and "described" too.

    Parameters
    ----------
    offsets
        Voxel step of each channel.
    widen
        Steps z, y, x by which object borders grow before.
    context
        See `Targets`.
    descriptors
        What else is made of the crop's labels, without context.
    """

    offsets: Offsets
    widen: Int3
    context: Halo
    descriptors: Descriptors | None = None

    @classmethod
    def of(
        cls, offsets: Offsets, config: DataConfig, voxel_size: Float3, descriptors: Descriptors | None = None
    ) -> AffinityTargets:
        """As the settings say, at a voxel size (nm)."""
        widen = border_steps(config, voxel_size)
        context = context_for(offsets, widen) if config.label_context else NO_HALO
        return cls(offsets, widen, context, descriptors)

    def __call__(
        self, labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_]
    ) -> dict[str, npt.NDArray[Any]]:
        """See `Targets`."""
        labels_ZYX = widened(labels_ZYX, valid_ZYX, self.widen)
        affinities, known = affinity_targets(labels_ZYX, valid_ZYX, self.offsets, self.context)
        made: dict[str, npt.NDArray[Any]] = {"affinities": affinities, "valid": known.view(np.uint8)}
        if self.descriptors is not None:
            crop = tuple(slice(a, n - b) for n, (a, b) in zip(labels_ZYX.shape, self.context, strict=True))
            made["descriptors"], made["described"] = self.descriptors(labels_ZYX[crop], valid_ZYX[crop])
        return made


def border_steps(config: DataConfig, voxel_size: Float3) -> Int3:
    """Steps z, y, x by which borders are widened: none between sections that are images of their own."""
    steps = config.widen_border
    return (0 if sectioned(voxel_size) else steps, steps, steps)


def affinity_targets(
    labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_], offsets: Offsets, context: Halo
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Affinities of the crop inside its context, and which of them are known.

    Parameters
    ----------
    labels_ZYX, valid_ZYX
        The crop with `context` voxels around it.
    offsets
        Voxel steps z, y, x.

    Returns
    -------
    affinities, valid
        (C, Z, Y, X) of the crop alone. An edge is valid where both its ends are annotated and were read.
    """
    core = [(a, n - b) for n, (a, b) in zip(labels_ZYX.shape, context, strict=True)]
    shape = (len(offsets), *(b - a for a, b in core))
    affinities, known = np.empty(shape, np.uint8), np.empty(shape, np.bool_)
    all_valid = bool(valid_ZYX.all())
    for c, offset in enumerate(offsets):
        # channel by channel, and no more of the context than its edges reach: this stays in the processor's cache
        begins = [max(0, a + min(0, o)) for (a, _), o in zip(core, offset, strict=True)]
        part = tuple(slice(s, b + max(0, o)) for s, (_, b), o in zip(begins, core, offset, strict=True))
        inner = tuple(slice(a - s, b - s) for s, (a, b) in zip(begins, core, strict=True))
        same, ends_read = affinities_from_labels(labels_ZYX[part], (offset,))
        if not all_valid:
            # an edge of a mask with itself is 1 exactly where both ends are inside the mask
            ends_read = affinities_from_labels(valid_ZYX[part].view(np.uint8), (offset,))[0].view(np.bool_)
        affinities[c], known[c] = same[0][inner], ends_read[0][inner]
    return affinities, known


def widened(
    labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_], steps: Int3
) -> npt.NDArray[np.uint32]:
    """Grow background at object borders by some voxels, so that thin membranes become a class of their own.

    A voxel becomes 0 if a 6-neighbour (along the axes that still have steps) carries another label. Unannotated
    neighbours and the end of the array are no border. Steps differ by axis: 0 along z keeps sections apart.
    """
    labels = labels_ZYX
    for done in range(max(steps)):
        labels = _widened_once(labels, valid_ZYX, np.array([s > done for s in steps]))
    return labels


@compiled
def _widened_once(
    labels_ZYX: npt.NDArray[np.uint32], valid_ZYX: npt.NDArray[np.bool_], axes: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint32]:
    out = labels_ZYX.copy()
    depth, height, width = out.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                own = labels_ZYX[z, y, x]
                for axis in range(3):
                    if not axes[axis]:
                        continue
                    for sign in (-1, 1):
                        nz, ny, nx = z + sign * (axis == 0), y + sign * (axis == 1), x + sign * (axis == 2)
                        if not (0 <= nz < depth and 0 <= ny < height and 0 <= nx < width):
                            continue
                        if valid_ZYX[nz, ny, nx] and labels_ZYX[nz, ny, nx] != own:
                            out[z, y, x] = 0
    return out
