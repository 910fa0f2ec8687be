import numpy as np
import pytest

from neuropil.errors import InputError
from neuropil.metrics.tree_search import SegmentTree


def brute(points, first, second):
    """Distance from every point to every edge, and the place on it."""
    step = second - first
    square = (step**2).sum(-1)
    along = ((points[:, None] - first) * step).sum(-1) / np.where(square > 0, square, 1)
    along = np.clip(along, 0, 1)
    return np.linalg.norm(first + along[..., None] * step - points[:, None], axis=-1)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 33, 700])
@pytest.mark.parametrize("length", [0.0, 1.0, 40.0])
def test_same_as_every_edge_asked(rng, count, length):
    first = rng.normal(size=(count, 3)) * 20
    second = first + rng.normal(size=(count, 3)) * length
    points = np.concatenate([rng.normal(size=(150, 3)) * 25, rng.normal(size=(20, 3)) * 1e4, first[:3], second[:3]])
    found = SegmentTree(first, second).nearest(points)
    every = brute(points, first, second)
    np.testing.assert_allclose(found.distance, every.min(axis=1), atol=1e-9)
    np.testing.assert_allclose(every[np.arange(len(points)), found.edge], found.distance, atol=1e-9)
    place = first[found.edge] + found.along[:, None] * (second - first)[found.edge]
    np.testing.assert_allclose(np.linalg.norm(place - points, axis=1), found.distance, atol=1e-9)


def test_all_edges_in_one_place():
    where = np.full((50, 3), 7.0)
    found = SegmentTree(where, where).nearest(np.array([[7.0, 7, 7], [7, 7, 10]]))
    assert found.distance.tolist() == [0.0, 3.0]
    assert (found.along == 0).all()


def test_no_points_no_answers():
    assert len(SegmentTree(np.zeros((1, 3)), np.ones((1, 3))).nearest(np.empty((0, 3))).distance) == 0


def test_nothing_to_search_is_refused():
    with pytest.raises(InputError, match="no edge"):
        SegmentTree(np.empty((0, 3)), np.empty((0, 3)))
