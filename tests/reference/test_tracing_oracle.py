"""Tracing beside scikit-image, SciPy and NumPy: geodesic distances, and eigenvalues of curvature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.graph import MCP_Geometric

from neuropil.tracing.enhance import blurred, strongest
from neuropil.tracing.geodesic import costs, march
from neuropil.tracing.voxels import from_places


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.5)])
def test_marching_finds_the_shortest_ways(seed, spacing) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 12, 14)) < 0.55
    value = rng.integers(60, 256, mask.shape).astype(np.uint8)
    at = np.flatnonzero(mask)
    depth = rng.uniform(0.5, 3, len(at)).astype(np.float32)
    voxels = from_places(at, value.ravel()[at], depth, shape=mask.shape, spacing_nm=spacing)
    cost = costs(voxels, sharpness=5.0, middle=1.0)
    found = march(voxels, cost, np.array([0]))
    dense = np.full(mask.shape, -1.0)
    dense.ravel()[at] = cost
    theirs, _ = MCP_Geometric(dense, sampling=spacing).find_costs([np.unravel_index(at[0], mask.shape)])
    wanted = theirs.ravel()[at] / min(spacing)
    ours = np.zeros(len(at))
    places = voxels.places_nm(np.arange(len(at))) / min(spacing)
    for v in found.order[1:]:
        u = found.parent[v]
        ours[v] = ours[u] + np.linalg.norm(places[v] - places[u]) * (cost[u] + cost[v]) / 2
    reached = found.piece == 0
    assert np.array_equal(reached, np.isfinite(wanted))
    assert np.allclose(ours[reached], wanted[reached], rtol=1e-4)
    assert (np.diff(ours[found.order]) >= -1e-4).all(), "nearest first"


def test_pieces_are_connected_components() -> None:
    mask = np.random.default_rng(5).random((6, 20, 20)) < 0.12
    at = np.argwhere(mask)
    near = np.abs(at[:, None] - at[None]).max(axis=2) == 1
    _, wanted = connected_components(coo_matrix(near))
    n = len(at)
    voxels = from_places(
        np.flatnonzero(mask), np.full(n, 255, np.uint8), np.ones(n, np.float32), shape=mask.shape, spacing_nm=(1, 1, 1)
    )
    found = march(voxels, np.ones(n, np.float32), np.arange(n))
    assert len(found.order) == n
    pairs = set(zip(wanted.tolist(), found.piece.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_ties_are_broken_by_place() -> None:
    n = 27
    voxels = from_places(
        np.arange(n), np.full(n, 255, np.uint8), np.ones(n, np.float32), shape=(3, 3, 3), spacing_nm=(1, 1, 1)
    )
    found = march(voxels, np.ones(n, np.float32), np.array([13]))
    faces = [4, 10, 12, 14, 16, 22]
    assert found.order[:7].tolist() == [13, *faces]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0)])
def test_tubularity_is_made_of_eigenvalues(spacing) -> None:
    image = np.random.default_rng(3).random((9, 10, 11)).astype(np.float32)
    sigma = 1.2
    ours, smooth = strongest(image, [sigma], [1.0], spacing, least=0.0)
    assert np.array_equal(smooth, blurred(image, sigma, spacing))
    padded = np.pad(smooth.astype(float), 1, mode="edge")

    def at(*step):
        return padded[tuple(slice(1 + s, n - 1 + s) for s, n in zip(step, padded.shape, strict=True))]

    units = np.eye(3, dtype=int)
    hessian = np.empty((*image.shape, 3, 3))
    for i in range(3):
        for j in range(3):
            e, f = units[i], units[j]
            if i == j:
                second = at(*e) + at(*-e) - 2 * at(0, 0, 0)
            else:
                second = (at(*(e + f)) + at(*-(e + f)) - at(*(e - f)) - at(*(f - e))) / 4
            hessian[..., i, j] = second * sigma**2 / spacing[i] / spacing[j]
    values = np.linalg.eigvalsh(hessian)
    bright = (values.sum(-1) < 0) & (values[..., 1] < 0)
    wanted = np.where(bright, np.sqrt(np.abs(values[..., 0] * values[..., 1])), 0)
    assert np.allclose(ours, wanted, atol=2e-5)
