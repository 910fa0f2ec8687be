"""Scores. `overlap` counts label pairs once, `partition` turns them into VOI and Rand, `skeletal` follows neurons.

`tree` and its neighbours compare traced trees. Each module of the METRICS and
TREE_METRICS tables declares `HIGHER_IS_BETTER` for the keys it returns.
"""

from __future__ import annotations

import importlib

from neuropil.registry import METRICS, TREE_METRICS

_MASKS = "neuropil.metrics.masks:mask_scores"


def directions() -> dict[str, bool]:
    """For every score of every registered metric, whether more is better."""
    table: dict[str, bool] = {}
    for target in (*METRICS.values(), *TREE_METRICS.values(), _MASKS):
        table |= importlib.import_module(target.partition(":")[0]).HIGHER_IS_BETTER
    return table
