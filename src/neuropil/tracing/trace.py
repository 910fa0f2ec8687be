"""One image to one neuron: evidence, the trees of all tracers asked for, the best or the consensus, radii and root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuropil.config.trace import TraceConfig
from neuropil.errors import InputError
from neuropil.geometry import Float3
from neuropil.skeleton import Skeleton
from neuropil.tracing.background import survey
from neuropil.tracing.foreground import neurite_voxels
from neuropil.tracing.grow import SOMA
from neuropil.tracing.pick import best
from neuropil.tracing.radius import grey_radii
from neuropil.tracing.soma import chosen
from neuropil.tracing.tree import Floats
from neuropil.volume import Volume

#: How far a place that the user gives may lie from a neurite, in finest voxel edges.
_REACH = 20.0


@dataclass(frozen=True, eq=False)
class Traced:
    """A traced neuron.

    Parameters
    ----------
    skeleton
        Rooted at the soma, or at its thickest place; in the volume's own place in nm.
    confidence
        (N,) 0 to 1 for every node: local evidence; at bridges, that of the bridge; of a consensus, times the share of
        the tracers that have the node.
    soma_found
        Whether the root stands out as a cell body (or was given).
    bridges
        How many gaps are bridged.
    tracer, score
        Which tracer made it, and its label-free score; see `neuropil.tracing.pick`.
    """

    skeleton: Skeleton
    confidence: Floats
    soma_found: bool
    bridges: int
    tracer: str
    score: float


def trace(volume: Volume, config: TraceConfig, soma_nm: Float3 | None = None) -> Traced:
    """Trace the neuron of an image or a probability map.

    Parameters
    ----------
    volume
        (Z, Y, X); a single image is a stack of depth 1.
    soma_nm
        Root z, y, x in nm in the volume's own place; found when empty.

    Raises
    ------
    InputError
        If nothing in the volume can be traced: see `neuropil.tracing.background.survey` and
        `neuropil.tracing.foreground.neurite_voxels`.
    """
    if volume.axes != "zyx":
        raise InputError(
            f"{volume.name}: axes '{volume.axes}'",
            "one channel, z, y, x",
            "name it behind the image, as in 'stack.tif[c=0]'",
        )
    found = survey(volume, config.enhance) if config.source == "image" else None
    voxels = neurite_voxels(volume, config, found)
    corner = np.asarray(volume.box.offset_nm)
    seed = None
    if soma_nm is not None:
        seed = chosen(voxels, _moved(soma_nm, corner), _REACH * voxels.edge_nm)
    score, name, tree = best(voxels, config, seed)
    tree_nm = tree.skeleton
    nodes, radius, kind = tree_nm.nodes_nm + corner, tree_nm.radius_nm, tree_nm.kind.copy()
    if found is not None:
        radius = grey_radii(volume, found, nodes, radius, config)
    if tree.soma_nm is not None:
        kind[0], radius[0] = SOMA, max(tree.soma_nm, radius[0])
    skeleton = Skeleton(nodes, radius, tree_nm.parent, kind)
    return Traced(skeleton, tree.confidence, tree.soma_nm is not None, tree.bridges, name, score)


def _moved(place_nm: Float3, corner: Floats) -> Float3:
    z, y, x = (float(v) for v in np.asarray(place_nm) - corner)
    return z, y, x
