"""Which neuron owns which lattice site: trunks that run for ever, thickened and branched by local growth.

Straight trunks in three directions never meet (rod packing). Every other site is claimed, round by round, by a
neighbour that is owned already: thick neurons first, then as branching twigs. A site's owner depends on sites at most
`ROUNDS` steps away, so any region can be computed alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.hashing import Whole, gauss, hash3, uniform

__all__ = ["ROUNDS", "STEPS", "Patch", "is_glia", "patch"]

ROUNDS = 10
THICK_ROUNDS = 4
JITTER = 0.2  # leaves 0.6 between segments of different neurons ...
WEIGHT = 0.19  # ... and weights within this leave every neuron its own segments
MARGIN = ROUNDS + 2  # sites beyond the wanted region that its answer can depend on
MITO_SLOT = 6  # trunk sites that have at most one mitochondrion, of two to four segments
STEPS = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.int64)
_ROOT = 6  # parent code of a trunk site without predecessor; trunks use the step back along their axis
_HALF = 1 << 24


_State = tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]


class Patch(NamedTuple):
    """The lattice over a region; index 0 is site `start`."""

    start: NDArray[np.int64]
    owner: NDArray[np.int64]  #: neuron id, 0 where nobody came
    parent: NDArray[np.int8]  #: step towards the trunk, an index of STEPS
    claimed: NDArray[np.int8]  #: round of the claim, 0 for trunks
    site_DHWC: NDArray[np.float64]  #: lattice coordinates
    radius: NDArray[np.float64]  #: additive weight, lattice units
    link_DHWC: NDArray[np.uint8]  #: whether a segment joins a site with the next one on axis c
    mito_DHWC: NDArray[np.int64]  #: mitochondrion on that segment
    mito_radius: NDArray[np.float64]
    synapse: NDArray[np.int8]  #: step towards the partner, -1 where there is none


@njit(cache=True)
def _trunk(seed: int, density: float, z: int, y: int, x: int) -> int:
    """Id of the trunk through a site, or 0. Parities keep the three directions apart."""
    if z % 2 == 0 and y % 2 == 0:
        axis, i, j = 2, z, y
    elif z % 2 != 0 and x % 2 == 0:
        axis, i, j = 1, z, x
    elif y % 2 != 0 and x % 2 != 0:
        axis, i, j = 0, y, x
    else:
        return 0
    if uniform(seed + 31, axis, i, j) >= density:
        return 0
    return (((i + _HALF) << 26) | (j + _HALF)) * 4 + axis + 1


@njit(cache=True)
def _reach(seed: int, thick: float, neuron: int) -> int:
    """How many sites beyond its trunk a neuron takes in every direction: heavy-tailed."""
    u = uniform(seed + 32, neuron, 0, 0)
    reach, p = 0, thick
    while u < p and reach < THICK_ROUNDS:
        reach += 1
        p *= thick
    return reach


@njit(cache=True)
def is_glia(seed: int, glia: float, neuron: int) -> bool:
    """Whether a neuron id is a glial process."""
    return uniform(seed + 33, neuron, 0, 0) < glia


@njit(cache=True)
def _bid(reach: int, turn: int, children: int, site: Whole) -> float:
    """What an owned neighbour offers for a free site in one round; 0 for nothing."""
    if turn <= THICK_ROUNDS:
        return 1.0 + reach + (site >> 11) * 1e-16 if reach >= turn else 0.0
    chance = (site >> 11) * (1.0 / 9007199254740992.0)
    if turn < ROUNDS - 1 and (children >= 2 or chance > 0.3):
        return 0.0
    return 0.1 + chance


@njit(cache=True)
def _claim(seed: int, thick: float, turn: int, start: NDArray[np.int64], state: _State) -> None:
    """One round: every free site goes to the owned neighbour that offers most, judged by the state before."""
    owner, parent, claimed, children = state
    before = owner.copy()
    kids = children.copy()
    nz, ny, nx = owner.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                if before[z, y, x] != 0:
                    continue
                best, choice = 0.0, -1
                for d in range(6):
                    a, b, c = z + STEPS[d, 0], y + STEPS[d, 1], x + STEPS[d, 2]
                    who = before[a, b, c]
                    if who == 0:
                        continue
                    site = hash3(seed + 1000 + 8 * turn + d, start[0] + z, start[1] + y, start[2] + x) >> np.uint64(1)
                    offer = _bid(_reach(seed, thick, who), turn, kids[a, b, c], np.int64(site))
                    if offer > best:
                        best, choice = offer, d
                if choice >= 0:
                    a, b, c = z + STEPS[choice, 0], y + STEPS[choice, 1], x + STEPS[choice, 2]
                    owner[z, y, x] = before[a, b, c]
                    parent[z, y, x] = choice
                    claimed[z, y, x] = turn
                    children[a, b, c] += 1


@njit(cache=True)
def _place(
    seed: int,
    start: NDArray[np.int64],
    owner: NDArray[np.int64],
    site: NDArray[np.float64],
    radius: NDArray[np.float64],
) -> None:
    for z in range(owner.shape[0]):
        for y in range(owner.shape[1]):
            for x in range(owner.shape[2]):
                p, q, r = start[0] + z, start[1] + y, start[2] + x
                site[z, y, x, 0] = p + JITTER * (2.0 * uniform(seed + 41, p, q, r) - 1.0)
                site[z, y, x, 1] = q + JITTER * (2.0 * uniform(seed + 42, p, q, r) - 1.0)
                site[z, y, x, 2] = r + JITTER * (2.0 * uniform(seed + 43, p, q, r) - 1.0)
                weight = 0.09 * gauss(seed + 44, owner[z, y, x], 0, 0) + 0.07 * gauss(seed + 45, p, q, r)
                radius[z, y, x] = min(WEIGHT, max(-WEIGHT, weight))


@njit(cache=True)
def _join(seed: int, thick: float, owner: NDArray[np.int64], parent: NDArray[np.int8], link: NDArray[np.uint8]) -> None:
    nz, ny, nx = owner.shape
    for z in range(nz - 1):
        for y in range(ny - 1):
            for x in range(nx - 1):
                who = owner[z, y, x]
                if who == 0:
                    continue
                for c in range(3):
                    a, b, d = z + (c == 0), y + (c == 1), x + (c == 2)
                    if owner[a, b, d] != who:
                        continue
                    tree = parent[z, y, x] == 3 + c or parent[a, b, d] == c
                    link[z, y, x, c] = tree or _reach(seed, thick, who) > 0


@njit(cache=True)
def _organelles(seed: int, config: tuple[float, float, float, float], p: Patch) -> None:
    thick, glia, mito, synapse = config
    nz, ny, nx = p.owner.shape
    for z in range(2, nz - 2):
        for y in range(2, ny - 2):
            for x in range(2, nx - 2):
                who = p.owner[z, y, x]
                a, b, c = p.start[0] + z, p.start[1] + y, p.start[2] + x
                if who == 0 or is_glia(seed, glia, who):
                    continue
                size = 0.42 + 0.11 * min(2, _reach(seed, thick, who)) + 0.08 * gauss(seed + 50, who, 0, 0)
                p.mito_radius[z, y, x] = max(0.25, size + 0.06 * gauss(seed + 51, a, b, c))
                if p.claimed[z, y, x] == 0:
                    axis = (who - 1) % 4
                    along = (a, b, c)[axis]
                    slot, place = along // MITO_SLOT, along % MITO_SLOT
                    length = 2 + np.int64(3 * uniform(seed + 53, who, slot, 0))
                    wanted = place < length and uniform(seed + 52, who, slot, 0) < mito * (1 + _reach(seed, thick, who))
                    if wanted and p.owner[z + (axis == 0), y + (axis == 1), x + (axis == 2)] == who:
                        p.mito_DHWC[z, y, x, axis] = np.int64(hash3(seed + 54, who, slot, 0) >> np.uint64(1))
                if uniform(seed + 55, a, b, c) < synapse:
                    d = np.int64(uniform(seed + 56, a, b, c) * 6)
                    other = p.owner[z + STEPS[d, 0], y + STEPS[d, 1], x + STEPS[d, 2]]
                    if other not in (0, who):
                        p.synapse[z, y, x] = d


@njit(cache=True)
def _trunks(
    seed: int, density: float, start: NDArray[np.int64], owner: NDArray[np.int64], parent: NDArray[np.int8]
) -> None:
    for z in range(owner.shape[0]):
        for y in range(owner.shape[1]):
            for x in range(owner.shape[2]):
                who = _trunk(seed, density, start[0] + z, start[1] + y, start[2] + x)
                owner[z, y, x] = who
                if who:
                    parent[z, y, x] = (who - 1) % 4


def patch(config: EMPhantomConfig, low: NDArray[np.int64], high: NDArray[np.int64]) -> Patch:
    """The lattice over sites `low <= v < high`; equal for every region that holds a site."""
    start = low - MARGIN
    shape = tuple(int(n) for n in high - low + 2 * MARGIN)
    owner = np.zeros(shape, np.int64)
    parent, claimed, children = (np.full(shape, fill, np.int8) for fill in (_ROOT, 0, 0))
    _trunks(config.seed, config.trunk_density, start, owner, parent)
    for turn in range(1, ROUNDS + 1):
        _claim(config.seed, config.thick, turn, start, (owner, parent, claimed, children))
    out = Patch(
        start, owner, parent, claimed, np.empty((*shape, 3)), np.empty(shape), np.zeros((*shape, 3), np.uint8),
        np.zeros((*shape, 3), np.int64), np.zeros(shape), np.full(shape, -1, np.int8),
    )  # fmt: skip
    _place(config.seed, start, owner, out.site_DHWC, out.radius)
    _join(config.seed, config.thick, owner, parent, out.link_DHWC)
    _organelles(config.seed, (config.thick, config.glia, config.mitochondria, config.synapses), out)
    m = MARGIN
    inner = (slice(m, -m), slice(m, -m), slice(m, -m))
    kept: dict[str, Any] = {name: np.ascontiguousarray(getattr(out, name)[inner]) for name in Patch._fields[1:]}
    return Patch(start=low.astype(np.int64), **kept)
