"""The third tracer: shortest ways along the middle of what is likely neurite, whatever its brightness there.

The idea is TEASAR's (Sato et al., Pacific Graphics 2000), as for labels: a step costs its length over a power of the
depth.
"""

from __future__ import annotations

import numpy as np

from neuropil.config.trace import TraceConfig
from neuropil.tracing import prune, tree
from neuropil.tracing.geodesic import costs, march
from neuropil.tracing.grow import seeds
from neuropil.tracing.tree import Tree
from neuropil.tracing.voxels import Voxels


def middle_tree(voxels: Voxels, config: TraceConfig, seed: int | None) -> Tree:
    """Branches of all pieces by depth alone, still unbridged, from evidence halfway between weak and strong on."""
    likely = voxels.value >= 255 * (config.weak + config.strong) / 2
    if seed is not None:
        likely[seed] = True
    inside = voxels.subset(likely)
    first = None if seed is None else int(np.count_nonzero(likely[:seed]))
    found = march(inside, costs(inside, sharpness=0.0, middle=config.labels.middle), seeds(inside, first))
    strong = np.zeros(found.piece.max() + 1, bool)
    strong[found.piece[inside.value >= config.strong * 255]] = True
    kept = prune.branches(
        inside, found, spur=config.spur, faint=config.faint, cover=config.cover, cover_voxels=config.cover_voxels
    )
    return tree.tree_of(inside, found, kept & strong[found.piece])
