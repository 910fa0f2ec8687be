from __future__ import annotations

import numpy as np

from neuropil.tracing.voxels import from_places, lower


def _some(seed: int = 0):
    rng = np.random.default_rng(seed)
    mask = rng.random((3, 5, 9)) < 0.3
    at = rng.permutation(np.flatnonzero(mask))
    value, depth = (at % 251).astype(np.uint8), at.astype(np.float32)
    return mask, from_places(at, value, depth, shape=mask.shape, spacing_nm=(4, 2, 1))


def test_voxels_are_in_row_major_order_with_their_values() -> None:
    mask, voxels = _some()
    at = np.flatnonzero(mask)
    assert np.array_equal(voxels.row.astype(int) * 9 + voxels.x, at)
    assert np.array_equal(voxels.value, at % 251)
    assert np.array_equal(voxels.depth_nm, at)
    assert voxels.starts[-1] == len(voxels) == mask.sum()


def test_rows_are_bisected() -> None:
    mask, voxels = _some()
    for row in range(15):
        for x in range(-1, 11):
            found = lower(voxels.starts, voxels.x, row, x)
            before = mask.reshape(15, 9)[:row].sum() + mask.reshape(15, 9)[row, : max(x, 0)].sum()
            assert found == before


def test_places_are_centres_and_holds_knows_them() -> None:
    mask, voxels = _some()
    places = voxels.places_nm(np.arange(len(voxels)))
    assert np.array_equal(places, (np.argwhere(mask) + 0.5) * [4, 2, 1])
    everywhere = (np.argwhere(np.ones_like(mask)) + 0.5) * [4, 2, 1]
    assert np.array_equal(voxels.holds(everywhere), mask.ravel())
    assert not voxels.holds(np.array([[-1.0, 1, 1], [1, 1, 10], [13, 1, 1]])).any()


def test_a_subset_is_the_same_in_smaller() -> None:
    _, voxels = _some()
    keep = np.arange(len(voxels)) % 2 == 0
    part = voxels.subset(keep)
    assert np.array_equal(part.x, voxels.x[keep])
    assert np.array_equal(np.repeat(np.arange(15), np.diff(part.starts)), part.row)
