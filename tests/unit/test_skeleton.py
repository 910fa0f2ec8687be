import numpy as np
import pytest

from neuropil.errors import InputError
from neuropil.skeleton import Skeleton


def make(nodes, parent, radius=None, kind=None):
    nodes = np.asarray(nodes, float)
    return Skeleton(
        nodes,
        np.ones(len(nodes)) if radius is None else np.asarray(radius, float),
        np.asarray(parent, int),
        np.zeros(len(nodes), int) if kind is None else np.asarray(kind, int),
    )


@pytest.fixture
def fork():
    """A stem of 100 nm that forks into 60 (y) and 30 (x) nm; the root stands last and parents come after children."""
    nodes = [[100, 60, 0], [100, 0, 30], [50, 0, 0], [100, 0, 0], [0, 0, 0]]
    return make(nodes, [3, 3, 4, 2, -1], radius=[1, 2, 3, 4, 5], kind=[3, 3, 2, 2, 1])


def test_length_is_that_of_all_edges(fork):
    assert fork.length_nm() == pytest.approx(100 + 60 + 30)
    assert sorted(fork.edge_lengths_nm()) == pytest.approx([30, 50, 50, 60])
    assert fork.edges.tolist() == [[0, 3], [1, 3], [2, 4], [3, 2]]


def test_projecting_sets_every_depth_and_keeps_the_rest(fork):
    flat = fork.projected(70.0)
    assert flat.nodes_nm[:, 0].tolist() == [70.0] * 5
    assert np.array_equal(flat.nodes_nm[:, 1:], fork.nodes_nm[:, 1:])
    assert flat.parent.tolist() == fork.parent.tolist()
    assert flat.radius_nm.tolist() == fork.radius_nm.tolist()
    assert fork.projected().nodes_nm[:, 0].tolist() == [0.0] * 5
    assert fork.length_nm() == pytest.approx(190)  # left as it was


def test_resampling_keeps_length_fixed_points_and_topology(fork):
    fine = fork.resampled(7.0)
    assert fine.length_nm() == pytest.approx(fork.length_nm())
    assert fine.edge_lengths_nm().max() <= 7.0 + 1e-9
    assert len(fine.edges) == 15 + 9 + 5  # ceil(100/7), ceil(60/7), ceil(30/7)
    children = np.bincount(fine.parent[fine.parent >= 0], minlength=len(fine.parent))
    assert sorted(children[children != 1].tolist()) == [0, 0, 2]
    tips = {tuple(p) for p in fine.nodes_nm[children == 0]}
    assert tips == {(100.0, 60.0, 0.0), (100.0, 0.0, 30.0)}
    assert fine.nodes_nm[fine.parent < 0].tolist() == [[0, 0, 0]]


def test_resampling_interpolates_radii_along_the_cable():
    fine = make([[0, 0, 0], [0, 0, 10]], [-1, 0], radius=[1, 3]).resampled(2.5)
    order = np.argsort(fine.nodes_nm[:, 2])
    assert fine.nodes_nm[order, 2].tolist() == [0, 2.5, 5, 7.5, 10]
    assert fine.radius_nm[order] == pytest.approx([1, 1.5, 2, 2.5, 3])


def test_resampling_coarsely_drops_nodes_between_fixed_points():
    line = make([[0, 0, i] for i in range(11)], [-1, *range(10)])
    assert len(line.resampled(100.0).nodes_nm) == 2
    assert line.resampled(100.0).length_nm() == pytest.approx(10)


def test_forest_lone_node_and_empty_skeleton():
    forest = make([[0, 0, 0], [5, 5, 5], [5, 5, 9]], [-1, -1, 1])
    assert forest.length_nm() == 4
    assert len(forest.resampled(1.0).nodes_nm) == 1 + 5
    empty = make(np.empty((0, 3)), [])
    assert empty.length_nm() == 0
    assert len(empty.resampled(1.0).nodes_nm) == 0


def ball(*, poles=((0, 5, 0), (0, -5, 0)), radius=5.0, kind=1):
    nodes = [[0, 0, 0], *poles, [9, 0, 0]]
    return make(nodes, [-1, 0, 0, 0], radius=[radius, radius, radius, 1], kind=[1, 1, kind, 3])


def test_a_soma_of_three_points_is_known_by_its_poles():
    assert ball().three_point_somata().tolist() == [0]
    assert ball(poles=((0, 4.99, 0), (0, -5.01, 0))).three_point_somata().tolist() == [0]
    for other in (
        ball(poles=((0, 5, 0), (0, 5, 0))),
        ball(poles=((0, 8, 0), (0, -8, 0))),
        ball(kind=2),
        ball(radius=0.0, poles=((0, 0, 0), (0, 0, 0))),
        make(np.empty((0, 3)), []),
    ):
        assert other.three_point_somata().tolist() == []


@pytest.mark.parametrize("parent", [[1, 2, 0], [-1, 1, 0], [1, 0, 1]])
def test_a_cycle_is_refused(parent):
    with pytest.raises(InputError, match="circle"):
        make(np.zeros((3, 3)), parent)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"nodes_nm": np.zeros((2, 2))}, "nodes of shape"),
        ({"nodes_nm": np.array([[0, 0, np.nan], [0, 0, 1]])}, "NaN"),
        ({"nodes_nm": np.array([["a", "b", "c"], ["d", "e", "f"]])}, "nodes_nm of type"),
        ({"radius_nm": np.ones(3)}, "radius_nm of shape"),
        ({"radius_nm": np.array([1, -1.0])}, "radius"),
        ({"radius_nm": np.array([1, np.inf])}, "radius"),
        ({"parent": np.array([-1, 2])}, "parent outside"),
        ({"parent": np.array([-2, 0])}, "parent outside"),
        ({"parent": np.array([-1.0, 0.0])}, "parent of type"),
        ({"kind": np.zeros(3, int)}, "kind of shape"),
    ],
)
def test_what_is_not_a_skeleton_is_refused(change, match):
    good = {
        "nodes_nm": np.zeros((2, 3)),
        "radius_nm": np.ones(2),
        "parent": np.array([-1, 0]),
        "kind": np.zeros(2, int),
    }
    with pytest.raises(InputError, match=match):
        Skeleton(**{**good, **change})


@pytest.mark.parametrize("step", [0, -1, float("nan")])
def test_a_step_must_be_positive(fork, step):
    with pytest.raises(InputError, match="step"):
        fork.resampled(step)
