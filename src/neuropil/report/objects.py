"""Where objects in a background, or masks, differ from the truth: what was missed, is false, split or merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Int3
from neuropil.report.mistakes import FALSE, IGNORED, Match, Mistake, bounds, error_classes, meeting_place
from neuropil.report.scene import Labels

Indices = npt.NDArray[np.int64]
Unknown = npt.NDArray[np.bool_] | None


def classes_in_background(
    truth_ZYX: npt.NDArray[Any], pred_ZYX: npt.NDArray[Any], found: Match, unknown_ZYX: Unknown
) -> npt.NDArray[np.uint8]:
    """Class of every voxel where 0 in the truth is background; see `neuropil.report.mistakes.error_classes`.

    FALSE
        Predicted in the background.
    IGNORED
        Background in both, or the truth says nothing here.
    """
    classes = error_classes(truth_ZYX, pred_ZYX, found)
    classes[(truth_ZYX == 0) & (pred_ZYX > 0)] = FALSE
    if unknown_ZYX is not None:
        classes[unknown_ZYX] = IGNORED
    return classes


@dataclass(frozen=True)
class Wrong:
    """An object with a mistake: the kind, its index as in `Labels`, and how many of its voxels are wrong."""

    kind: str
    index: int
    voxels: int


@dataclass(frozen=True)
class Compared:
    """Objects of truth and segmentation, their voxels, and which of them were `missed` or are `false`.

    A true object is missed if less than half of it was predicted; a predicted one is false if less than half is true.
    Voxels that the truth says nothing about do not count.
    """

    truth: Labels
    pred: Labels
    found: Match
    unknown_ZYX: Unknown
    size_t: Indices
    size_p: Indices
    in_t: Indices
    in_p: Indices

    @classmethod
    def of(cls, truth: Labels, pred: Labels, found: Match, unknown_ZYX: Unknown) -> Compared:
        """Count the voxels of every object."""
        known = pred.index_ZYX if unknown_ZYX is None else pred.index_ZYX[~unknown_ZYX]
        size_t = np.bincount(truth.index_ZYX.ravel(), minlength=truth.count + 1)
        size_p = np.bincount(known.ravel(), minlength=pred.count + 1)
        in_t, in_p = _summed(found.t, found.n, truth.count), _summed(found.p, found.n, pred.count)
        return cls(truth, pred, found, unknown_ZYX, size_t, size_p, in_t, in_p)

    @property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Of each true object."""
        return np.asarray(2 * self.in_t < self.size_t)

    @property
    def false(self) -> npt.NDArray[np.bool_]:
        """Of each predicted object."""
        return np.asarray(2 * self.in_p < self.size_p)

    def wrong(self) -> list[Wrong]:
        """Every mistake, most wrong voxels first; an object may be there twice.

        ``"split"``: several predicted objects belong to a true one, and its voxels outside the largest are wrong.
        ``"merge"``: the same with truth and prediction exchanged. ``"missed"`` and ``"false"``: see the class.
        """
        ranked = [
            *_named("split", self._outside_largest("split")),
            *_named("merge", self._outside_largest("merge")),
            *_named("missed", np.where(self.missed, self.size_t - self.in_t, 0)),
            *_named("false", np.where(self.false, self.size_p - self.in_p, 0)),
        ]
        return sorted(ranked, key=lambda one: (-one.voxels, one.kind, one.index))

    def described(self, one: Wrong) -> Mistake:
        """The parts of a mistake, largest first, and a place in it."""
        of_truth, alone = one.kind in ("split", "missed"), one.kind in ("missed", "false")
        mine, other, kept = self._parts("split" if of_truth else "merge")
        if alone:
            kept = np.ones_like(kept)
        here = np.flatnonzero(kept & (mine == one.index))
        here = here[np.argsort(-self.found.n[here], kind="stable")]
        parts, sizes = other[here], self.found.n[here]
        whole_ZYX, part_ZYX = self.truth.index_ZYX, self.pred.index_ZYX
        if not of_truth:
            whole_ZYX, part_ZYX = part_ZYX, whole_ZYX
        if alone:
            place = self._alone(whole_ZYX, one.index, part_ZYX)
        else:
            place = meeting_place(whole_ZYX, one.index, part_ZYX, (int(parts[0]), int(parts[1])))
        size = int((self.size_t if of_truth else self.size_p)[one.index])
        return Mistake(one.kind, one.index, 0.0, parts, sizes, place, one.voxels, size)

    def _parts(self, kind: str) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
        """Both sides of every overlap, the whole first, and whether the second belongs to it.

        It does if it is the main partner, or if it lies nowhere more than here and mostly on objects.
        """
        found = self.found
        if kind == "split":
            mine, other, main, back, dull = found.t, found.p, found.main_pred, found.main_truth, self.false
        else:
            mine, other, main, back, dull = found.p, found.t, found.main_truth, found.main_pred, self.missed
        return mine, other, (main[mine] == other) | ((back[other] == mine) & ~dull[other])

    def _outside_largest(self, kind: str) -> Indices:
        """Of every object, its voxels in parts other than the largest."""
        mine, _, kept = self._parts(kind)
        count = (self.truth if kind == "split" else self.pred).count
        largest = np.zeros(count + 1, np.int64)
        np.maximum.at(largest, mine[kept], self.found.n[kept])
        return _summed(mine[kept], self.found.n[kept], count) - largest

    def _alone(self, whole_ZYX: npt.NDArray[np.int32], index: int, part_ZYX: npt.NDArray[np.int32]) -> Int3:
        """The voxel of an object nearest to the middle of what has no partner."""
        corner, window = bounds(whole_ZYX == index)
        alone = (whole_ZYX[window] == index) & (part_ZYX[window] == 0)
        if self.unknown_ZYX is not None:
            alone &= ~self.unknown_ZYX[window]
        points = np.argwhere(alone)
        middle = points[np.argmin(((points - np.median(points, axis=0)) ** 2).sum(axis=1))]
        z, y, x = (int(m + c) for m, c in zip(middle, corner, strict=True))
        return z, y, x


def counted(wrong: Sequence[Wrong], names: Mapping[str, str]) -> str:
    """How many mistakes there are of each kind: ``"3 missed, 1 split"``."""
    counts = Counter(one.kind for one in wrong)
    return ", ".join(f"{counts[kind]} {name}" for kind, name in names.items() if counts[kind])


def _summed(index: Indices, n: Indices, count: int) -> Indices:
    return np.bincount(index, weights=n, minlength=count + 1).astype(np.int64)


def _named(kind: str, voxels: Indices) -> list[Wrong]:
    return [Wrong(kind, int(index), int(voxels[index])) for index in np.flatnonzero(voxels[1:] > 0) + 1]
