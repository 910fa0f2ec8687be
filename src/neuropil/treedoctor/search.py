"""The search for the placing that was meant, by what a stated one gets wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from neuropil.io.swc import UNITS, placement
from neuropil.treedoctor.image import Placing, TreeOnImage
from neuropil.treedoctor.shifts import located
from neuropil.volume import Volume

#: Means of 2 rank - 1 over the nodes at each placing, and how far chance could take them from 0.
Witnesses = dict[Placing, tuple[float, float]]

#: A better score must be better by this much.
_CLEARLY = 0.1
#: A tree whose score is below does not lie there. Of the BigNeuron projections, the 71 aligned trees score 0.79 or
#: more where they belong, and the six others below 0.1 as they are (bench/tree_doctor.py).
_FITS = 0.5
#: Voxels around a placing in which near shifts are sought.
_NEAR = 2
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
        return f"{self.best}: --out FILE.swc writes the tree so"


def best_placing(case: TreeOnImage, unit: str | None) -> Fit:
    """The simplest placing of a tree that is not clearly worse than another one.

    Parameters
    ----------
    unit
        The unit that is stated; without one, each may be right.
    """
    units = _different_units(case.image, unit)
    plain = [Placing(u) for u in ([unit] if unit else units)]
    turns = [Placing(u, *turn) for u in units for turn in _turns(flat=case.image.box.shape[0] == 1)]
    seen = {p: case.witness(p) for p in turns}
    fit = _moved(case, plain, turns, seen, stated=unit is not None)
    if fit is None:
        sides = {sign: _turned(case, sign, plain, seen, stated=unit is not None) for sign in (1.0, -1.0)}
        case.sign = max(sides, key=lambda sign: sides[sign].score_best)
        fit = sides[case.sign]
    best = _nudged(case, fit.best) if fit.fits else fit.best
    return replace(fit, best=best, score_best=case.score(best))


def _moved(
    case: TreeOnImage, plain: list[Placing], turns: list[Placing], seen: Witnesses, *, stated: bool
) -> Fit | None:
    """What one correlation over all shifts says beyond doubt, with one other mistake at most; sets the case's sign."""
    as_is = max(plain, key=lambda p: abs(seen[p][0]) - seen[p][1])
    # a shift beside more than one other mistake would be sought among too many to be believed
    once = [p for p in turns if p not in plain and _changes(as_is, p) == 1]
    best = located(case, [as_is, *(p for p in plain if p != as_is), *once])
    if best is None:
        return None
    unmoved = replace(best, shift=(0, 0, 0))
    if max(map(abs, best.shift)) <= _NEAR and case.score(unmoved) >= _FITS:
        best = unmoved  # whether it was moved by a voxel or two grey values tell better
    if case.score(best) < _FITS or not case.stands_out(best):
        return None
    as_is = as_is if stated else replace(as_is, unit=best.unit)
    return Fit(as_is, case.score(as_is), best, case.score(best), stated, 0)


def _turned(case: TreeOnImage, sign: float, plain: list[Placing], seen: Witnesses, *, stated: bool) -> Fit:
    """The simplest placing without a shift, for neurites that are bright (1) or dark (-1)."""
    case.sign = sign
    scores = {p: sign * mean - chance for p, (mean, chance) in seen.items()}
    as_is = max(plain, key=lambda p: scores[p])
    believed = {p: s for p, s in scores.items() if (stated and p == as_is) or (s >= _FITS and case.stands_out(p))}
    best = _simplest(believed, as_is) if believed else as_is
    rivals = sum(s >= max(_FITS, scores[best] - _CLEARLY) for p, s in scores.items() if p != best)
    return Fit(as_is, scores[as_is], best, scores[best], stated, rivals)


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
