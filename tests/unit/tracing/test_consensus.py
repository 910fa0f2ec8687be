"""What tracers agree on: majorities, ways there, what is cut and what is added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from neuropil.skeleton import Skeleton
from neuropil.tracing.consensus import consensus
from neuropil.tracing.grow import Finished

#: A trunk along x, and branches along y that leave it at x = 20, 40, 60.
TRUNK = [(0.0, 0.0, float(x)) for x in range(0, 81, 2)]
AT = {20: 10, 40: 20, 60: 30}


def tree(branches: dict[int, float], *, aside: float = 0.0, sure: float = 1.0) -> Finished:
    """The trunk with branches of some length at some of the places, all of it shifted in y."""
    nodes, parent = list(TRUNK), list(range(-1, len(TRUNK) - 1))
    for x, length in branches.items():
        above = AT[x]
        for y in np.arange(2.0, length + 1, 2):
            nodes.append((0.0, float(y), float(x)))
            parent.append(above)
            above = len(nodes) - 1
    places = np.add(nodes, [0, aside, 0])
    skeleton = Skeleton(places, np.ones(len(nodes)), np.array(parent), np.zeros(len(nodes), int))
    return Finished(skeleton, np.full(len(nodes), sure), 2, 5.0)


def branches_of(found: Skeleton) -> dict[int, float]:
    """Branch place → how far it reaches."""
    out = {}
    for x in AT:
        mine = found.nodes_nm[(np.abs(found.nodes_nm[:, 2] - x) < 0.5) & (found.nodes_nm[:, 1] > 4)]
        if len(mine):
            out[x] = float(mine[:, 1].max())
    return out


def agreed(trees: Sequence[Finished], tolerance: float = 3.0) -> tuple[Finished, np.ndarray]:
    return consensus(trees, tolerance_nm=tolerance)


def test_equal_trees_agree_on_everything() -> None:
    one = tree({20: 30, 60: 20})
    found, share = agreed([one, tree({20: 30, 60: 20}, aside=1.0), tree({20: 30, 60: 20})])
    np.testing.assert_array_equal(found.skeleton.nodes_nm, one.skeleton.nodes_nm)
    np.testing.assert_array_equal(found.skeleton.parent, one.skeleton.parent)
    assert (share == 1).all()
    assert (found.bridges, found.soma_nm) == (2, 5.0)


def test_what_one_of_three_has_is_cut_and_what_two_have_is_added() -> None:
    found, share = agreed([tree({20: 30}), tree({40: 30}, sure=0.5), tree({40: 30, 60: 30})])
    assert branches_of(found.skeleton) == {40: 30.0}
    assert (found.skeleton.parent < 0).sum() == 1
    added = found.skeleton.nodes_nm[:, 1] > 4
    assert share[added] == pytest.approx(2 / 3)
    assert (found.confidence[added] == 0.5).all(), "nodes keep the confidence that their own tracer gave them"
    assert found.skeleton.length_nm() == pytest.approx(80 + 30)


def test_a_branch_is_cut_where_the_others_end() -> None:
    found, _ = agreed([tree({20: 40}), tree({20: 20}), tree({20: 10})])
    assert branches_of(found.skeleton)[20] == pytest.approx(22, abs=1.1), "two of three reach 20, and 3 more is near"


def test_two_tracers_are_each_half() -> None:
    found, _ = agreed([tree({20: 30}), tree({60: 30})])
    assert branches_of(found.skeleton) == {20: 30.0, 60: 30.0}


def test_what_lies_between_agreed_nodes_stays() -> None:
    best, other = tree({}), tree({})
    bent = other.skeleton.nodes_nm.copy()
    bent[15:25, 1] += 10.0
    bent = Skeleton(bent, other.skeleton.radius_nm, other.skeleton.parent, other.skeleton.kind)
    third = Skeleton(bent.nodes_nm - [0, 40, 0] * (bent.nodes_nm[:, 1:2] > 0), bent.radius_nm, bent.parent, bent.kind)
    found, share = agreed([best, *(Finished(s, best.confidence, 0, None) for s in (bent, third))])
    np.testing.assert_array_equal(found.skeleton.nodes_nm, best.skeleton.nodes_nm)
    assert share.min() == pytest.approx(1 / 3)


def test_cable_beside_the_tree_is_not_added_twice_nor_short_stubs() -> None:
    found, _ = agreed([tree({20: 30}), tree({20: 30}, aside=2.0), tree({20: 30}, aside=-2.0)])
    assert found.skeleton.length_nm() == pytest.approx(110)
    found, _ = agreed([tree({}), tree({40: 6}), tree({40: 6})])
    assert branches_of(found.skeleton) == {}


def test_parents_come_first_whatever_is_added() -> None:
    found, share = agreed([tree({}), tree({20: 30, 60: 40}), tree({20: 30, 40: 20}), tree({40: 20, 60: 40})])
    assert set(branches_of(found.skeleton)) == set(AT)
    assert (found.skeleton.parent < np.arange(len(share))).all()
    assert len(share) == len(found.confidence) == len(found.skeleton.parent)


def test_what_no_way_leads_to_is_left_out() -> None:
    far = Skeleton(np.array([[0, 60, 0], [0, 60, 30.0]]), np.ones(2), np.array([-1, 0]), np.zeros(2, int))
    both = [Finished(far, np.ones(2), 0, None)] * 2
    found, _ = agreed([tree({}), *both])
    assert found.skeleton.length_nm() == pytest.approx(80 * 0), "nobody else has the trunk, only its root is kept"
    assert len(found.skeleton.parent) == 1


def test_one_tracer_is_its_own_consensus() -> None:
    one = tree({20: 30})
    found, share = agreed([one])
    np.testing.assert_array_equal(found.skeleton.nodes_nm, one.skeleton.nodes_nm)
    assert (share == 1).all()
