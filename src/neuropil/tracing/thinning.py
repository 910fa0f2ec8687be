"""The second tracer: threshold, thin to lines, and take the tree of shortest ways along them.

It has no grey-weighted paths, so it follows the middle of what the threshold leaves, whatever its brightness.
"""

from __future__ import annotations

import numpy as np
from skimage.morphology import skeletonize

from neuropil.config.trace import TraceConfig
from neuropil.errors import InputError
from neuropil.tracing import prune, tree
from neuropil.tracing.geodesic import march
from neuropil.tracing.grow import seeds
from neuropil.tracing.tree import Tree
from neuropil.tracing.voxels import Voxels

#: Bytes a voxel that thinning takes: the mask, its copy and the result.
_BYTES = 4


def thinned_tree(voxels: Voxels, config: TraceConfig, seed: int | None) -> Tree:
    """Branches of all pieces by thinning the voxels of strong evidence, still unbridged.

    Raises
    ------
    InputError
        If the whole stack as a mask does not fit into `memory_gb`: thinning cannot be done in tiles.
    """
    size = int(np.prod(voxels.shape))
    if size * _BYTES > config.memory_gb * 2**30:
        raise InputError(
            f"a stack of {size} voxels for the thinning tracer",
            f"{_BYTES} bytes a voxel within trace.memory_gb={config.memory_gb:g}",
            "use trace.tracer=geodesic, which holds neurite voxels only",
        )
    mask = np.zeros(voxels.shape, np.bool_)
    strong = voxels.value >= config.strong * 255
    at = np.divmod(voxels.row, voxels.shape[1])
    mask[at[0][strong], at[1][strong], voxels.x[strong]] = True
    thin = skeletonize(mask[0])[None] if voxels.shape[0] == 1 else skeletonize(mask)  # type: ignore[no-untyped-call]
    lines = voxels.subset(thin[at[0], at[1], voxels.x] > 0)
    first = None
    if seed is not None:
        away = lines.places_nm(np.arange(len(lines))) - voxels.places_nm(np.array([seed]))
        first = int(np.argmin(np.linalg.norm(away, axis=1)))
    found = march(lines, np.ones(len(lines), np.float32), seeds(lines, first))
    kept = prune.branches(
        lines, found, spur=config.spur, faint=config.faint, cover=config.cover, cover_voxels=config.cover_voxels
    )
    return tree.tree_of(lines, found, kept)
