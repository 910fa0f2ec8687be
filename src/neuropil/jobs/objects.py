"""Skeletons and meshes of objects beside their labels: made in cells, put together object by object.

Every kind has three stages. ``*_parts``: what the objects of a cell have in it. ``*_index``: which cell puts an object
together, and from which cells. ``skeletons`` / ``meshes``: the files. Between stages nothing is held but these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.config.objects import ObjectsConfig
from neuropil.geometry import Float3, Int3
from neuropil.infer.ledger import write_whole
from neuropil.io import meshes as mesh_format
from neuropil.io import precomputed_skeletons as skeleton_format
from neuropil.io.swc import write_swc
from neuropil.jobs.cells import Cells, Row, cells_of, numbered, owners, packed, unpacked
from neuropil.jobs.labels import PRECOMPUTED, levels, open_labels
from neuropil.outputs import Stopwatch
from neuropil.post import meshes, skeletons
from neuropil.post.cell import Cell
from neuropil.progress import Progress
from neuropil.volume import Volume

#: Folder of SWC files beside that of skeletons.
SWC = "swc"


@dataclass(frozen=True)
class Kind:
    """What can be made of objects.

    Parameters
    ----------
    name
        Of the last stage, and of the folder.
    stem
        What the names of its other stages begin with.
    key
        What a precomputed volume's `info` calls the folder.
    info
        The folder's own `info`.
    parts
        (labels, cell, config) to the arrays of each numbered object of a cell.
    write
        (folder, label, [(start of a cell, its arrays)], cells, corner in nm, config) to names of files.
    """

    name: str
    stem: str
    key: str
    info: dict[str, Any]
    parts: Callable[[npt.NDArray[np.uint32], Cell, ObjectsConfig], dict[int, Row]]
    write: Callable[[Path, int, list[tuple[Int3, Row]], Cells, Float3, ObjectsConfig], list[str]]


def _skeleton_parts(labels_ZYX: npt.NDArray[np.uint32], cell: Cell, config: ObjectsConfig) -> dict[int, Row]:
    found = skeletons.fragments(labels_ZYX, cell, config)
    return {label: dict(zip(("nodes", "edges", "radii"), part, strict=True)) for label, part in found.items()}


def _write_skeleton(
    folder: Path,
    label: int,
    rows: list[tuple[Int3, Row]],
    cells: Cells,
    corner_nm: Float3,
    config: ObjectsConfig,
) -> list[str]:
    parts = [(row["nodes"], row["edges"], row["radii"]) for _, row in rows]
    tree = skeletons.joined(parts, voxel_size=cells.level.voxel_size, corner_nm=corner_nm, config=config)
    names = [f"{SKELETONS.name}/{label}", f"{SWC}/{label}.swc"]
    write_whole(folder / names[0], skeleton_format.encoded_skeleton(tree), sync=False)
    write_swc(tree, folder / names[1], units="um")
    return names


def _mesh_parts(labels_ZYX: npt.NDArray[np.uint32], cell: Cell, config: ObjectsConfig) -> dict[int, Row]:
    error_nm = max(cell.voxel_size) if config.error_nm is None else config.error_nm
    found = meshes.surfaces(labels_ZYX, cell, thinned=config.thinned, error_nm=error_nm)
    return {
        label: {"vertices": p.vertices_nm, "faces": p.faces, "rim": p.rim, "places": p.places}
        for label, p in found.items()
    }


def _write_mesh(
    folder: Path,
    label: int,
    rows: list[tuple[Int3, Row]],
    cells: Cells,
    corner_nm: Float3,
    config: ObjectsConfig,
) -> list[str]:
    pieces = [(start, meshes.Piece(r["vertices"], r["faces"], r["rim"], r["places"])) for start, r in rows]
    vertices, faces = meshes.joined(pieces, voxel_size=cells.level.voxel_size, corner_nm=corner_nm)
    found = mesh_format.mesh_files(label, mesh_format.encoded_mesh(vertices, faces))
    for name, content in found.items():
        write_whole(folder / MESHES.name / name, content, sync=False)
    return [f"{MESHES.name}/{name}" for name in found]


SKELETONS = Kind("skeletons", "skeleton", "skeletons", skeleton_format.INFO, _skeleton_parts, _write_skeleton)
MESHES = Kind("meshes", "mesh", "mesh", mesh_format.INFO, _mesh_parts, _write_mesh)


def kinds(config: ObjectsConfig) -> list[Kind]:
    """What settings ask for."""
    return [kind for kind in (SKELETONS, MESHES) if getattr(config, kind.name)]


def _folders(config: ObjectsConfig) -> list[str]:
    made = kinds(config)
    return [kind.name for kind in made] + [SWC] * (SKELETONS in made)


def remove_remains(path: Path, config: ObjectsConfig) -> None:
    """Remove what those who were killed while they wrote an object had begun; for when nobody writes any more."""
    for folder in _folders(config):
        for begun in (path / folder).glob(".*.partial"):
            begun.unlink(missing_ok=True)


def create_objects(path: Path, config: ObjectsConfig) -> None:
    """The folders of objects in that of their labels, empty; a precomputed volume names them."""
    from neuropil.io.ome import write_group
    from neuropil.io.precomputed import add_to_info

    made = kinds(config)
    for kind in made:
        write_whole(path / kind.name / "info", json.dumps(kind.info).encode(), sync=False)
    for folder in _folders(config):
        (path / folder).mkdir(exist_ok=True)
        if path.suffix != PRECOMPUTED:
            write_group(path / folder, {})  # or other readers of Zarr wonder what the folder is
    if path.suffix == PRECOMPUTED and made:
        add_to_info(path, {kind.key: kind.name for kind in made})


def cell_table(
    kind: Kind, labels: Volume, cells: Cells, number: int, sizes: npt.NDArray[np.int64], config: ObjectsConfig
) -> dict[str, npt.NDArray[Any]]:
    """What the objects of a cell have in it, as a table.

    Parameters
    ----------
    labels
        The level of the cells.
    sizes
        Voxels of every object, by its id.
    """
    ids, part_ZYX = numbered(cells.read(labels, number), sizes, config.min_voxels)
    found = kind.parts(part_ZYX, cells.cell(number), config) if len(ids) else {}
    return packed({int(ids[label - 1]): row for label, row in found.items()})


def write_owned(
    kind: Kind,
    folder: Path,
    owned: dict[str, npt.NDArray[Any]],
    table: Callable[[int], dict[str, npt.NDArray[Any]]],
    cells: Cells,
    corner_nm: Float3,
    config: ObjectsConfig,
) -> list[str]:
    """The files of the objects that one cell puts together, and their names in the folder.

    Parameters
    ----------
    owned
        See `neuropil.jobs.cells.owners`.
    table
        That of a cell, by its number.
    """
    rows: dict[int, list[tuple[Int3, Row]]] = {int(label): [] for label in owned["ids"]}
    for number in np.unique(owned.get("cells", np.zeros(0, np.int64))).tolist():
        for label, row in unpacked(table(number), owned["ids"]):
            rows[label].append((cells.start(number), row))
    names = []
    for label, found in rows.items():
        names += kind.write(folder, label, found, cells, corner_nm, config)
    return names


def write_objects(path: Path, config: ObjectsConfig) -> dict[str, Any]:
    """Make skeletons and meshes beside labels that lie in a folder, here and now; returns how long each took."""
    finest = open_labels(path)
    found = levels(path.suffix, finest.box, finest.layout["chunk"][-3:])
    cells, watch = cells_of(found, config), Stopwatch()
    labels, sizes = open_labels(path, cells.level.name), _sizes(finest)
    create_objects(path, config)
    for kind in kinds(config):
        tables = []
        with Progress(kind.name, len(cells), unit="cell") as progress:
            for number in range(len(cells)):
                tables.append(cell_table(kind, labels, cells, number, sizes, config))
                progress(number + 1, len(cells))
        for owned in owners([table["ids"] for table in tables]):
            write_owned(kind, path, owned, tables.__getitem__, cells, labels.offset, config)
        watch.lap(kind.name, finest.box.size)
    return watch.laps


def _sizes(labels: Volume) -> npt.NDArray[np.int64]:
    """Voxels of every object, by its id."""
    total = np.zeros(1, np.int64)
    for block in labels.blocks():
        counts = np.bincount(labels.read(block.write).ravel().astype(np.int64))
        if len(counts) > len(total):
            total = np.pad(total, (0, len(counts) - len(total)))
        total[: len(counts)] += counts
    return total
