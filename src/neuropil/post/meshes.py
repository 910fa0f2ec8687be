"""Surfaces of objects, cell by cell, that fit together without a gap.

Cells share the plane of voxels where they meet. Each cell's surface (marching cubes; Lorensen and Cline, SIGGRAPH
1987) is thinned by itself (quadric edge collapse; Garland and Heckbert, SIGGRAPH 1997), which keeps its rim, where
other cells go on, as it is. Rims lie on half voxels, so what belongs together is found by whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import fastremap
import numpy as np
import numpy.typing as npt
from zmesh import Mesher

from neuropil.geometry import Float3, Int3
from neuropil.post.cell import Cell

#: Objects of fewer voxels in a cell would be thinned flat: they keep all triangles.
_SMALL = 200


@dataclass(frozen=True, eq=False)
class Piece:
    """The surface of an object in one cell.

    Parameters
    ----------
    vertices_nm
        (V, 3) float32 z, y, x from the centre of the cell's first voxel.
    faces
        (F, 3) uint32 vertices; counter-clockwise from outside when z, y, x is read as x, y, z.
    rim
        (R,) uint32 vertices where another cell goes on.
    places
        (R, 3) int64 their places in the volume, in half voxels z, y, x from the centre of its first voxel.
    """

    vertices_nm: npt.NDArray[np.float32]
    faces: npt.NDArray[np.uint32]
    rim: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int64]


def surfaces(labels_ZYX: npt.NDArray[np.uint32], cell: Cell, *, thinned: int, error_nm: float) -> dict[int, Piece]:
    """The surfaces of all objects in a cell, closed where the volume ends.

    Parameters
    ----------
    labels_ZYX
        The cell's voxels with those that it shares; 0 = background.
    thinned, error_nm
        Triangles are thinned to one in so many, as far as no vertex moves farther; not those of small objects.
    """
    pads = [(int(not b), int(not a)) for b, a in zip(cell.below, cell.above, strict=True)]
    mesher = Mesher(cell.voxel_size[::-1])
    mesher.mesh(np.pad(labels_ZYX, pads).T)
    first = np.subtract(cell.start, [low for low, _ in pads])
    voxels = dict(zip(*fastremap.unique(labels_ZYX, return_counts=True), strict=True))
    found = {}
    for label in sorted(mesher.ids()):
        factor = 0 if thinned == 1 or voxels[label] < _SMALL else thinned
        mesh = mesher.get(label, reduction_factor=factor, max_error=error_nm)
        mesher.erase(label)
        if len(mesh.faces):
            found[int(label)] = _piece(mesh.vertices[:, ::-1], mesh.faces[:, ::-1], first, cell)
    return found


def _piece(
    vertices: npt.NDArray[np.float32],
    faces: npt.NDArray[np.uint32],
    first: npt.NDArray[np.int64],
    cell: Cell,
) -> Piece:
    scale = np.asarray(cell.voxel_size)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    single, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(single[uses == 1])
    places = np.rint(vertices[rim] / scale * 2).astype(np.int64) + 2 * first
    moved = vertices + ((first - cell.start) * scale).astype(np.float32)
    return Piece(moved.astype(np.float32), np.ascontiguousarray(faces, np.uint32), rim.astype(np.uint32), places)


def joined(
    pieces: Sequence[tuple[Int3, Piece]], *, voxel_size: Float3, corner_nm: Float3
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The surface of an object from those of its cells, closed.

    Parameters
    ----------
    pieces
        Each with the index of the first voxel of its cell.
    corner_nm
        Of the volume.

    Returns
    -------
    vertices_nm
        (V, 3) z, y, x.
    faces
        (F, 3), as of a `Piece`.
    """
    scale = np.asarray(voxel_size)
    origin = np.asarray(corner_nm) + scale / 2
    base = np.cumsum([0, *(len(piece.vertices_nm) for _, piece in pieces[:-1])])
    vertices = np.concatenate([p.vertices_nm + (origin + start * scale) for start, p in pieces])
    faces = np.concatenate([p.faces.astype(np.int64) + b for (_, p), b in zip(pieces, base, strict=True)])
    rim = np.concatenate([p.rim.astype(np.int64) + b for (_, p), b in zip(pieces, base, strict=True)])
    places = np.concatenate([p.places for _, p in pieces])
    vertices[rim] = origin + places * (scale / 2)
    _, first, group = np.unique(places, axis=0, return_index=True, return_inverse=True)
    stands = np.arange(len(vertices))
    stands[rim] = rim[first][group.reshape(-1)]
    kept = stands == np.arange(len(vertices))
    return vertices[kept], (np.cumsum(kept) - 1)[stands][faces]
