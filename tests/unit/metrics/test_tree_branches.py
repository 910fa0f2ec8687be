import numpy as np
import pytest
from tests.unit.metrics.trees import GOLD, TRACE, compared, path, random_tree, tree

from neuropil.metrics.tree_branches import branches, lines


def test_a_missed_branch_with_its_place():
    (branch,) = branches(compared(GOLD, TRACE, piece=0.01))
    assert branch.kind == "missed"
    # distances along the branch are |y - 0.5|: apart from y = 2.5 to y = 10
    assert branch.length_nm == pytest.approx(7.5, abs=0.02)
    assert branch.place_nm == pytest.approx((0, 10, 10), abs=0.02)
    assert branch.apart_nm == pytest.approx(9.5, abs=0.02)


def test_extra_is_missed_from_the_other_side(rng):
    one, other = random_tree(rng, 80), random_tree(rng, 80)
    there, back = branches(compared(one, other)), branches(compared(other, one))
    name = {"missed": "extra", "extra": "missed"}
    assert sorted((name[b.kind], b.length_nm, b.place_nm) for b in there) == sorted(
        (b.kind, b.length_nm, b.place_nm) for b in back
    )


def test_stretches_go_through_nodes_and_branch_points():
    # a whole subtree of three edges is one stretch, and a second one elsewhere another
    truth = tree(
        [(0, 0, 0), (40, 0, 0), (20, 0, 0), (20, 30, 0), (10, 40, 0), (30, 40, 0), (40, -9, 0)], [-1, 2, 0, 2, 3, 3, 1]
    )
    found = branches(compared(truth, path((0, 0, 0), (40, 0, 0)), piece=0.01))
    assert [b.kind for b in found] == ["missed", "missed"]
    assert [b.length_nm for b in found] == pytest.approx([28 + 2 * np.hypot(10, 10), 7], abs=0.05)


def test_nodes_in_one_place_do_not_part_a_stretch():
    truth = path((0, 0, 0), (0, 10, 0), (0, 10, 0), (0, 20, 0))
    assert len(branches(compared(truth, tree([(0, 0, 0)], [-1])))) == 1


def test_lengths_are_those_of_what_is_apart(rng):
    pair = compared(random_tree(rng, 150, roots=2), random_tree(rng, 120))
    found = branches(pair)
    missed = pair.truth_pieces.length[pair.truth_apart >= 2].sum()
    assert sum(b.length_nm for b in found if b.kind == "missed") == pytest.approx(missed)
    assert [b.length_nm for b in found] == sorted((b.length_nm for b in found), reverse=True)
    assert branches(compared(GOLD, GOLD)) == []


def test_units_are_nm():
    (small,) = branches(compared(GOLD, TRACE))
    big = [type(s)(s.nodes_nm * 50, s.radius_nm, s.parent, s.kind) for s in (GOLD, TRACE)]
    (large,) = branches(compared(*big, step_nm=50.0))
    assert large.length_nm == pytest.approx(50 * small.length_nm)
    assert large.place_nm == pytest.approx(tuple(50 * v for v in small.place_nm))


def test_lines_are_the_cable(rng):
    truth, test = random_tree(rng, 40), random_tree(rng, 30)
    drawn = lines(compared(truth, test, piece=2.0))
    for name, skeleton in (("truth", truth), ("test", test)):
        ends = drawn[name].ends_nm
        assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum() == pytest.approx(skeleton.length_nm())
        corners = np.abs(ends.reshape(-1, 1, 3) - skeleton.nodes_nm).max(-1).min(0)
        assert corners.max() < 1e-9  # every node is the end of a line


def test_a_single_node_is_a_point():
    far = compared(tree([(0, 0, 0)], [-1]), tree([(9, 0, 0)], [-1]))
    assert [(b.kind, b.length_nm, b.apart_nm) for b in branches(far)] == [("extra", 0, 9), ("missed", 0, 9)]
    assert lines(far)["truth"].ends_nm.tolist() == [[[0, 0, 0], [0, 0, 0]]]
