"""Which of several trees of one image is the best, judged without any label, or what they agree on.

A good tree lies on evidence, and evidence lies on it. The score is the harmonic mean of the mean confidence of its
cable and of the share of strong evidence within its surface (and `cover_voxels` around it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from neuropil.config.trace import TraceConfig
from neuropil.skeleton import Skeleton
from neuropil.tracing.consensus import consensus
from neuropil.tracing.grow import Finished, finished, geodesic_tree
from neuropil.tracing.middle import middle_tree
from neuropil.tracing.thinning import thinned_tree
from neuropil.tracing.tree import Floats, Tree
from neuropil.tracing.voxels import Voxels

Tracer = Callable[[Voxels, TraceConfig, int | None], Tree]

TRACERS: dict[str, Tracer] = {"geodesic": geodesic_tree, "thinning": thinned_tree, "middle": middle_tree}

#: Voxels of strong evidence that the score looks at; every k-th of more.
_SEEN = 50_000


def best(voxels: Voxels, config: TraceConfig, seed: int | None) -> tuple[float, str, Finished]:
    """Score, name and tree of the best candidate, or of what they agree on, where what fewer have is less sure."""
    found = candidates(voxels, config, seed)
    if config.tracer != "consensus":
        return found[0]
    tree, share = consensus([tree for *_, tree in found], tolerance_nm=config.agree * voxels.edge_nm)
    score = explained(voxels, tree.skeleton, tree.confidence, config)
    return score, "consensus", replace(tree, confidence=tree.confidence * share)


def candidates(voxels: Voxels, config: TraceConfig, seed: int | None) -> list[tuple[float, str, Finished]]:
    """Score, name and tree of each tracer asked for, best first; `seed` is the voxel of a soma that the user gave."""
    found = []
    for name, tracer in TRACERS.items():
        if config.tracer in (name, "auto", "consensus"):
            tree = finished(tracer(voxels, config, seed), voxels, config, seed)
            found.append((explained(voxels, tree.skeleton, tree.confidence, config), name, tree))
    return sorted(found, key=lambda one: -one[0])


def explained(voxels: Voxels, skeleton: Skeleton, confidence: Floats, config: TraceConfig) -> float:
    """The label-free score of a tree (in nm from the stack's corner), 0 to 1."""
    strong = np.flatnonzero(voxels.value >= config.strong * 255)
    seen = strong[:: max(1, len(strong) // _SEEN)]
    away, near = cKDTree(skeleton.nodes_nm).query(voxels.places_nm(seen))
    edge = voxels.edge_nm
    reach = skeleton.radius_nm[near] + (config.cover_voxels + config.step / 2) * edge
    weight = voxels.value[seen].astype(np.float64)
    met = float(np.average(away <= reach, weights=weight))
    child, _ = skeleton.edges.T
    lengths = np.bincount(child, skeleton.edge_lengths_nm(), len(confidence)).astype(np.float64)
    cable = lengths if len(child) else np.ones(len(confidence))
    sure = float(np.average(confidence, weights=cable))
    return 2 * met * sure / max(met + sure, 1e-12)
