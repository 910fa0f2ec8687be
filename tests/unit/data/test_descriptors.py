"""Shape descriptors against sums written out voxel by voxel."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from neuropil.config import parse_config
from neuropil.data.descriptors import CHANNELS, Descriptors
from neuropil.geometry import Float3
from neuropil.tasks import neurons


def _labels(shape: tuple[int, int, int], seed: int = 0) -> npt.NDArray[np.uint32]:
    """Blobs of five objects and background."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, shape, (6, 3))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return np.argmin(((grid[..., None, :] - centres) ** 2).sum(-1), -1).astype(np.uint32) * 7


def _by_hand(labels: npt.NDArray[np.uint32], made: Descriptors) -> npt.NDArray[np.float64]:
    """Every voxel of the grid looks at every other, in sigma."""
    steps = np.array([v * s / made.sigma_nm for v, s in zip(made.voxel_size, made.stride, strict=True)])
    grid = labels[tuple(slice(None, None, s) for s in made.stride)]
    at = np.argwhere(grid >= 0)
    share = 1.0
    for step in steps:
        reach = int(2.5 / step)
        share *= np.exp(-0.5 * (np.arange(-reach, reach + 1) * step) ** 2).sum()
    out = np.zeros((CHANNELS, *grid.shape))
    for voxel in np.argwhere(grid > 0):
        own = at[grid[tuple(at.T)] == grid[tuple(voxel)]]
        away = own - voxel
        near = (np.abs(away) <= (2.5 / steps).astype(int)).all(1)
        where = away[near] * steps
        weight = np.exp(-0.5 * (where**2).sum(1))
        mean = weight @ where / weight.sum()
        covariance = (where - mean).T @ ((where - mean) * weight[:, None]) / weight.sum()
        variance = np.maximum(1e-3, np.diag(covariance))
        shared = [covariance[a, b] / np.sqrt(variance[a] * variance[b]) for a, b in itertools.combinations(range(3), 2)]
        found = [*(0.5 + 0.5 * mean), *variance, *(0.5 + 0.5 * np.array(shared)), weight.sum() / share]
        out[(slice(None), *voxel)] = np.clip(found, 0, 1)
    return out


@pytest.mark.parametrize(
    ("size", "stride"),
    [((8.0, 8.0, 8.0), (2, 2, 2)), ((40.0, 8.0, 8.0), (1, 2, 2)), ((30000.0, 10.0, 10.0), (1, 2, 2))],
)
def test_descriptors_are_those_of_their_definition(size: Float3, stride: tuple[int, int, int]) -> None:
    made, labels = Descriptors(80.0, size), _labels((9, 18, 21))
    assert made.stride == stride
    found, described = made(labels, np.ones(labels.shape, np.bool_))
    np.testing.assert_allclose(found, _by_hand(labels, made), atol=2e-3)
    grid = labels[tuple(slice(None, None, s) for s in stride)]
    np.testing.assert_array_equal(described[0], grid > 0)
    assert found[9].max() > 0.03


def test_what_was_not_annotated_is_in_no_object() -> None:
    made, labels = Descriptors(80.0, (8.0, 8.0, 8.0)), _labels((8, 16, 16))
    valid = np.ones(labels.shape, np.bool_)
    valid[:, :, 8:] = False
    found, described = made(labels, valid)
    same, _ = made(np.where(valid, labels, 0), np.ones(labels.shape, np.bool_))
    np.testing.assert_array_equal(found, same)
    assert not described[..., 4:].any()
    nothing, nowhere = made(np.zeros_like(labels), valid)
    assert not nothing.any()
    assert not nowhere.any()
    whole, everywhere = made(np.full_like(labels, 3), np.ones_like(valid))
    assert everywhere.all()
    assert whole[9].max() > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_turns_offsets_and_two_correlations(axis: int) -> None:
    # an odd extent, so that the coarse grid is flipped onto itself
    made, labels = Descriptors(80.0, (8.0, 8.0, 8.0)), _labels((11, 17, 19), seed=3)
    valid = np.ones(labels.shape, np.bool_)
    found, _ = made(labels, valid)
    flipped, _ = made(np.flip(labels, axis).copy(), valid)
    turned = [axis, *(6 + n for n, pair in enumerate(itertools.combinations(range(3), 2)) if axis in pair)]
    expected = np.flip(found, axis + 1).copy()
    expected[turned] = np.where(np.flip(found, axis + 1)[9] > 0, 1 - expected[turned], 0)
    np.testing.assert_allclose(flipped, expected, atol=1e-3)


def test_targets_have_them_only_where_they_weigh_something() -> None:
    labels, size = _labels((40, 40, 40)), (8.0, 8.0, 8.0)
    settings = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -9]]}
    for weight in (0.0, 0.5):
        config = parse_config({"model": settings, "train": {"descriptors": weight}})
        made = neurons.targets(config, size)
        inside = tuple(slice(a, n - b) for n, (a, b) in zip(labels.shape, made.context, strict=True))
        found = made(labels, np.ones(labels.shape, np.bool_))
        hint = neurons.hint(config, size)
        assert ("descriptors" in found) == (hint is not None) == (weight > 0)
        if hint is None:
            continue
        # of the crop alone, whatever lies around it
        alone, _ = Descriptors(config.data.descriptor_sigma_nm, size)(
            labels[inside], np.ones_like(labels[inside], bool)
        )
        np.testing.assert_array_equal(found["descriptors"], alone)
        assert hint.outputs == CHANNELS == len(alone)


def test_the_loss_is_least_at_the_truth_and_counts_what_is_described() -> None:
    import torch

    config = parse_config({"model": {"offsets": [[-1, 0, 0]]}, "train": {"descriptors": 0.5}})
    hint = neurons.hint(config, (8.0, 8.0, 8.0))
    assert hint is not None
    truth = torch.rand(1, CHANNELS, 4, 4, 4, generator=torch.manual_seed(0)) * 0.8 + 0.1
    described = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)
    described[..., :2] = 1
    batch = {"descriptors": truth, "described": described}
    logits = torch.zeros(1, CHANNELS, 8, 8, 8)
    logits[:, :, ::2, ::2, ::2] = torch.logit(truth)
    best = hint.loss(logits, batch)
    worse = logits.clone()
    worse[..., 0, 0, 0] += 1
    assert hint.loss(worse, batch) > best
    elsewhere = logits.clone()
    elsewhere[..., 1::2] += 1
    elsewhere[..., 4:] += 1
    assert hint.loss(elsewhere, batch) == best
