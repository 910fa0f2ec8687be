import numpy as np
import pytest
import torch
from tests.unit.infer.fakes import TrueAffinities

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.errors import InputError
from neuropil.infer.tta import ViewAverage, common_multiple, views

LONG = (*NEAREST, (-2, 0, 0), (0, -3, 0), (0, 0, -3), (-2, 3, 1))


def labels(shape, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, [-(-n // 3) for n in shape])
    full = np.kron(coarse, np.ones((3, 3, 3), int))
    return full[: shape[0], : shape[1], : shape[2]]


@pytest.mark.parametrize(
    ("mode", "voxel_size", "count"),
    [
        ("none", (8, 8, 8), 1),
        ("flips", (8, 8, 8), 8),
        ("full", (40, 4, 4), 16),
        ("full", (8, 8, 8), 48),
        ("full", (40, 4, 5), 8),
    ],
)
def test_number_of_views(mode, voxel_size, count):
    chosen = views(mode, voxel_size)
    assert len(set(chosen)) == count
    assert chosen[0].flips == (False, False, False)
    assert chosen[0].order == (0, 1, 2)


@pytest.mark.parametrize("view", views("full", (8, 8, 8)))
def test_views_are_undone_and_move_steps_as_they_move_voxels(view):
    x = torch.arange(3 * 4 * 5).reshape(1, 1, 3, 4, 5)
    assert torch.equal(view.undone(view.of(x)), x)
    one, other = torch.zeros(1, 1, 9, 9, 9), torch.zeros(1, 1, 9, 9, 9)
    one[0, 0, 4, 4, 4], other[0, 0, 4 - 1, 4 + 2, 4 - 3] = 1, 1
    step = torch.nonzero(view.of(other)[0, 0])[0] - torch.nonzero(view.of(one)[0, 0])[0]
    assert tuple(step.tolist()) == view.step((-1, 2, -3))


@pytest.mark.parametrize("mode", ["flips", "full"])
@pytest.mark.parametrize("voxel_size", [(40, 4, 4), (8, 8, 8)])
def test_a_perfect_network_stays_perfect(mode, voxel_size):
    truth = labels((6, 9, 9))
    net = TrueAffinities(LONG)
    x = torch.from_numpy(truth.astype(np.float32))[None, None]
    got = ViewAverage(lambda v: net(v).sigmoid(), LONG, views(mode, voxel_size))(x)[0].numpy()
    want, valid = affinities_from_labels(truth, LONG)
    assert (got[valid] == want[valid]).all()
    assert (got[valid] == net(x).sigmoid()[0].numpy()[valid]).all()
    assert np.isfinite(got).all()


def test_edges_that_no_turned_view_has_come_from_the_others():
    # Of the two views, the mirrored one has no source for the edges at z = 0; averaging in a zero would halve them.
    chosen = [v for v in views("flips", (8, 8, 8)) if v.flips[1:] == (False, False)]
    got = ViewAverage(lambda v: torch.full((1, 3, *v.shape[2:]), 0.75), NEAREST, chosen)(torch.zeros(1, 1, 4, 5, 6))
    assert (got == 0.75).all()


def test_a_step_without_a_channel_in_a_view_is_left_to_the_other_views():
    offsets = ((0, -1, 0), (0, -1, 2))  # mirrored in x, the second is (0, -1, -2), which no channel predicts
    seen = []

    def predict(x):
        seen.append(x)
        return torch.stack([torch.full_like(x[:, 0], 0.5), torch.full_like(x[:, 0], len(seen))], 1)

    chosen = [v for v in views("flips", (8, 8, 8)) if v.flips[:2] == (False, False)]
    got = ViewAverage(predict, offsets, chosen)(torch.zeros(1, 1, 4, 5, 6))
    assert len(seen) == 2
    assert (got[:, 0] == 0.5).all()
    assert (got[:, 1] == 1).all()


def test_tiles_must_fit_every_view():
    assert common_multiple((2, 4, 8), (40, 4, 4), "none") == (2, 4, 8)
    assert common_multiple((2, 4, 8), (40, 4, 4), "flips") == (2, 4, 8)
    assert common_multiple((2, 4, 6), (40, 4, 4), "full") == (2, 12, 12)
    assert common_multiple((2, 4, 8), (8, 8, 8), "full") == (8, 8, 8)


def test_unknown_modes_are_refused():
    with pytest.raises(InputError, match="none, flips or full"):
        views("mirror", (8, 8, 8))  # type: ignore[arg-type]


def test_no_views_are_refused():
    with pytest.raises(InputError, match="no views"):
        ViewAverage(lambda x: x, NEAREST, [])(torch.zeros(1, 1, 2, 2, 2))
