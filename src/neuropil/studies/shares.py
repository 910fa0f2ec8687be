"""What label budgets come to. No labelled part is smaller than a least, and few volumes cannot be shared out finely.

A budget may so become another one than was asked. Two that become the same are refused, and one that moves is told by
its true share.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from neuropil.errors import ConfigError
from neuropil.geometry import Box, Int3
from neuropil.studies.design import Design, labelled_few, labelled_part

#: A share this near to what was asked is called by what was asked: sides are whole voxels, so few are met exactly.
NEAR = 0.05


def check_budgets(design: Design, boxes: Sequence[Box], least: Int3) -> list[str]:
    """Find what the budgets come to, before anything is trained.

    Parameters
    ----------
    boxes
        Of the labels of the volumes to train on.
    least
        As of `labelled_part`.

    Returns
    -------
    list of str
        A note for each budget that does not come to what was asked.

    Raises
    ------
    ConfigError
        If two budgets label the same.
    """
    by_volume = design.budget_of == "volumes"
    whole = len(boxes) if by_volume else sum(box.size for box in boxes)
    unit = "volumes" if by_volume else "voxels"
    sides = " × ".join(map(str, least))
    why = "volumes are labelled whole, at least one" if by_volume else f"a part has at least {sides} voxels"
    same: dict[int, list[float]] = {}
    for budget in design.budgets:
        same.setdefault(_amount(design, boxes, budget, least), []).append(budget)
    clashes = [
        f"budgets {' and '.join(map(percent, budgets))} come to the same {amount:,} of {whole:,} {unit}, "
        f"{percent(amount / whole)} of the labels"
        for amount, budgets in same.items()
        if len(budgets) > 1
    ]
    if clashes:
        raise ConfigError(
            f"study '{design.name}': " + "; ".join(clashes),
            f"budgets that label different parts; {why}",
            f"keep one of them under 'budgets', or give {'more' if by_volume else 'larger'} volumes under 'train'; "
            "for a folder that was begun with another of them choose another --out",
        )
    return [
        f"{percent(budget)} of the labels comes to {amount:,} of {whole:,} {unit}, {percent(amount / whole)}: {why}"
        for amount, (budget,) in same.items()
        if not _near(amount / whole, budget)
    ]


def _amount(design: Design, boxes: Sequence[Box], budget: float, least: Int3) -> int:
    """Voxels, or volumes, that a budget labels; their place depends on the seed, their number does not."""
    if design.budget_of == "volumes":
        return len(labelled_few(len(boxes), budget, 0))
    return sum(labelled_part(box, budget, 0, least).size for box in boxes)


def shown_shares(design: Design, rows: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    """Budget → share to show: what was labelled, or what was asked where that is near or rows do not know better."""
    found = {}
    for budget in design.budgets:
        true = _true_share(design, rows, budget)
        found[budget] = budget if true is None or _near(true, budget) else true
    return found


def _true_share(design: Design, rows: Sequence[Mapping[str, Any]], budget: float) -> float | None:
    if design.budget_of == "volumes":
        count = len(design.train)
        return len(labelled_few(count, budget, 0)) / count
    # rows of old do not say how much there is; those of the whole do
    full = next((row.get("labelled_voxels") for row in rows if row["budget"] == 1), None)
    known = [
        row["labelled_voxels"] / whole
        for row in rows
        if row["budget"] == budget and "labelled_voxels" in row and (whole := row.get("all_voxels", full))
    ]
    return statistics.median(known) if known else None


def _near(share: float, asked: float) -> bool:
    return math.isclose(share, asked, rel_tol=NEAR)


def percent(share: float) -> str:
    """A share in words.

    Examples
    --------
    >>> percent(0.05), percent(1.0), percent(0.421875)
    ('5%', '100%', '42.2%')
    """
    return f"{100 * share:.3g}%"
