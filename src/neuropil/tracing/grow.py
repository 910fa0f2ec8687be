"""From neurite voxels to a finished tree: march, prune, bridge, choose the neuron, root it, smooth and resample it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuropil.config.trace import TraceConfig
from neuropil.skeleton import Skeleton
from neuropil.tracing import bridge, prune, tree
from neuropil.tracing.geodesic import costs, march
from neuropil.tracing.soma import stands_out, thickest
from neuropil.tracing.tree import Floats, Tree
from neuropil.tracing.voxels import Voxels

SOMA = 1  #: the kind of a soma's node in SWC


@dataclass(frozen=True, eq=False)
class Finished:
    """A tree in nm from the stack's corner, the confidence of its nodes, its bridges, and the soma's radius if any."""

    skeleton: Skeleton
    confidence: Floats
    bridges: int
    soma_nm: float | None


def geodesic_tree(voxels: Voxels, config: TraceConfig, seed: int | None) -> Tree:
    """Branches of all pieces by march and pruning, still unbridged; each piece grows from its deepest voxel.

    Parameters
    ----------
    seed
        Voxel that its piece grows from instead.
    """
    found = march(voxels, costs(voxels, sharpness=config.cost, middle=config.middle), seeds(voxels, seed))
    strong = np.zeros(found.piece.max() + 1, bool)
    strong[found.piece[voxels.value >= config.strong * 255]] = True
    kept = prune.branches(
        voxels, found, spur=config.spur, faint=config.faint, cover=config.cover, cover_voxels=config.cover_voxels
    )
    return tree.tree_of(voxels, found, kept & strong[found.piece])


def seeds(voxels: Voxels, first: int | None) -> npt.NDArray[np.int64]:
    """All voxels from the deepest on (equals in their order), after the one that goes first."""
    order = np.argsort(-voxels.depth_nm, kind="stable")
    return order if first is None else np.concatenate([[first], order])


def finished(whole: Tree, voxels: Voxels, config: TraceConfig, seed: int | None) -> Finished:
    """Bridge the pieces of a tree, choose the neuron and its root, smooth and resample it.

    The neuron is what hangs together with the seed, or else what has the most cable, weighted by confidence; its root
    is the node nearest to the seed, or else the thickest one.
    """
    edge = voxels.edge_nm
    home = -1 if seed is None else _nearest_node(whole, voxels.places_nm(np.array([seed]))[0])
    length = whole.piece_length_nm()
    long = length >= config.min_piece * edge
    long[np.argmax(length) if home < 0 else whole.piece[home]] = True
    keep = long[whole.piece]
    home = home if home < 0 else int(np.cumsum(keep)[home]) - 1
    whole = whole.kept(keep)
    pairs, sure = bridge.bridges(
        whole, gap_nm=config.gap * edge, turn=config.turn, min_confidence=config.min_confidence
    )
    if home < 0:
        home = thickest(tree.joined(whole, pairs, sure, np.empty(0, np.int64)))
    whole = tree.joined(whole, pairs, sure, np.array([home]))
    built = np.ones(len(pairs), bool)
    if config.keep == "main":
        built = whole.piece[pairs[:, 0]] == 0
        home = int(np.cumsum(whole.piece == 0)[home]) - 1
        whole = whole.kept(whole.piece == 0)
    radius = float(whole.radius_nm[home])
    soma = radius if seed is not None or stands_out(radius, whole.radius_nm) else None
    skeleton, confidence = tree.as_skeleton(tree.smoothed(whole, config.smooth * edge), config.step * edge)
    return Finished(skeleton, confidence, int(built.sum()), soma)


def _nearest_node(whole: Tree, place_nm: Floats) -> int:
    return int(np.argmin(np.linalg.norm(whole.nodes_nm - place_nm, axis=1)))
