from __future__ import annotations

import numpy as np
import pytest

from neuropil.tracing.bridge import bridges, outward
from neuropil.tracing.tree import Tree, joined

OPTIONS = {"gap_nm": 20.0, "turn": 1.0, "min_confidence": 0.1}


def _lines(*ends) -> Tree:
    """Straight pieces with nodes one nm apart."""
    nodes, parent, piece = [], [], []
    for number, (a, b) in enumerate(ends):
        n = int(np.linalg.norm(np.subtract(b, a))) + 1
        first = sum(map(len, nodes))
        nodes.append(np.linspace(a, b, n))
        parent += [-1, *range(first, first + n - 1)]
        piece += [number] * n
    places = np.concatenate(nodes).astype(float)
    return Tree(places, np.ones(len(places)), np.array(parent), np.ones(len(places)), np.array(piece))


def test_directions_of_ends() -> None:
    tree = _lines(((0, 0, 0), (0, 0, 30)))
    assert np.allclose(outward(tree, np.array([0, 30])), [[0, 0, -1], [0, 0, 1]])


def test_the_straight_bridge_wins_over_an_equally_long_turn() -> None:
    tree = _lines(((0, 0, 0), (0, 0, 30)), ((0, 0, 40), (0, 0, 70)), ((0, 10, 30), (0, 10, 60)))
    pairs, sure = bridges(tree, **OPTIONS)
    assert len(pairs) == 2
    straight = {tuple(sorted(p)) for p in pairs.tolist()}
    assert (30, 31) in straight
    assert sure[0] == pytest.approx(np.exp(-0.5)), "ten nm straight on, of twenty"
    assert sure[1] == pytest.approx(np.exp(-1)), "the same length, but round a right angle"


def test_nothing_closes_a_circle() -> None:
    tree = _lines(((0, 0, 0), (0, 0, 30)), ((0, 5, 0), (0, 5, 30)), ((0, 10, 0), (0, 10, 30)))
    pairs, sure = bridges(tree, **OPTIONS)
    assert len(pairs) == 2
    whole = joined(tree, pairs, sure, np.array([31]))
    assert (whole.parent < 0).sum() == 1
    assert whole.parent[31] == -1
    assert set(whole.piece) == {0}
    assert whole.edge_nm().sum() == pytest.approx(90 + 10)


def test_too_long_and_too_unsure_bridges_are_not_built() -> None:
    tree = _lines(((0, 0, 0), (0, 0, 30)), ((0, 0, 51), (0, 0, 70)))
    assert len(bridges(tree, **OPTIONS)[0]) == 0
    assert len(bridges(tree, **OPTIONS | {"gap_nm": 25.0})[0]) == 1
    assert len(bridges(tree, **OPTIONS | {"gap_nm": 25.0, "min_confidence": 0.5})[0]) == 0
    assert len(bridges(tree, **OPTIONS | {"gap_nm": 0.0})[0]) == 0


def test_a_tip_deep_in_its_own_piece_still_sees_the_other() -> None:
    thick = _lines(*[((0, y / 50, 0), (0, y / 50, 30)) for y in range(40)], ((0, 0, 36), (0, 0, 60)))
    one = Tree(thick.nodes_nm, thick.radius_nm, thick.parent, thick.confidence, (thick.piece == 40).astype(int))
    pairs, _ = bridges(one, **OPTIONS)
    assert len(pairs) == 1
    assert set(one.piece[pairs[0]]) == {0, 1}
