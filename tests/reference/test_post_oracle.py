"""Post-processing beside slow or third-party oracles: brute force, waterz, bioimage-cpp, scikit-image."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.measure import label
from skimage.metrics import variation_of_information

from neuropil.affinities import NEAREST, affinities_from_labels, edge_slices
from neuropil.config import FragmentsConfig, SegmentConfig
from neuropil.post import agglomerate, ascent, fragments, landscape, mutex
from neuropil.post.graph import region_graph
from neuropil.post.merging import Rule, merge_tree

VOXEL = (8.0, 8.0, 8.0)
LONG = (*NEAREST, (-3, 0, 0), (0, -3, 0), (0, 0, -3))


def _noisy(shape, offsets=NEAREST, seed=0):
    """Affinities of random cells, blurred and with smooth noise."""
    rng = np.random.default_rng(seed)
    _, nearest = cKDTree(rng.uniform((0, 0, 0), shape, (25, 3))).query(np.indices(shape).reshape(3, -1).T)
    labels = nearest.reshape(shape) + 1
    aff = affinities_from_labels(labels, offsets)[0].astype(np.float32)
    noise = [gaussian_filter(rng.normal(size=shape), 1.5) for _ in offsets]
    # membranes two voxels wide in all channels, as networks predict them
    wall = gaussian_filter(1 - aff[:3].min(0), 0.8)
    aff = np.stack([np.minimum(a, 1 - 1.5 * wall) + 1.2 * n for a, n in zip(aff, noise, strict=True)])
    return np.rint(255 * np.clip(aff, 0, 1)).astype(np.uint8), labels


def _slow_codes(height, edges, level, reach):
    """Each voxel's highest passable neighbour, by trying every path."""
    Z, Y, X = edges.shape[1:]

    def open_edge(p, axis, way):
        q = list(p)
        q[axis] += max(way, 0)
        return edges[axis, q[0], q[1], q[2]] >= level

    def passable(p, steps):
        if not any(steps):
            return True
        for axis in range(3):
            if steps[axis] and open_edge(p, axis, steps[axis]):
                q, rest = list(p), list(steps)
                q[axis] += steps[axis]
                rest[axis] = 0
                if passable(q, rest):
                    return True
        return False

    def any_open(p):
        return any(
            open_edge(p, a, w) for a in range(3) for w in (-1, 1) if 0 <= p[a] + w < (Z, Y, X)[a]
        )  # fmt: skip

    codes = np.empty((Z, Y, X), np.uint8)
    for p in np.ndindex(Z, Y, X):
        best = (height[tuple(v + 1 for v in p)], 13)
        for k in range(27):
            steps = (k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1)
            q = tuple(a + b for a, b in zip(p, steps, strict=True))
            if abs(steps[0]) > reach or not all(0 <= v < n for v, n in zip(q, (Z, Y, X), strict=True)):
                continue
            entry = (height[tuple(v + 1 for v in q)], k)
            if entry > best and (passable(p, steps) or not any_open(p)):
                best = entry
        codes[p] = best[1]
    return codes


@pytest.mark.parametrize("reach", [0, 1])
@pytest.mark.parametrize("level", [0, 60, 200])
def test_links_equal_brute_force(level, reach):
    rng = np.random.default_rng(level)
    edges = rng.integers(0, 256, (3, 5, 6, 7)).astype(np.uint8)
    height = np.full((7, 8, 9), -np.inf, np.float32)
    height[1:-1, 1:-1, 1:-1] = rng.integers(0, 6, (5, 6, 7))  # many ties
    codes = np.empty((5, 6, 7), np.uint8)
    ascent.ascend(height, edges, reach, level, 0, codes)
    np.testing.assert_array_equal(codes, _slow_codes(height, edges, level, reach))


def test_catchment_basins_are_those_of_the_maxima():
    aff, _ = _noisy((24, 26, 28))
    config = FragmentsConfig(radius_nm=64, link=0.0, background=0.0)
    shape = fragments.shaped(VOXEL, config)
    height, core = landscape.heights(aff, shape)
    found = fragments.fragments(aff, NEAREST, VOXEL, config)
    # order voxels by (height, index): a maximum of that order is where a basin ends
    order = np.lexsort((np.arange(core.size), height[1:-1, 1:-1, 1:-1].ravel()))
    rank = np.empty(core.size, np.int64)
    rank[order] = np.arange(core.size)
    rank = np.pad(rank.reshape(core.shape), 1, constant_values=-1)
    peaks = np.ones(core.shape, bool)
    for k in range(27):
        z, y, x = k // 9, k // 3 % 3, k % 3
        view = rank[z : z + core.shape[0], y : y + core.shape[1], x : x + core.shape[2]]
        peaks &= rank[1:-1, 1:-1, 1:-1] >= view
    assert set(np.unique(found)) == set(np.unique(found[peaks]))
    assert found.max() == peaks.sum() if not core.any() else found.max() <= peaks.sum()


def test_voxels_with_distance_R_are_one_core():
    edges = np.full((3, 20, 20, 20), 255, np.uint8)
    edges[:, :, 9:11] = 0
    config = FragmentsConfig(radius_nm=24, sigma_nm=0, link=0.1)
    _, core = landscape.heights(edges, fragments.shaped(VOXEL, config))
    found = fragments.fragments(edges, NEAREST, VOXEL, config)
    for island in np.unique(label(core))[1:]:
        assert len(np.unique(found[label(core) == island])) == 1


@pytest.mark.parametrize(("score", "function"), [
    ("mean", "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"),
    ("quantile", "OneMinus<HistogramQuantileAffinity<RegionGraphType, 50, ScoreValue, 256, false>>"),
])  # fmt: skip
def test_agglomeration_equals_waterz(score, function, capfd):
    waterz = pytest.importorskip("waterz")
    aff, _ = _noisy((40, 48, 50))
    config = FragmentsConfig(radius_nm=64, sigma_nm=0, link=0.1)
    pieces = fragments.fragments(aff, NEAREST, VOXEL, config)
    tree = merge_tree(region_graph(pieces, aff, NEAREST, histograms=score == "quantile"), Rule(score, 0.5, 0.0))
    thresholds = (0.2, 0.5, 0.8)
    floats = np.ascontiguousarray(aff, np.float32) / 255
    theirs = waterz.agglomerate(
        floats, [1 - t for t in reversed(thresholds)], fragments=pieces.copy(), scoring_function=function
    )
    for threshold, other in zip(reversed(thresholds), theirs, strict=True):
        lookup = tree.cut(threshold)
        assert 1 < lookup.max() < pieces.max()
        ours = lookup[pieces]
        # waterz bins affinities by floor(256 a) and looks at outdated scores late: near, not equal, for quantiles
        assert sum(variation_of_information(ours, other.astype(np.int64))) < (1e-9 if score == "mean" else 0.1)
    capfd.readouterr()


def _slow_mutex(aff, offsets):
    """The definition, with sets."""
    near = [sum(map(abs, o)) == 1 for o in offsets]
    ids = np.arange(aff[0].size).reshape(aff.shape[1:])
    edges = []
    for rank, c in enumerate([c for c, n in enumerate(near) if n] + [c for c, n in enumerate(near) if not n]):
        a, b = edge_slices(aff.shape[1:], offsets[c])
        weight = aff[c][a].astype(int) if near[c] else 255 - aff[c][a].astype(int)
        parts = (
            -weight.ravel(),
            np.full(weight.size, rank),
            ids[a].ravel(),
            ids[b].ravel(),
            np.full(weight.size, near[c]),
        )
        edges.append(np.stack(parts, 1))
    edges = np.concatenate(edges)
    edges = edges[np.lexsort((edges[:, 2], edges[:, 1], edges[:, 0]))]
    parent, against = list(range(ids.size)), [set() for _ in range(ids.size)]

    def find(v):
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    for weight, _, u, v, attract in edges.tolist():
        a, b = find(u), find(v)
        if a == b or weight == 0 or b in against[a]:
            continue
        if attract:
            if len(against[a]) < len(against[b]):
                a, b = b, a
            parent[b] = a
            for other in against[b]:
                against[other].discard(b)
                against[other].add(a)
            against[a] |= against[b]
        else:
            against[a].add(b)
            against[b].add(a)
    return np.array([find(v) for v in range(ids.size)]).reshape(ids.shape)


@pytest.mark.parametrize(("seed", "shape"), [(0, (3, 5, 6)), (1, (6, 7, 8)), (2, (24, 40, 44))])
def test_mutex_watershed_equals_brute_force(seed, shape):
    rng = np.random.default_rng(seed)
    aff = rng.integers(0, 256, (6, *shape)).astype(np.uint8)
    ours = mutex.segment(aff, LONG, VOXEL, SegmentConfig(fragments=FragmentsConfig(background=0.0)))
    slow = _slow_mutex(aff, LONG)
    assert len(np.unique(np.stack([ours.ravel(), slow.ravel()]), axis=1).T) == ours.max() == len(np.unique(slow))


def test_mutex_watershed_is_near_bioimage_cpp():
    from bioimage_cpp.segmentation import mutex_watershed

    aff, _ = _noisy((20, 30, 32), LONG)
    # edges of weight 0 say nothing here, and join there
    aff = np.clip(aff, 1, 254)
    weights = aff.astype(np.float32) / 255
    weights[3:] = 1 - weights[3:]
    theirs = mutex_watershed(weights, LONG, 3)
    ours = mutex.segment(aff, LONG, VOXEL, SegmentConfig(fragments=FragmentsConfig(background=0.0)))
    # only the order of equal weights is open there
    assert sum(variation_of_information(ours.astype(np.int64), theirs.astype(np.int64))) < 0.2


def test_cells_under_noise_come_back():
    aff, labels = _noisy((40, 48, 50))
    config = SegmentConfig(threshold=0.5, min_size=50, fragments=FragmentsConfig(radius_nm=64, link=0.1))
    split_merge = variation_of_information(labels, agglomerate.segment(aff, NEAREST, VOXEL, config).astype(np.int64))
    trivial = variation_of_information(labels, np.ones_like(labels))
    assert sum(split_merge) < 0.5 * sum(trivial)
