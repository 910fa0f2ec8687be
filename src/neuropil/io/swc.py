"""SWC: a neuron as lines of id, type, x, y, z, radius, parent; read tolerantly, written strictly.

The format says neither in what unit its lengths are nor where its origin lies, so both are stated: by the caller, or by
comments at the top of the file, which our writer puts there::

    # unit: um
    # origin_nm: 0 0 0             place of the coordinates 0 0 0, in nm, z y x
    # voxel_size_nm: 500 200 200   for the unit voxel; z y x

Where nothing else is said, lengths in um and nm begin at the corner of voxel 0, and coordinates in voxels are voxel
indices: a whole number is the centre of a voxel, as Vaa3D and BigNeuron have it. A radius in voxels is one in the plane
of the section: it counts the geometric mean of the voxel's y and x extent.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuropil.errors import InputError, NeuropilWarning, VolumeError
from neuropil.geometry import Box, Float3
from neuropil.io.base import file_errors, replace_when_whole, unit_nm
from neuropil.io.swc_lines import Ints
from neuropil.io.swc_text import Oddity, Table, oddity, parse
from neuropil.skeleton import Skeleton, depths

UNITS = ("nm", "um", "voxel")
#: Endings of files that are read as SWC; ESWC only has further columns.
SUFFIXES = (".swc", ".eswc")
_VOXEL_WORDS = ("voxel", "voxels", "pixel", "pixels", "px")
#: Decimals that keep a thousandth of a nanometre (of a voxel: a millionth).
_DECIMALS = {"nm": 3, "um": 6, "voxel": 6}
_SOMA = 1


class UnstatedUnit(InputError):
    """Nobody states the unit of a tree's lengths."""


class UnstatedVoxelSize(InputError):
    """A tree is in voxels, and nobody says how large these are."""


@dataclass(frozen=True)
class SwcReport:
    """What a file holds, in which unit it was read and who says so, and every oddity that was met.

    `unused` is a `default_units` that the file contradicts.
    """

    path: str
    nodes: int
    unit: str
    unit_from: str
    oddities: tuple[Oddity, ...]
    unused: str | None = None

    @property
    def changes(self) -> tuple[Oddity, ...]:
        """The oddities by which what was read differs from what is written."""
        return tuple(o for o in self.oddities if o.changed)

    @property
    def unit_note(self) -> str:
        """A sentence where a unit was said that the file contradicts, else nothing."""
        if self.unused is None:
            return ""
        return f"'{self.path}' states the unit {self.unit}, which counts; '{self.unused}' is for files that state none"

    @property
    def change_note(self) -> str:
        """A line about what was repaired or left out, empty where nothing was."""
        return f"'{self.path}': " + "; ".join(map(str, self.changes)) if self.changes else ""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        found: dict[str, Any] = {"tree": self.path, "nodes": self.nodes, "unit": f"{self.unit} ({self.unit_from})"}
        return found | {
            "changed": [str(o) for o in self.changes],
            "odd": [str(o) for o in self.oddities if not o.changed],
        }


def read_swc(
    path: str | os.PathLike[str],
    *,
    units: str | None = None,
    default_units: str | None = None,
    voxel_size: Sequence[float] | None = None,
    origin_nm: Sequence[float] | None = None,
) -> Skeleton:
    """Read a neuron (or several, as a forest) and warn where that is not what the file says; see `examine_swc`.

    Warns
    -----
    NeuropilWarning
        If something was repaired or left out, naming it and its lines; what is merely unusual is not warned of. And if
        the file states another unit than `default_units`.
    """
    skeleton, report = examine_swc(
        path, units=units, default_units=default_units, voxel_size=voxel_size, origin_nm=origin_nm
    )
    for note in filter(None, (report.unit_note, report.change_note)):
        warnings.warn(note, NeuropilWarning, stacklevel=2)
    return skeleton


def examine_swc(
    path: str | os.PathLike[str],
    *,
    units: str | None = None,
    default_units: str | None = None,
    voxel_size: Sequence[float] | None = None,
    origin_nm: Sequence[float] | None = None,
) -> tuple[Skeleton, SwcReport]:
    """Read a neuron with an account of everything odd about its file.

    Nodes keep their order. A copy of a line is left out; other nodes of one id are all kept, and children go to the
    nearest such node above them. A parent that is not in the file makes a root, as does 0 where no node is called 0.
    Of a circle of parents the edge above its first node is cut. Radii that are negative or no number become 0.

    Parameters
    ----------
    units
        "um", "nm" or "voxel", whatever the file's comments state; may be left out where they state it.
    default_units
        The same, but only for a file that states no unit that is known: what a file states wins.
    voxel_size
        nm, z, y, x; needed for voxels.
    origin_nm
        Place of the coordinates 0, 0, 0 in nm, z, y, x.

    Raises
    ------
    VolumeError
        If the file is missing, holds no node, or a line that is not seven numbers with a finite place.
    UnstatedUnit, UnstatedVoxelSize
        If nobody states the unit, or the voxel size where it is voxels.
    InputError
        If a unit is none that is known.
    """
    file = Path(path)
    if not file.is_file():
        raise VolumeError(f"'{file}' does not exist or is no file", "an SWC file", f"check the path ({Path.cwd()})")
    with file_errors(str(file), "reading"):
        table = parse(file.read_bytes(), str(file))
    unit, source, unused = _chosen(units, table.unit, default_units, str(file))
    scale_nm, origin = placement(
        unit, voxel_size or table.triples.get("voxel_size_nm"), origin_nm or table.triples.get("origin_nm"), str(file)
    )
    table, parent = _tree(table)
    nodes_nm = table.xyz[:, ::-1] * scale_nm + origin
    skeleton = Skeleton(nodes_nm, table.radius * in_plane_nm(scale_nm), parent, table.kind)
    table.odd += _shape(skeleton, table.line)
    return skeleton, SwcReport(str(file), len(parent), unit, source, tuple(table.odd), unused)


def write_swc(
    skeleton: Skeleton,
    path: str | os.PathLike[str],
    *,
    units: str = "nm",
    voxel_size: Sequence[float] | None = None,
    origin_nm: Sequence[float] | None = None,
    size_known: bool = True,
) -> None:
    """Write a neuron so that every reader takes it: single spaces, ids 1..N, parents before their children.

    The unit and the origin (and the voxel size) are stated in comments, so that `read_swc` needs no words. Parents
    that come first in the skeleton already keep all nodes in their order. An existing file is replaced when the new one
    is whole.

    Parameters
    ----------
    units
        "nm", "um", or "voxel" with `voxel_size`.
    voxel_size
        nm, z, y, x.
    origin_nm
        Place in nm, z, y, x, that becomes 0, 0, 0.
    size_known
        Whether `voxel_size` is that of the image, or only the one that the skeleton was made with, which is not stated.
    """
    unit = _known(units, str(path))
    scale_nm, origin = placement(unit, voxel_size, origin_nm, str(path))
    order = np.arange(len(skeleton.parent))
    if not (skeleton.parent < order).all():
        order = np.argsort(depths(skeleton.parent), kind="stable")
    number = np.empty(len(order) + 1, np.int64)
    number[order] = np.arange(1, len(order) + 1)
    number[-1] = -1  # the parent of a root
    decimals = _DECIMALS[unit]
    # adding zero turns -0.0, which some readers stumble over, into 0.0
    zyx = np.round((skeleton.nodes_nm[order] - origin) / scale_nm, decimals) + 0.0
    radius = np.round(skeleton.radius_nm[order] / in_plane_nm(scale_nm), decimals)
    head = ["# written by neuropil", f"# unit: {unit}"]
    head += [f"# origin_nm: {_spelt(origin)}"] if size_known else []
    head += [f"# voxel_size_nm: {_spelt(scale_nm)}"] if unit == "voxel" and size_known else []
    head += ["# id type x y z radius parent"]
    columns = (skeleton.kind[order], zyx[:, 2], zyx[:, 1], zyx[:, 0], radius, number[skeleton.parent[order]])
    body = f"%d %d %.{decimals}f %.{decimals}f %.{decimals}f %.{decimals}f %d"
    rows = zip(range(1, len(order) + 1), *(c.tolist() for c in columns), strict=True)
    target = Path(path)
    partial = replace_when_whole(target)
    try:
        with file_errors(str(target), "writing"):
            partial.write_text("\n".join([*head, *(body % row for row in rows)]) + "\n")
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def placement(
    unit: str, voxel_size: Sequence[float] | None, origin_nm: Sequence[float] | None, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Nanometres in one unit along z, y, x, and the place of the coordinates 0, 0, 0 in nm.

    Raises
    ------
    UnstatedVoxelSize
        If coordinates are voxels and nobody says how large those are.
    GeometryError
        If a voxel size is not three positive numbers.
    """
    scale = np.full(3, {"nm": 1.0, "um": 1e3}.get(unit, math.nan))
    if unit == "voxel":
        if voxel_size is None:
            raise UnstatedVoxelSize(
                f"'{name}' is in voxels of unknown size", "a voxel size", "give --voxel-size z,y,x in nm"
            )
        given = tuple(float(v) for v in voxel_size)
        size: Float3 = Box((0, 0, 0), (0, 0, 0), given).voxel_size  # type: ignore[arg-type]
        scale = np.array(size)
    if origin_nm is None:
        return scale, scale / 2 if unit == "voxel" else np.zeros(3)
    origin = np.array([float(v) for v in origin_nm])
    if origin.shape != (3,) or not np.isfinite(origin).all():
        raise InputError(f"'{name}': an origin of {list(origin_nm)}", "three numbers z, y, x in nm")
    return scale, origin


def in_plane_nm(scale_nm: npt.NDArray[np.float64]) -> float:
    """Nanometres that a radius of one unit has."""
    return math.sqrt(scale_nm[1] * scale_nm[2])


def _spelt(values: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{v:.6f}".rstrip("0").rstrip(".") for v in values)


def _chosen(asked: str | None, stated: str | None, default: str | None, name: str) -> tuple[str, str, str | None]:
    """The unit, who says so, and a default that the file contradicts."""
    usual = None if default is None else _known(default, name)
    if asked is not None:
        known = _known(asked, name)
        agreed = stated is None or _found(stated) == known
        return known, "as asked" if agreed else f"as asked, though the file states {stated}", None
    if stated is None and usual is None:
        raise UnstatedUnit(
            f"'{name}' does not state the unit of its lengths",
            "one of " + ", ".join(UNITS),
            "begin the file with the line '# unit: um', or say --units um (or voxel, or nm) to a command that has it; "
            "neuropil doctor FILE --units um --out NEW.swc writes a file that says so",
        )
    if usual is not None and (stated is None or _found(stated) is None):
        return usual, "as asked" if stated is None else f"as asked, though the file states {stated}", None
    known = _known(str(stated), name)
    return known, "as the file states", default if usual not in (None, known) else None


def _known(said: str, name: str) -> str:
    found = _found(said)
    if found is None:
        raise InputError(f"'{name}': a unit '{said}'", "one of " + ", ".join(UNITS), "say --units um")
    return found


def _found(said: str) -> str | None:
    """One of UNITS in other words, None for any other unit."""
    return "voxel" if said.lower() in _VOXEL_WORDS else {1.0: "nm", 1e3: "um"}.get(unit_nm(said) or 0.0)


def _tree(table: Table) -> tuple[Table, Ints]:
    """The rows that are nodes, and the index of each one's parent, -1 for a root."""
    table = _without_copies(table)
    number, wanted, count = table.number, table.parent, len(table.number)
    gaps = int(number.max()) - int(number.min()) + 1 - count
    odd = [Oddity("gaps in the ids", gaps)] if gaps > 0 else []
    if (np.diff(number) > 0).all():
        found = np.searchsorted(number, wanted)
        found = np.where((found < count) & (number[np.minimum(found, count - 1)] == wanted), found, -1)
    else:
        found, twice = _nearest_above(number, wanted)
        odd += oddity("an id given to several nodes; children go to the nearest above", table.line[twice], changed=True)
    found[wanted == -1] = -1
    itself = found == np.arange(count)
    missing = (found < 0) & (wanted > 0)
    odd += oddity("ids from 0", table.line[number == 0], changed=False)
    odd += oddity("roots whose parent is 0", table.line[(found < 0) & (wanted == 0)], changed=False)
    odd += oddity("a root whose parent is below -1", table.line[(found < 0) & (wanted < -1)], changed=False)
    odd += oddity("a parent that is not in the file; the node became a root", table.line[missing], changed=True)
    found[itself & (wanted == 0)] = -1
    odd += oddity("a root that is its own parent", table.line[itself & (wanted == 0)], changed=False)
    cuts = _circles(found)
    odd += oddity("parents that run in a circle, cut above this node", table.line[cuts], changed=True)
    found[cuts] = -1
    odd += oddity("children before their parents", table.line[found > np.arange(count)], changed=False)
    table.odd += odd
    return table, found


def _without_copies(table: Table) -> Table:
    """Leave out each line that says the same as an earlier one of the same id."""
    if (np.diff(table.number) > 0).all():
        return table
    _, rank, times = np.unique(table.number, return_inverse=True, return_counts=True)
    again = np.flatnonzero(times[rank] > 1)
    row = np.column_stack([table.number, table.kind, table.xyz, table.radius, table.parent])[again]
    first = np.ones(len(table.number), bool)
    first[again] = False
    first[again[np.unique(row, axis=0, return_index=True)[1]]] = True
    table.odd += oddity("copies of a line, left out", table.line[~first], changed=True)
    return table if first.all() else table.rows(first)


def _nearest_above(number: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """For each wanted id the last row above that has it, else the first row; and the rows whose id is not new."""
    count = len(number)
    names, first, rank = np.unique(number, return_index=True, return_inverse=True)
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    there = names[place] == wanted
    key = np.sort(rank * count + np.arange(count))
    at = np.searchsorted(key, place * count + np.arange(count), side="right") - 1
    row = key[np.maximum(at, 0)]
    above = (at >= 0) & (row // count == place)
    found = np.where(above, row % count, first[place])
    again = np.ones(count, bool)
    again[first] = False
    return np.where(there, found, -1), np.flatnonzero(again)


def _circles(parent: Ints) -> Ints:
    """The first node of each circle of parents."""
    if (parent < np.arange(len(parent))).all():
        return np.empty(0, np.int64)
    left = np.flatnonzero(depths(parent) < 0)
    state = dict.fromkeys(left.tolist(), -1)
    cuts = []
    for start in left.tolist():
        walk, node = [], start
        while state[node] == -1:
            state[node] = start
            walk.append(node)
            node = int(parent[node])
        if state[node] == start:
            cuts.append(min(walk[walk.index(node) :]))
    return np.array(sorted(cuts), np.int64)


def _shape(skeleton: Skeleton, line: Ints) -> list[Oddity]:
    """What is unusual about the tree, though it is one."""
    parent, soma = skeleton.parent, skeleton.kind == _SOMA
    child = np.flatnonzero(parent >= 0)
    same = child[(skeleton.nodes_nm[child] == skeleton.nodes_nm[parent[child]]).all(axis=1)]
    roots = np.flatnonzero(parent < 0)
    odd = oddity("several roots", line[roots] if len(roots) > 1 else [], changed=False)
    odd += oddity("edges without length", line[same], changed=False)
    odd += oddity("a soma below a neurite", line[child[soma[child] & ~soma[parent[child]]]], changed=False)
    somas = np.flatnonzero(soma & ~((parent >= 0) & soma[parent]))
    odd += oddity("several somata", line[somas] if len(somas) > 1 else [], changed=False)
    odd += oddity("a soma of three points", line[skeleton.three_point_somata()], changed=False)
    return odd if soma.any() else [*odd, Oddity("no soma", 1)]
