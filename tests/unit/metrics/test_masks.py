import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.metrics.masks import HIGHER_IS_BETTER, betti_errors, betti_numbers, cldice, hausdorff95, mask_scores

VOXEL = (2.0, 1.0, 1.0)


def empty(shape=(12, 20, 20)):
    return np.zeros(shape, bool)


def ball(shape=(15, 15, 15), radius=5.0):
    grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    return (grid**2).sum(0) <= radius**2


def ring():
    grid = np.indices((9, 25, 25)) - np.array([4, 12, 12]).reshape(3, 1, 1, 1)
    return (np.hypot(grid[1], grid[2]) - 8) ** 2 + grid[0] ** 2 <= 5


def shell():
    return ball() & ~ball(radius=2.5)


@pytest.mark.parametrize(
    ("mask", "numbers"),
    [
        (empty(), (0, 0, 0)),
        (ball(), (1, 0, 0)),
        (ring(), (1, 1, 0)),
        (shell(), (1, 0, 1)),
        (np.concatenate([ring(), ring()], axis=1), (2, 2, 0)),
        (np.ones((4, 5, 6), bool), (1, 0, 0)),
    ],
    ids=["nothing", "ball", "ring", "shell", "two rings", "everything"],
)
def test_betti_numbers_of_known_bodies(mask, numbers):
    assert betti_numbers(mask) == numbers


def test_corners_join_voxels_and_part_background():
    pair = empty((3, 3, 3))
    pair[0, 0, 0] = pair[1, 1, 1] = True
    assert betti_numbers(pair) == (1, 0, 0)
    flat = np.zeros((1, 4, 4), bool)  # a ring of eight in a single section
    flat[0, :3, :3] = True
    flat[0, 1, 1] = False
    assert betti_numbers(flat) == (1, 1, 0)


def test_betti_errors_globally_and_in_windows():
    truth = empty((4, 4, 40))
    truth[1:3, 1:3] = True
    broken = truth.copy()
    broken[..., 9:11] = broken[..., 29:31] = False
    assert betti_errors(truth, broken) == {"betti0_error": 2.0, "betti1_error": 0.0, "betti2_error": 0.0}
    # of four windows of ten voxels the cuts only shorten the pieces
    assert betti_errors(truth, broken, window=(4, 4, 10))["betti0_error"] == 0.0
    assert betti_errors(truth, broken, window=(4, 4, 20))["betti0_error"] == 1.0
    with pytest.raises(InputError, match="window"):
        betti_errors(truth, broken, window=(0, 4, 4))


def test_cldice_of_lines_is_that_of_the_lines():
    truth, pred = empty(), empty()
    truth[6, 10, :16] = True
    pred[6, 10, 8:] = True
    found = cldice(truth, pred)
    assert found["skeleton_recall"] == pytest.approx(8 / 16)
    assert found["skeleton_precision"] == pytest.approx(8 / 12)
    assert found["cldice"] == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))


def test_cldice_does_not_mind_thickness_but_breaks():
    truth, thick, broken = empty(), empty(), empty()
    truth[6, 10, 1:19] = True
    thick[5:8, 9:12, 1:19] = True
    broken[:] = truth
    broken[6, 10, 8:12] = False
    assert cldice(truth, thick)["cldice"] == 1.0
    assert cldice(truth, broken)["cldice"] < 0.9


def test_hd95_is_in_nm():
    truth, pred = empty(), empty()
    truth[4, 10, :], pred[7, 10, :] = True, True
    assert hausdorff95(truth, pred, VOXEL) == {"hd95_nm": 6.0}
    assert hausdorff95(truth, truth, VOXEL) == {"hd95_nm": 0.0}


def test_hd95_against_all_pairs(rng):
    from scipy.spatial.distance import cdist

    truth, pred = rng.random((2, 7, 8, 9)) < 0.08
    ways = cdist(np.argwhere(truth) * VOXEL, np.argwhere(pred) * VOXEL)
    want = max(np.percentile(ways.min(1), 95), np.percentile(ways.min(0), 95))
    assert hausdorff95(truth, pred, VOXEL)["hd95_nm"] == pytest.approx(want, rel=1e-5)


def test_overlap_by_counting(rng):
    truth, pred = rng.random((2, 6, 7, 8)) < 0.3
    both, one, other = (truth & pred).sum(), truth.sum(), pred.sum()
    found = mask_scores(truth, pred, VOXEL)
    assert found["dice"] == pytest.approx(2 * both / (one + other))
    assert found["iou"] == pytest.approx(both / (one + other - both))
    assert found["mask_precision"] == pytest.approx(both / other)
    assert found["mask_recall"] == pytest.approx(both / one)


def test_perfect_on_itself_and_worse_when_damaged():
    perfect, damaged = ring(), ring()
    damaged[:, 12, 18:] = False
    best, worse = mask_scores(perfect, perfect, VOXEL), mask_scores(perfect, damaged, VOXEL)
    assert set(best) == set(HIGHER_IS_BETTER)
    assert best == {k: float(higher) for k, higher in HIGHER_IS_BETTER.items()}
    assert worse["betti1_error"] == 1
    assert all((worse[k] <= best[k]) == higher or worse[k] == best[k] for k, higher in HIGHER_IS_BETTER.items())


def test_empty_masks_have_scores():
    nothing, something = empty((3, 4, 5)), ~empty((3, 4, 5))
    both = mask_scores(nothing, nothing, VOXEL)
    assert (both["dice"], both["cldice"], both["hd95_nm"], both["mask_precision"]) == (1, 1, 0, 1)
    for truth, pred in ((nothing, something), (something, nothing)):
        found = mask_scores(truth, pred, VOXEL)
        assert (found["dice"], found["cldice"], found["betti0_error"]) == (0, 0, 1)
        assert "hd95_nm" not in found


def test_labels_are_masks_too():
    assert mask_scores(ball().astype(np.uint16) * 7, ball(), VOXEL)["dice"] == 1.0


def test_what_is_no_mask_is_refused():
    with pytest.raises(InputError, match="float"):
        mask_scores(np.zeros((2, 2, 2)), empty((2, 2, 2)), VOXEL)
    with pytest.raises(GeometryError, match="one shape"):
        mask_scores(empty((2, 2, 2)), empty((2, 2, 3)), VOXEL)
