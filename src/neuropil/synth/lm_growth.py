"""How neurons of a light-microscopy phantom grow: stems leave a soma, wander, taper, and fork.

A branch is a walk of small steps whose direction turns at random (a worm-like chain), drifts away from its soma, keeps
off the top and the bottom of the stack, and ends at its sides. At a fork the two daughters share the cross-section by
Rall's 3/2 power rule, one somewhat thicker. When all tips have stopped before the neuron has its length, side branches
sprout from its cable.

Rall, Exp. Neurol. 1 (1959).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.skeleton import Skeleton
from neuropil.synth.hashing import gauss
from neuropil.synth.lm_config import LMPhantomConfig

__all__ = ["STEP_NM", "fibres", "neurons"]

STEP_NM = 500.0
FIBRES = 14  #: fibres that cross a field at `crossings` = 1
AXON, DENDRITE, SOMA = 2, 3, 1
_OUTWARD = 0.015  #: drift away from the soma, per step
_SEARCH = 24  #: places looked at for a soma far from others
_SPROUTS = 6  #: and for a side branch with room around

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class _Walls(NamedTuple):
    """The region that cells keep to, in nm, and how soon a wall is felt."""

    low: Floats
    high: Floats
    reach: Floats


class _Sprout(NamedTuple):
    """A branch that is still to grow: from which node and where that is, where to, how thick, after how many forks."""

    node: int
    at: Floats
    direction: Floats
    radius: float
    forks: int


def neurons(config: LMPhantomConfig) -> list[Skeleton]:
    """The neurons of a phantom, each a tree with its soma as the root (node 0); nm from the corner of voxel 0."""
    walls = _walls(config)
    grown: list[Skeleton] = []
    somata: list[Floats] = []
    for number in range(config.neurons):
        rng = np.random.default_rng([config.seed, 11, number])
        somata.append(_soma(config, rng, walls, somata))
        grown.append(_neuron(config, number, rng, walls, somata[-1]))
    return grown


def fibres(config: LMPhantomConfig, cells: list[Skeleton]) -> list[Skeleton]:
    """Long neurites of other cells, each of which touches a neuron somewhere and leaves the field at both ends."""
    extent = np.array(config.shape) * config.voxel_size
    made = []
    for number in range(round(FIBRES * config.crossings)):
        mine = np.random.default_rng([config.seed, 13, number])
        cell = cells[int(mine.integers(len(cells)))]
        neurites = np.flatnonzero(cell.kind != SOMA)
        node = int(mine.choice(neurites))
        radius = 1000 * config.twig_um * mine.uniform(1.0, 1.8)
        aside = _flat(config, mine.normal(size=3))
        aside *= (cell.radius_nm[node] + radius) * mine.uniform(0, 1) / np.linalg.norm(aside)
        at = np.clip(cell.nodes_nm[node] + aside, 0.001 * extent, 0.999 * extent)
        direction = _flat(config, mine.normal(size=3) * (0.5, 1, 1))
        made.append(_fibre(config, 5000 + number, direction, at, radius, extent))
    return made


def _neuron(config: LMPhantomConfig, number: int, rng: np.random.Generator, walls: _Walls, soma: Floats) -> Skeleton:
    nodes, parent, radii = [soma[None]], [np.array([-1])], [np.array([1000 * config.soma_um])]
    count, cable, branch = 1, 0.0, 0
    inside = 0.05 * 1000 * config.soma_um  # a stem starts in its soma, so that no cone spans the two radii
    tips = deque(_Sprout(0, soma + inside * d, d, 1000 * config.stem_um, 0) for d in _stem_directions(config, rng))
    while cable < 1000 * config.cable_um:
        if not tips:
            tips.append(_side_sprout(config, rng, np.concatenate(nodes), np.concatenate(radii)))
        tip = tips.popleft()
        length = 1000 * config.branch_um * rng.gamma(4.0, 0.25) + (1000 * config.soma_um if tip.node == 0 else 0.0)
        length = min(length, max(1000 * config.cable_um - cable, 4 * STEP_NM))
        walk = _walk(config, (number, branch), (tip.at, tip.direction, soma), walls, length)
        branch += 1
        points = walk if tip.node == 0 else walk[1:]
        nodes.append(points)
        parent.append(np.concatenate([[tip.node], count + np.arange(len(points) - 1)]))
        share = np.linspace(0, 1, len(points))
        radii.append(np.maximum(tip.radius * (1 - config.taper * share), 1000 * config.twig_um))
        count += len(points)
        cable += STEP_NM * (len(walk) - 1)
        stopped = len(walk) < length / STEP_NM
        if not stopped and tip.forks < 8 and rng.random() < 0.92 - 0.05 * tip.forks:
            heading = walk[-1] - walk[-2]
            end = _Sprout(count - 1, walk[-1], heading, float(radii[-1][-1]), tip.forks + 1)
            tips.extend(_forked(config, rng, end))
    all_parents = np.concatenate(parent)
    kind = np.where(np.arange(count) == 0, SOMA, DENDRITE)
    return Skeleton(np.concatenate(nodes), np.concatenate(radii), all_parents, kind)


def _forked(config: LMPhantomConfig, rng: np.random.Generator, tip: _Sprout) -> list[_Sprout]:
    """Two daughters: the thicker one goes on nearly straight."""
    heading = tip.direction / np.linalg.norm(tip.direction)
    side = _flat(config, rng.normal(size=3))
    side -= (side @ heading) * heading
    side /= max(float(np.linalg.norm(side)), 1e-9)
    share = rng.uniform(0.5, 0.72)  # of the parent's radius to the 3/2
    daughters = []
    for part, sign, angle in ((share, 1.0, rng.uniform(0.2, 0.6)), (1 - share, -1.0, rng.uniform(0.5, 1.0))):
        radius = max(tip.radius * part ** (2 / 3), 1000 * config.twig_um)
        direction = np.cos(angle) * heading + sign * np.sin(angle) * side
        daughters.append(_Sprout(tip.node, tip.at, direction, float(radius), tip.forks))
    return daughters


def _side_sprout(config: LMPhantomConfig, rng: np.random.Generator, nodes: Floats, radii: Floats) -> _Sprout:
    clear = np.flatnonzero(np.linalg.norm(nodes - nodes[0], axis=1) > 2500 * config.soma_um)
    tries = rng.choice(clear, _SPROUTS) if len(clear) else rng.integers(1, len(nodes), _SPROUTS)
    middle = 0.5 * np.array(config.shape) * config.voxel_size
    node = int(tries[np.argmin(np.abs(nodes[tries] - middle)[:, 1:].max(axis=1))])
    direction = _flat(config, rng.normal(size=3))
    radius = max(0.7 * float(radii[node]), 1000 * config.twig_um)
    return _Sprout(node, nodes[node], direction / np.linalg.norm(direction), radius, 6)


def _stem_directions(config: LMPhantomConfig, rng: np.random.Generator) -> list[Floats]:
    """Directions that lie far from one another, flatter in a shallow stack."""
    found: list[Floats] = []
    for _ in range(config.stems):
        tries = _flat(config, rng.normal(size=(_SEARCH, 3)))
        tries /= np.linalg.norm(tries, axis=1, keepdims=True)
        crowd = np.max([tries @ d for d in found], axis=0) if found else np.zeros(_SEARCH)
        found.append(tries[int(np.argmin(crowd))])
    return found


def _soma(config: LMPhantomConfig, rng: np.random.Generator, walls: _Walls, others: list[Floats]) -> Floats:
    middle, half = 0.5 * (walls.low + walls.high), 0.5 * (walls.high - walls.low)
    if not others:
        return middle + rng.uniform(-0.25, 0.25, 3) * half
    tries = middle + rng.uniform(-0.8, 0.8, (_SEARCH, 3)) * half
    nearest = np.min([np.linalg.norm(tries - other, axis=1) for other in others], axis=0)
    return np.asarray(tries[int(np.argmax(nearest))])


def _walls(config: LMPhantomConfig) -> _Walls:
    extent = np.array(config.shape) * config.voxel_size
    margin = np.minimum(2000.0 * config.stem_um, 0.2 * extent)
    if config.shape[0] == 1:
        margin[0] = 0.5 * extent[0]
    return _Walls(margin, extent - margin, np.maximum(np.minimum(12_000.0, 0.25 * extent), 1.0))


def _flat(config: LMPhantomConfig, direction: Floats) -> Floats:
    """Directions pressed into the plane as the field is flatter than wide, wholly for a single image."""
    depth, *plane = (n * v for n, v in zip(config.shape, config.voxel_size, strict=True))
    squeeze = 0.0 if config.shape[0] == 1 else min(1.0, 2 * depth / max(plane))
    return np.asarray(direction * np.array([squeeze, 1.0, 1.0]))


def _walk(
    config: LMPhantomConfig,
    stream: tuple[int, int],
    way: tuple[Floats, Floats, Floats],
    walls: _Walls,
    length: float,
) -> Floats:
    """Points of a branch from `way[0]` on, (N, 3), evenly spaced by `STEP_NM` at most."""
    steps = max(2, int(np.ceil(length / STEP_NM)))
    # the persistence length runs from 100 µm down to 5 µm
    turn = np.sqrt((length / steps) / (100_000 * 20.0**-config.tortuosity))
    pace = (length / steps, turn, _OUTWARD)
    out = np.empty((steps + 1, 3))
    made = _walked((config.seed + 17, *stream), way, walls, pace, _flat(config, np.ones(3)), out=out)
    return out[:made]


@njit(cache=True)
def _walked(
    stream: tuple[int, int, int],
    way: tuple[Floats, Floats, Floats],
    walls: _Walls,
    pace: tuple[float, float, float],
    flat: Floats,
    *,
    out: Floats,
) -> int:
    """Fill `out`; the number of points until a side wall was met, three at least."""
    seed, cell, branch = stream
    start, direction, soma = way
    step, turn, outward = pace
    d = direction / np.sqrt((direction**2).sum())
    out[0] = start
    for n in range(1, len(out)):
        away = out[n - 1] - soma
        far = np.sqrt((away**2).sum()) + 1.0
        for c in range(3):
            d[c] += flat[c] * (turn * gauss(seed + 3 * cell + 1_000_003 * c, branch, n, c) + outward * away[c] / far)
        low = max(0.0, (walls.low[0] + walls.reach[0] - out[n - 1, 0]) / walls.reach[0])
        high = max(0.0, (out[n - 1, 0] - walls.high[0] + walls.reach[0]) / walls.reach[0])
        d[0] += 0.12 * flat[0] * (low**2 - high**2)
        d /= np.sqrt((d**2).sum())
        met = False
        for c in range(3):
            to = out[n - 1, c] + step * d[c]
            out[n, c] = min(max(to, walls.low[c]), walls.high[c])
            met |= c > 0 and to != out[n, c]
        if met and n > 1:
            return n + 1
    return len(out)


def _fibre(
    config: LMPhantomConfig, number: int, direction: Floats, at: Floats, radius: float, extent: Floats
) -> Skeleton:
    """A fibre through `at`, walked both ways until it is out of the field."""
    nowhere = _Walls(np.full(3, -1e12), np.full(3, 1e12), np.full(3, 1.0))
    length = 1.5 * float(np.linalg.norm(extent))
    halves = []
    for side, sign in enumerate((1.0, -1.0)):
        walk = _walk(config, (number, side), (at, sign * direction, at - sign * direction), nowhere, length)
        outside = ((walk < 0) | (walk > extent)).any(axis=1)
        halves.append(walk[: int(np.argmax(outside))] if outside.any() else walk)
    nodes = np.concatenate([halves[1][:0:-1], halves[0]]) if len(halves[1]) else halves[0]
    count = len(nodes)
    return Skeleton(nodes, np.full(count, radius), np.arange(count) - 1, np.full(count, AXON))
