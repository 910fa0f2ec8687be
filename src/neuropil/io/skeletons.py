"""Skeletons from a file or a folder: SWC trees, or the NPZ graphs of em_erl (`nodes`, `edges_0`, `edges_1`, ...)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError, VolumeError
from neuropil.io.base import file_errors
from neuropil.io.swc import SUFFIXES, read_swc
from neuropil.skeleton import Skeleton


def read_skeletons(
    path: str | os.PathLike[str], *, units: str | None = None, voxel_size: Sequence[float] | None = None
) -> list[Skeleton]:
    """Read the skeletons of an SWC file, of a folder of them (in order of their names), or of an NPZ graph.

    A graph's `nodes` has one row a node: its skeleton (0, 1, ...), then z, y, x in nm. `edges_i` has one row an edge of
    skeleton i: the rows of its two nodes in `nodes`; further columns are not used.

    Parameters
    ----------
    units, voxel_size
        Of SWC files that do not state them; see `neuropil.io.swc.read_swc`. Graphs are in nm.

    Raises
    ------
    VolumeError
        If the file is missing, or is neither SWC nor such a graph, or the folder holds no SWC file.
    InputError
        If an edge of a graph leads out of its skeleton, or its edges run in a circle.
    """
    file = Path(path)
    files = sorted(f for f in file.iterdir() if f.suffix.lower() in SUFFIXES) if file.is_dir() else [file]
    if files and all(f.suffix.lower() in SUFFIXES for f in files):
        return [read_swc(f, default_units=units, voxel_size=voxel_size) for f in files]
    if file.suffix != ".npz" or not file.is_file():
        what = "is no file" if file.suffix == ".npz" else "is of no known format"
        if file.is_dir():
            what = "is a folder without SWC files"
        raise VolumeError(
            f"skeletons '{file}' {what}",
            "an .swc file, a folder of them, or an .npz graph with arrays nodes, edges_0, edges_1, ...",
        )
    return _graph(file)


def _graph(file: Path) -> list[Skeleton]:
    try:
        with file_errors(str(file), "reading"), np.load(file) as graph:
            nodes = np.asarray(graph["nodes"], np.float64)
            owner, places_nm = nodes[:, 0].astype(int), nodes[:, 1:4]
            edges = [np.asarray(graph[f"edges_{i}"], np.float64)[:, :2].astype(int) for i in range(owner.max() + 1)]
    except zipfile.BadZipFile as error:
        raise VolumeError(f"{file}: reading failed ({error})", "an intact file", "copy it again") from error
    return [
        _skeleton(np.flatnonzero(owner == i), pairs, places_nm, f"{file}:edges_{i}") for i, pairs in enumerate(edges)
    ]


def _skeleton(
    mine: npt.NDArray[np.int64], edges: npt.NDArray[Any], places_nm: npt.NDArray[np.float64], name: str
) -> Skeleton:
    if not np.isin(edges, mine).all():
        raise InputError(f"{name}: an edge to a node of another skeleton", "edges inside one skeleton")
    neighbours: list[list[int]] = [[] for _ in mine]
    for u, v in np.searchsorted(mine, edges):
        neighbours[u].append(int(v))
        neighbours[v].append(int(u))
    parent = np.full(len(mine), -2)
    for root in range(len(mine)):
        stack = [root] if parent[root] == -2 else []
        parent[stack] = -1
        while stack:
            for v in neighbours[u := stack.pop()]:
                if parent[v] == -2:
                    parent[v] = u
                    stack.append(v)
    if np.count_nonzero(parent >= 0) != len(edges):
        raise InputError(f"{name}: edges that run in a circle", "a tree or forest", "take one edge of the loop away")
    zeros = np.zeros(len(mine))
    return Skeleton(places_nm[mine], zeros, parent, zeros.astype(int))
