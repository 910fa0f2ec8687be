"""Scores of a segmentation from its contingency table: VOI, Rand, CREMI score, and the objects to blame.

With c_ij voxels of truth object i and predicted object j, a_i and b_j their sums, n all voxels, logarithms base 2:

- VOI split = H(pred | truth) = -Σ c_ij/n · log(c_ij/a_i), objects fallen apart.
- VOI merge = H(truth | pred) = -Σ c_ij/n · log(c_ij/b_j), objects run together.
- ARAND = 1 - 2 Σc² / (Σa² + Σb²) = 1 - F-score of precision Σc²/Σb² and recall Σc²/Σa².
- CREMI score = sqrt(VOI · ARAND).

Published numbers differ in what they leave out, so every function takes the convention by name:

========== ======================= ============================ ==============================================
name       truth 0                 predicted 0                  squares
========== ======================= ============================ ==============================================
neuropil   ignored                 one object                   voxel pairs, as in the formulas above
assigned   ignored                 ignored                      the same; how pure is what was segmented?
snemi      ignored                 each voxel its own object    the same (the challenge defines only ARAND)
cremi      an object               VOI: one object; ARAND: as   the same; singletons enter as Σ c_i0 / n, i.e. they
                                   singletons, nearly weightless  only lower recall (as cremi_python computes it)
skimage    VOI: an object; ARAND:  one object                   ARAND without self pairs, Σ(n² - n)
           ignored
========== ======================= ============================ ==============================================

In all but `skimage`, 2⁶⁴-1 and 2⁶⁴-2 (background and ignore of CREMI files) are ignored in the truth, and in all but
`skimage` and `cremi` they mean 0 in the prediction.

Meilă, J. Multivar. Anal. 98 (2007); Arganda-Carreras et al., Front. Neuroanat. 9:142 (2015); CREMI, cremi.org (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuropil.errors import ConfigError, InputError
from neuropil.metrics.overlap import BACKGROUND_IDS, Contingency, Counts, Ids, weighted_bincount

#: every key that this module returns and whether more is better; counts have no direction and are not listed.
HIGHER_IS_BETTER = {
    "voi_split": False,
    "voi_merge": False,
    "voi_sum": False,
    "arand": False,
    "cremi_score": False,
    "rand_precision": True,
    "rand_recall": True,
    "rand_index": True,
}


@dataclass(frozen=True)
class Convention:
    """What a score leaves out, and how it treats voxels without a predicted object; see the table of the module."""

    name: str
    voi_ignores: tuple[int, ...]
    rand_ignores: tuple[int, ...]
    unassigned: tuple[int, ...]
    voi_unassigned: Literal["object", "ignored", "singletons"]
    rand_unassigned: Literal["object", "ignored", "singletons", "cremi"]
    self_pairs: bool


_ALL, _CREMI = BACKGROUND_IDS, BACKGROUND_IDS[1:]

CONVENTIONS = {
    c.name: c
    for c in (
        Convention("neuropil", _ALL, _ALL, _ALL, "object", "object", self_pairs=True),
        Convention("assigned", _ALL, _ALL, _ALL, "ignored", "ignored", self_pairs=True),
        Convention("snemi", _ALL, _ALL, _ALL, "singletons", "singletons", self_pairs=True),
        Convention("cremi", _CREMI, _CREMI, (0,), "object", "cremi", self_pairs=True),
        Convention("skimage", (), (0,), (0,), "object", "object", self_pairs=False),
    )
}


@dataclass(frozen=True)
class ObjectError:
    """One object's share of an error: `bits` of VOI, and the (id, voxels) of the partners it is spread over."""

    id: int
    voxels: int
    bits: float
    partners: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ObjectVOI:
    """VOI taken apart: the split of each truth object and the merge of each predicted one, in bits of the whole.

    `split_bits` sums to `voi_split`, `merge_bits` to `voi_merge`.
    """

    truth_ids: Ids
    truth_voxels: Counts
    split_bits: NDArray[np.float64]
    pred_ids: Ids
    pred_voxels: Counts
    merge_bits: NDArray[np.float64]
    table: Contingency

    def scores(self) -> dict[str, float]:
        """The sums over all objects."""
        split, merge = float(self.split_bits.sum()), float(self.merge_bits.sum())
        return {"voi_split": split, "voi_merge": merge, "voi_sum": split + merge}

    def worst_splits(self, count: int) -> list[ObjectError]:
        """The `count` truth objects that lose most by splits, worst first, with the predicted pieces, largest first."""
        ids, pieces = self.table.truth, self.table.pred
        return _worst(count, (self.truth_ids, self.truth_voxels, self.split_bits), ids, pieces, self.table.voxels)

    def worst_merges(self, count: int) -> list[ObjectError]:
        """The `count` predicted objects that lose most by merging, worst first, with the truth objects in them."""
        ids, pieces = self.table.pred, self.table.truth
        return _worst(count, (self.pred_ids, self.pred_voxels, self.merge_bits), ids, pieces, self.table.voxels)


def convention_named(name: str) -> Convention:
    """The convention of a name.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in CONVENTIONS:
        raise ConfigError(
            f"unknown scoring convention '{name}'",
            "one of " + ", ".join(CONVENTIONS),
            "leave --convention out for neuropil's own",
        )
    return CONVENTIONS[name]


def voi(table: Contingency, *, convention: str) -> dict[str, float]:
    """Variation of information in bits: `voi_split`, `voi_merge`, `voi_sum`.

    Raises
    ------
    InputError
        If no voxel is left after what the convention ignores.
    ConfigError
        If the convention is unknown.
    """
    return object_voi(table, convention=convention).scores()


def object_voi(table: Contingency, *, convention: str) -> ObjectVOI:
    """Which objects cause how much of the VOI; see `voi` for errors."""
    rules = convention_named(convention)
    table, unassigned = _considered(table, rules, rules.voi_ignores, rules.voi_unassigned)
    (truth_ids, a, row), (pred_ids, b, column) = table.truth_objects, table.pred_objects
    alone = np.isin(table.pred, np.array(unassigned, np.uint64))
    share = table.voxels / table.total
    # a voxel that is its own object is 1/a of its truth object, and all of its own
    split = share * np.log2(a[row] / np.where(alone, 1, table.voxels))
    merge = np.where(alone, 0.0, share * np.log2(b[column] / table.voxels))
    split_bits = weighted_bincount(row, split, len(truth_ids))
    merge_bits = weighted_bincount(column, merge, len(pred_ids))
    named = ~np.isin(pred_ids, np.array(unassigned, np.uint64))
    return ObjectVOI(truth_ids, a, split_bits, pred_ids[named], b[named], merge_bits[named], table)


def rand(table: Contingency, *, convention: str) -> dict[str, float]:
    """Pair counting: `arand` (adapted Rand error), `rand_precision`, `rand_recall`, `rand_index`; errors as for `voi`.

    Precision is the share of voxel pairs in one predicted object that belong together, low when objects are merged;
    recall is the share of pairs of one truth object that were kept together, low when objects are split.
    """
    rules = convention_named(convention)
    seen = table.total + table.excluded
    table, unassigned = _considered(table, rules, rules.rand_ignores, rules.rand_unassigned)
    alone = np.isin(table.pred, np.array(unassigned, np.uint64))
    pred_ids, b, _ = table.pred_objects
    b = b[~np.isin(pred_ids, np.array(unassigned, np.uint64))]
    n, singles = float(table.total), float(table.voxels[alone].sum())
    if rules.rand_unassigned == "cremi":
        singles /= seen
    both = _squares(table.voxels[~alone]) + singles
    in_truth, in_pred = _squares(table.truth_objects[1]), _squares(b) + singles
    pairs = n * n
    if not rules.self_pairs:
        both, in_truth, in_pred, pairs = both - n, in_truth - n, in_pred - n, pairs - n
    return {
        # rounding in the sums of huge volumes must not carry a perfect score past its end
        "arand": max(0.0, 1.0 - 2.0 * both / (in_truth + in_pred)) if in_truth + in_pred > 0 else 0.0,
        "rand_precision": both / in_pred if in_pred > 0 else 1.0,
        "rand_recall": both / in_truth if in_truth > 0 else 1.0,
        "rand_index": min(1.0, 1.0 - (in_truth + in_pred - 2.0 * both) / pairs) if pairs > 0 else 1.0,
    }


def scores(table: Contingency, *, convention: str) -> dict[str, float | int]:
    """All scores of a table: those of `voi` and `rand`, `cremi_score`, and counts; errors as for `voi`.

    `num_truth` and `num_pred` are the objects that were compared, background never among them; `voxels_compared` and
    `voxels_ignored` say how much of the volume the VOI speaks for, `unassigned` which share of that has no prediction.
    """
    by_object = object_voi(table, convention=convention)
    result: dict[str, float | int] = {**by_object.scores(), **rand(table, convention=convention)}
    result["cremi_score"] = math.sqrt(result["voi_sum"] * result["arand"])
    compared = by_object.table
    background = np.array(BACKGROUND_IDS, np.uint64)
    pred_ids, pred_voxels, _ = compared.pred_objects
    result["num_truth"] = int((~np.isin(by_object.truth_ids, background)).sum())
    result["num_pred"] = int((~np.isin(pred_ids, background)).sum())
    result["voxels_compared"] = compared.total
    result["voxels_ignored"] = compared.excluded
    result["unassigned"] = float(pred_voxels[pred_ids == 0].sum() / compared.total)
    return result


def _considered(
    table: Contingency, rules: Convention, ignored_truth: tuple[int, ...], unassigned: str
) -> tuple[Contingency, tuple[int, ...]]:
    """The table that a convention looks at, and the predicted ids whose voxels stand alone in it."""
    if len(rules.unassigned) > 1:
        table = table.relabelled(pred=rules.unassigned, to=0)
    table = table.without(truth=ignored_truth, pred=(0,) if unassigned == "ignored" else ())
    if table.total == 0:
        raise InputError(
            f"no voxel left to compare ({table.excluded} ignored)",
            f"truth with labelled objects (convention '{rules.name}')",
            "check that the truth holds labels, and that --ignore-border-nm is smaller than the objects",
        )
    return table, (0,) if unassigned in {"singletons", "cremi"} else ()


def _squares(counts: Counts) -> float:
    # in floating point: the square of a volume's voxel count does not fit int64
    return float(np.square(counts.astype(np.float64)).sum())


def _worst(
    count: int, objects: tuple[Ids, Counts, NDArray[np.float64]], owner: Ids, partner: Ids, voxels: Counts
) -> list[ObjectError]:
    ids, sizes, bits = objects
    rank = [i for i in np.argsort(-bits, kind="stable") if bits[i] > 0 and int(ids[i]) not in BACKGROUND_IDS]
    worst = []
    for i in rank[:count]:
        mine = np.flatnonzero(owner == ids[i])
        mine = mine[np.argsort(-voxels[mine], kind="stable")]
        partners = tuple((int(partner[k]), int(voxels[k])) for k in mine)
        worst.append(ObjectError(int(ids[i]), int(sizes[i]), float(bits[i]), partners))
    return worst
