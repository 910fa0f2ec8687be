"""Tree distances against plain loops that follow the definitions word by word."""

import math

import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, random_tree

from neuropil.metrics.tree import CONVENTIONS


def segments(skeleton):
    return [(skeleton.nodes_nm[c], skeleton.nodes_nm[p]) for c, p in enumerate(skeleton.parent) if p >= 0]


def to_segment(point, first, second):
    step = second - first
    square = float(step @ step)
    share = min(1.0, max(0.0, float((point - first) @ step) / square)) if square else 0.0
    return math.dist(point, first + share * step)


def vaa3d(truth, test, tau):
    """N = int(length + 1.5) samples of each edge, both ends among them; distance to the nearest segment."""

    def way(one, other):
        found = []
        for first, second in segments(one):
            count = int(math.dist(first, second) + 1.5)
            for k in range(count):
                share = k / (count - 1) if count > 1 else 0.0
                point = first + share * (second - first)
                found.append(min(to_segment(point, *segment) for segment in segments(other)))
        return found

    ways = way(truth, test), way(test, truth)
    big = [[d for d in w if d >= tau] for w in ways]
    far = [sum(b) / len(b) for b in big if b]
    return (
        sum(sum(w) / len(w) for w in ways) / 2,
        sum(far) / len(far) if far else 0.0,
        sum(len(b) / len(w) for b, w in zip(big, ways, strict=True)) / 2,
    )


def niend(truth, test, tau):
    """Voxels of both trees in one pot, nearest voxel of the other, strictly above; DSA divides by all."""

    def voxels(one):
        found = set()
        for first, second in segments(one):
            count = math.ceil(max(abs(second - first))) + 1
            for k in range(count):
                share = k / (count - 1) if count > 1 else 0.0
                found.add(tuple(int(np.rint(v)) for v in first + share * (second - first)))
        return found | {tuple(int(np.rint(v)) for v in node) for node in one.nodes_nm}

    one, other = voxels(truth), voxels(test)
    pot = [min(math.dist(p, q) for q in other) for p in one] + [min(math.dist(p, q) for q in one) for p in other]
    big = [d for d in pot if d > tau]
    return sum(pot) / len(pot), sum(big) / len(pot), len(big) / len(pot)


def pyneval(truth, test, tau):
    """Nodes after filling edges to about two steps, nearest node of the other."""

    def nodes(one):
        found = [tuple(node) for node in one.nodes_nm]
        for first, second in segments(one):
            parts = int(math.dist(first, second) / 2)
            found += [tuple(first + k / parts * (second - first)) for k in range(1, parts)]
        return found

    one, other = nodes(truth), nodes(test)
    ways = [min(math.dist(p, q) for q in other) for p in one], [min(math.dist(p, q) for q in one) for p in other]
    big = [[d for d in w if d >= tau] for w in ways]
    return (
        sum(sum(w) / len(w) for w in ways) / 2,
        sum(sum(b) / len(b) for b in big if b) / 2,
        sum(len(b) / len(w) for b, w in zip(big, ways, strict=True)) / 2,
    )


ORACLES = {"vaa3d": vaa3d, "niend": niend, "pyneval": pyneval}


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("tau", [0.7, 2.0, 15.0])
@pytest.mark.parametrize("step", [0.4, 6.0])
def test_structure_distances_are_the_definitions(name, tau, step):
    rng = np.random.default_rng(11)
    pairs = [(GOLD, TRACE), *((random_tree(rng, 35, 2, step), random_tree(rng, 20, 1, step)) for _ in range(3))]
    for truth, test in pairs:
        found = CONVENTIONS[name](compared(truth, test, tolerance=tau))
        assert (found.esa, found.dsa, found.pds) == pytest.approx(ORACLES[name](truth, test, tau)), name
