"""The shape of one tree in numbers: `summary` is our own and cheap, `morphometrics` is NeuroM's."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuropil.config.trees import MorphologyConfig
from neuropil.errors import ConfigError, InputError
from neuropil.skeleton import Skeleton, depths

_SOMA, _NEURITE = 1, 3
#: How many of Sholl's spheres there are, about, where nobody says how far apart.
_SPHERES = 20


def summary(skeleton: Skeleton, *, unit_nm: float) -> dict[str, Any]:
    """Counts and sizes of a tree or forest.

    Parameters
    ----------
    skeleton
        Any skeleton; an empty one has zeros.
    unit_nm
        Length in nm of the unit that lengths are given in.

    Returns
    -------
    dict
        `nodes, roots, isolated_nodes, branch_points` (three neighbours or more), `tips` (one neighbour, so a root at
        the end of a path is one), `length, extent` (z, y, x), `start, stop` (corners of the box around the nodes),
        `radius_range`, `kinds` (SWC structure type → nodes).
    """
    nodes, parent = skeleton.nodes_nm / unit_nm, skeleton.parent
    degree = np.bincount(parent[parent >= 0], minlength=len(parent)) + (parent >= 0)
    start = nodes.min(axis=0) if len(nodes) else np.zeros(3)
    stop = nodes.max(axis=0) if len(nodes) else np.zeros(3)
    radius = skeleton.radius_nm / unit_nm if len(nodes) else np.zeros(1)
    kinds, counts = np.unique(skeleton.kind, return_counts=True)
    return {
        "nodes": len(nodes),
        "roots": int((parent < 0).sum()),
        "isolated_nodes": int((degree == 0).sum()),
        "branch_points": int((degree >= 3).sum()),
        "tips": int((degree == 1).sum()),
        "length": skeleton.length_nm() / unit_nm,
        "extent": (stop - start).tolist(),
        "start": start.tolist(),
        "stop": stop.tolist(),
        "radius_range": [float(radius.min()), float(radius.max())],
        "kinds": {str(kind): int(count) for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)},
    }


def morphometrics(skeleton: Skeleton, *, unit_nm: float, config: MorphologyConfig) -> dict[str, Any]:
    """NeuroM's features of a tree or forest.

    NeuroM wants one soma with neurites on it. The soma is the first root of SWC type 1, or else the root of the largest
    tree, and every child of any root starts a neurite at that root: no cable is added or lost, and Sholl's spheres lie
    around the soma. Further soma points right at a soma root (three-point somata) are no neurites. All cable counts as
    one kind.

    Parameters
    ----------
    skeleton
        The tree.
    unit_nm
        Length in nm of the unit that the table is in.
    config
        Distance of Sholl's spheres.

    Returns
    -------
    dict
        `total_length, neurites, sections, bifurcations, tips, strahler_order, branch_order, section_length_mean,
        path_length_max, radial_distance_max, tortuosity_mean, bifurcation_angle_mean, remote_angle_mean` (degrees),
        `area, volume, width, height, depth` (x, y, z), `sholl_step, sholl` (crossings of spheres 1, 2, ... steps out),
        `sholl_max, sholl_max_radius`.

    Raises
    ------
    ConfigError
        If NeuroM is not installed.
    InputError
        If there is no cable.
    """
    neurom = _neurom()
    if not skeleton.length_nm() > 0:
        raise InputError("a tree without cable", "at least one edge that has a length")
    with _quiet():
        morph = neurom.load_morphology(io.StringIO(_as_neuron(skeleton, unit_nm)), reader="swc")
        return _features(neurom, morph, config)


def _features(neurom: Any, morph: Any, config: MorphologyConfig) -> dict[str, Any]:
    def get(name: str) -> Any:
        return neurom.get(name, morph)

    def mean(name: str) -> float:
        values = get(name)
        return float(np.mean(values)) if len(values) else 0.0

    reach = float(get("max_radial_distance"))
    step = config.sholl_step or _round_step(reach / _SPHERES)
    radii = step * np.arange(1, int(reach / step) + 1)
    sholl = [int(n) for n in neurom.get("sholl_crossings", morph, radii=radii.tolist())] if len(radii) else []
    most = int(np.argmax(sholl)) if sholl else -1
    return {
        "total_length": float(get("total_length")),
        "neurites": int(get("number_of_neurites")),
        "sections": int(get("number_of_sections")),
        "bifurcations": int(get("number_of_forking_points")),
        "tips": int(get("number_of_leaves")),
        "strahler_order": int(max(get("section_strahler_orders"))),
        "branch_order": int(max(get("section_branch_orders"))),
        "section_length_mean": mean("section_lengths"),
        "path_length_max": float(max(get("section_path_distances"))),
        "radial_distance_max": reach,
        "tortuosity_mean": mean("section_tortuosity"),
        "bifurcation_angle_mean": float(np.degrees(mean("local_bifurcation_angles"))),
        "remote_angle_mean": float(np.degrees(mean("remote_bifurcation_angles"))),
        "area": float(get("total_area")),
        "volume": float(get("total_volume")),
        "width": float(get("total_width")),
        "height": float(get("total_height")),
        "depth": float(get("total_depth")),
        "sholl_step": step,
        "sholl": sholl,
        "sholl_max": sholl[most] if sholl else 0,
        "sholl_max_radius": float(radii[most]) if sholl else 0.0,
    }


def _round_step(about: float) -> float:
    """The nearest 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> _round_step(10.4), _round_step(0.4), _round_step(3500.0)
    (10.0, 0.5, 5000.0)
    """
    ten = 10.0 ** math.floor(math.log10(about))
    return min((ten * m for m in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / about)))


def _as_neuron(skeleton: Skeleton, unit_nm: float) -> str:
    """SWC text with one soma point, on which every child of a root starts a neurite at the place of its root."""
    parent, root_of = skeleton.parent, _roots(skeleton.parent)
    children = np.bincount(parent[parent >= 0], minlength=len(parent))
    roots = np.flatnonzero(parent < 0)
    of_kind = roots[skeleton.kind[roots] == _SOMA]
    soma = int(of_kind[0]) if len(of_kind) else int(np.bincount(root_of).argmax())
    on_root = (parent >= 0) & (parent[parent] < 0)
    spare = on_root & (children == 0) & (skeleton.kind == _SOMA) & (skeleton.kind[parent] == _SOMA)
    radius, places = skeleton.radius_nm / unit_nm, skeleton.nodes_nm / unit_nm
    lines = [_line(1, _SOMA, places[soma], radius[soma], -1)]
    number = {soma: 1}
    for node in np.argsort(depths(parent), kind="stable").tolist():
        if parent[node] < 0 or spare[node]:
            continue
        above = number.get(int(parent[node]), 0)
        if on_root[node]:
            root = int(parent[node])
            lines.append(_line(len(lines) + 1, _NEURITE, places[root], radius[root], 1))
            above = len(lines)
        lines.append(_line(len(lines) + 1, _NEURITE, places[node], radius[node], above))
        number[node] = len(lines)
    return "\n".join(lines) + "\n"


def _line(number: int, kind: int, place: NDArray[np.float64], radius: float, parent: int) -> str:
    z, y, x = place.tolist()
    return f"{number} {kind} {x:.9g} {y:.9g} {z:.9g} {float(radius):.9g} {parent}"


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    up = np.where(parent >= 0, parent, np.arange(len(parent)))
    while (up[up] != up).any():
        up = up[up]
    return up


def _neurom() -> Any:
    try:
        import neurom
    except ImportError as error:
        raise ConfigError(
            f"NeuroM is not there ({error})",
            "the optional part 'morphometrics'",
            "pip install 'neuropil[morphometrics]'",
        ) from error
    return neurom


@contextmanager
def _quiet() -> Iterator[None]:
    """MorphIO warns of what `morphometrics` says it does; the log goes back to what it was."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
