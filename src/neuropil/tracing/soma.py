"""Where a neuron is rooted: its soma, the thickest place of its tree, or the place that the user says."""

from __future__ import annotations

import numpy as np

from neuropil.errors import InputError
from neuropil.geometry import Float3
from neuropil.tracing.tree import Floats, Tree
from neuropil.tracing.voxels import Voxels

#: A soma is at least this many times as thick as neurites usually are.
_STANDS_OUT = 2.5


def thickest(tree: Tree) -> int:
    """The thickest node (the first one of equals) of the piece that has the most cable, weighted by confidence."""
    weight = np.bincount(tree.piece, tree.edge_nm() * tree.confidence)
    main = tree.piece == np.argmax(weight)
    return int(np.argmax(np.where(main, tree.radius_nm, -1.0)))


def stands_out(radius_nm: float, radii_nm: Floats) -> bool:
    """Whether a root is a cell body: much thicker than neurites usually are."""
    return radius_nm >= _STANDS_OUT * float(np.median(radii_nm))


def chosen(voxels: Voxels, place_nm: Float3, reach_nm: float) -> int:
    """The neurite voxel that a user means by a place (nm from the stack's corner, z, y, x).

    A click lands beside the middle, so it is the deepest voxel within the depth of the nearest one.

    Raises
    ------
    InputError
        If there is no neurite within `reach_nm`.
    """
    centres = voxels.places_nm(np.arange(len(voxels)))
    away = np.linalg.norm(centres - np.asarray(place_nm), axis=1)
    at = int(np.argmin(away))
    if away[at] > reach_nm:
        z, y, x = (f"{p:g}" for p in place_nm)
        raise InputError(
            f"a soma at {z},{y},{x} nm from the volume's corner, {away[at]:.0f} nm from the nearest neurite",
            f"a place at most {reach_nm:.0f} nm from one",
            "give z,y,x in nm, the volume's offset included",
        )
    reach = max(float(voxels.depth_nm[at]), 2 * voxels.edge_nm)
    near = np.flatnonzero(np.linalg.norm(centres - centres[at], axis=1) <= reach)
    return int(near[np.argmax(voxels.depth_nm[near])])
