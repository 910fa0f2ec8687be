"""The search for the placing that was meant, by what a stated one gets wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from neuropil.io.swc import UNITS, placement
from neuropil.treedoctor.image import Ints, Placing, TreeOnImage
from neuropil.volume import Volume

#: A better score must be better by this much, and one that shifts a tree far away by more.
_CLEARLY, _FAR = 0.1, 0.2
#: A tree whose score is below does not lie there. Of the BigNeuron projections, the 71 aligned trees score 0.79 or
#: more where they belong, and the six others below 0.1 as they are (bench/tree_doctor.py).
_FITS = 0.5
#: Longest axis of the reduced image in which far shifts are sought; voxels around in which near ones are.
_REDUCED, _NEAR = 48, 2
#: A near shift must raise the mean grey value at the nodes by this share of their contrast, and by so many standard
#: errors of the mean difference.
_GAIN, _ERRORS = 0.05, 4.0


@dataclass(frozen=True)
class Fit:
    """The placing that was stated, the best one, their scores, and what follows.

    `rivals` are the other placings that fit about as well: of a bushy tree that fills its image, the image can tell
    little.
    """

    as_is: Placing
    score_as_is: float
    best: Placing
    score_best: float
    stated: bool
    rivals: int

    @property
    def fits(self) -> bool:
        """Whether there is a placing at which the tree lies on the image."""
        return self.score_best >= _FITS

    @property
    def verdict(self) -> str:
        """What a reader is told."""
        if not self.fits:
            return "the tree lies nowhere on this image"
        if self.best == self.as_is:
            unit = "" if self.stated else f" if its unit is {self.best.unit}"
            others = f", and so it would in {self.rivals} other ways: look at it" if self.rivals else ""
            return f"the tree lies on the image{unit}{others}"
        if replace(self.best, shift=(0, 0, 0)) == self.as_is and max(map(abs, self.best.shift)) <= _NEAR:
            return "the tree lies beside the neurites of the image by a voxel or so"
        return "the tree does not lie on the image as it is, but does with the fix"

    @property
    def fix(self) -> str:
        """What to do."""
        if not self.fits:
            return "check that tree and image are of one neuron, and the voxel size"
        if self.best == self.as_is and self.stated:
            return "none needed"
        return f"{self.best}: written by --out fixed.swc"


def best_placing(case: TreeOnImage, unit: str | None) -> Fit:
    """The simplest placing of a tree that is not clearly worse than another one.

    Parameters
    ----------
    unit
        The unit that is stated; without one, each may be right.
    """
    flat = case.image.box.shape[0] == 1
    units = _different_units(case.image, unit)
    plain = [Placing(u) for u in ([unit] if unit else units)]
    turns = [Placing(u, *turn) for u in units for turn in _turns(flat=flat)]
    found: dict[float, Fit] = {}
    seen = {p: case.witness(p) for p in turns}
    for case.sign in (1.0, -1.0):
        scores = {p: case.sign * mean - chance for p, (mean, chance) in seen.items()}
        as_is = max(plain, key=lambda p: scores[p])
        believed = {p: s for p, s in scores.items() if (unit and p == as_is) or (s >= _FITS and case.stands_out(p))}
        best = _simplest(believed, as_is) if believed else as_is
        rivals = sum(s >= max(_FITS, scores[best] - _CLEARLY) for p, s in scores.items() if p != best)
        found[case.sign] = Fit(as_is, scores[as_is], best, scores[best], unit is not None, rivals)
    case.sign = max(found, key=lambda side: found[side].score_best)
    fit = found[case.sign]
    if not fit.fits:
        # a far shift beside more than one other mistake would be sought among too many to be believed
        far = _far(case, fit.as_is, [p for p in turns if _changes(fit.as_is, p) <= 1])
        if far is None or case.score(far) < max(_FITS, fit.score_as_is + _FAR) or not case.stands_out(far):
            return fit
        fit = replace(fit, best=far)
    best = _nudged(case, fit.best)
    return replace(fit, best=best, score_best=case.score(best))


def _different_units(image: Volume, unit: str | None) -> list[str]:
    """The units, the stated one first, without those that are as large as one before."""
    scales: dict[tuple[float, ...], str] = {}
    for name in sorted(UNITS, key=lambda u: u != unit):
        scale = placement(name, image.voxel_size, None, image.name)[0]
        scales.setdefault(tuple(np.round(scale, 6)), name)
    return list(scales.values())


def _turns(*, flat: bool) -> Iterator[tuple[tuple[int, int, int], tuple[bool, bool, bool]]]:
    """Orders of axes and mirrorings, simple ones first; those along z of a projection cannot be told apart."""
    sides = itertools.product([False] if flat else [False, True], [False, True], [False, True])
    for z, y, x in sorted(sides, key=sum):
        for i, j, k in itertools.permutations(range(3)):
            yield (i, j, k), (z, y, x)


def _changes(how: Placing, to: Placing) -> int:
    """How many things are different."""
    return (
        int(how.unit != to.unit)
        + int(how.order != to.order)
        + sum(a != b for a, b in zip(how.mirrored, to.mirrored, strict=True))
    )


def _simplest(scores: dict[Placing, float], as_is: Placing) -> Placing:
    """The placing with the fewest changes of those that none beats clearly."""
    enough = max(scores.values()) - _CLEARLY
    return min((p for p in scores if scores[p] >= enough), key=lambda p: (_changes(as_is, p), -scores[p]))


def _nudged(case: TreeOnImage, how: Placing) -> Placing:
    """The same, moved by a voxel or two if the grey values at the nodes are clearly more telling there."""
    at = case.voxels(how)
    flat = case.image.box.shape[0] == 1
    around = range(-_NEAR, _NEAR + 1)
    middle = float(np.median(case.background))
    here = (case.grey(at)[0] - middle) * case.sign
    most = max(float(np.quantile(here, 0.95)), 1e-12)
    told = np.clip(here / most, 0, 1)
    best, gain = how, 0.0
    for step in itertools.product([0] if flat else around, around, around):
        grey, inside = case.grey(at + np.array(step))
        more = np.where(inside, np.clip((grey - middle) * case.sign / most, 0, 1), 0) - told
        mean, error = float(more.mean()), float(more.std()) / math.sqrt(max(1, len(more)))
        if mean > max(gain, _GAIN * float(told.mean())) and mean > _ERRORS * error:
            z, y, x = (a + b for a, b in zip(how.shift, step, strict=True))
            best, gain = replace(how, shift=(z, y, x)), mean
    return best


def _far(case: TreeOnImage, as_is: Placing, turns: list[Placing]) -> Placing | None:
    """The placing with the best shift of any length, sought in a reduced image by correlation."""
    if case.held is None:
        return None
    from scipy import fft, ndimage

    box = case.image.box
    factor = np.maximum(1, -(-np.array(box.shape) // _REDUCED))
    every = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)), indexing="ij"), -1
    )
    ranks = case.ranks(every.reshape(-1, 3)).reshape(box.shape) * case.sign
    small = np.asarray(ndimage.maximum_filter(ranks, size=tuple(factor)))[tuple(slice(f // 2, None, f) for f in factor)]
    small = small - small.mean()
    padded = tuple(2 * n for n in small.shape)
    image_f = fft.rfftn(small.astype(np.float32), padded)
    best, score = None, -math.inf
    for how in sorted(turns, key=lambda p: _changes(as_is, p)):
        cells = (case.voxels(how) - box.start) // factor
        low = cells.min(axis=0)
        cells = cells - low
        if (cells >= np.array(padded) // 2).any():
            continue
        tree = np.zeros(padded, np.float32)
        tree[tuple(cells.T)] = 1
        found = fft.irfftn(image_f * np.conj(fft.rfftn(tree)), padded) / max(1.0, tree.sum())
        top = np.array(np.unravel_index(int(found.argmax()), padded))
        value = float(found.max()) - _CLEARLY * _changes(as_is, how)
        if value > score:
            moved = np.where(top >= np.array(padded) // 2, top - padded, top) - low
            score, best = value, replace(how, shift=tuple(int(v) for v in moved * factor))  # type: ignore[arg-type]
    return None if best is None else _sought(case, best, factor)


def _sought(case: TreeOnImage, how: Placing, factor: Ints) -> Placing:
    """The best shift within a cell of the reduced image, axis by axis."""
    for axis in (0, 1, 2, 0, 1, 2):
        tries = []
        for step in range(-int(factor[axis]), int(factor[axis]) + 1):
            shift = list(how.shift)
            shift[axis] += step
            tries.append(replace(how, shift=(shift[0], shift[1], shift[2])))
        how = max(tries, key=case.score)
    return how
