"""How brightly each stretch of a neurite is stained: beads shine, here and there the dye is missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuropil.skeleton import Skeleton
from neuropil.synth.hashing import noise3
from neuropil.synth.lm_config import LMPhantomConfig

__all__ = ["Cable", "cable", "stained"]

GAP_EVERY_UM = 10.0  #: cable per break at `gaps` = 1
BEAD_NM = 1400.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Cable(NamedTuple):
    """Tapered capsules: ends (N, 2, 3) in nm, radii (N, 2) in nm, staining (N, 2), and whose they are (N,)."""

    end_NEC: Floats
    radius_NE: Floats
    stain_NE: Floats
    owner: Ints


def cable(config: LMPhantomConfig, cells: list[Skeleton], fibres: list[Skeleton]) -> Cable:
    """All capsules of a phantom; neurons are 1, 2, ..., fibres the numbers after. A soma is a capsule of no length."""
    parts = []
    for number, tree in enumerate([*cells, *fibres]):
        stain = stained(config, number, tree, 1.0 if number < len(cells) else 0.75)
        child, parent = tree.edges.T
        lone = np.flatnonzero(tree.parent < 0)
        # the edge into a soma is inside it; drawn as a capsule it would be a cone
        kept = parent != 0 if number < len(cells) else np.ones(len(child), np.bool_)
        a, b = np.concatenate([child[kept], lone]), np.concatenate([parent[kept], lone])
        pair = np.stack([a, b], axis=1)
        owner = np.full(len(a), number + 1, np.int64)
        parts.append(Cable(tree.nodes_nm[pair], tree.radius_nm[pair], stain[pair], owner))
    return Cable(*(np.ascontiguousarray(np.concatenate(columns)) for columns in zip(*parts, strict=True)))


def stained(config: LMPhantomConfig, number: int, tree: Skeleton, usual: float) -> Floats:
    """Staining of the nodes, about `usual`; 0 in the middle of a break."""
    rng = np.random.default_rng([config.seed, 19, number])
    level = usual * rng.uniform(0.85, 1.15)
    at = _from_root(tree)
    branch = _branches(tree)
    bead = np.array(
        [noise3(config.seed + 23 + number, float(b), 0.5, s / BEAD_NM) for b, s in zip(branch, at, strict=True)]
    )
    stain = level * np.clip(1 + (0.08 + 0.4 * config.gaps) * bead, 0.1, 1.6)
    # drawn for gaps = 1 and then thinned, so that breaks only get more and longer
    count = rng.poisson(tree.length_nm() / (1000 * GAP_EVERY_UM))
    places, lengths, chances = rng.integers(len(at), size=count), rng.uniform(1200, 3600, count), rng.random(count)
    for place, length, chance in zip(places, lengths, chances, strict=True):
        if chance < config.gaps:
            mine = branch == branch[place]
            apart = np.abs(at[mine] - at[place]) / (0.5 * length * (0.5 + config.gaps))
            stain[mine] *= np.clip(3 * (apart - 0.67), 0, 1)
    stain[tree.kind == 1] = level
    return stain


def _from_root(tree: Skeleton) -> Floats:
    """Cable from the root to each node, nm; parents come before children."""
    far = np.zeros(len(tree.parent))
    step = np.zeros(len(far))
    child, parent = tree.edges.T
    step[child] = tree.edge_lengths_nm()
    for node, up in zip(child, parent, strict=True):
        far[node] = far[up] + step[node]
    return far


def _branches(tree: Skeleton) -> Ints:
    """Number of the branch that each node lies on; parents come before children."""
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree.parent))
    branch, count = np.zeros(len(tree.parent), np.int64), 0
    for node, up in enumerate(tree.parent):
        if up < 0 or children[up] != 1:
            count += 1
            branch[node] = count
        else:
            branch[node] = branch[up]
    return branch
