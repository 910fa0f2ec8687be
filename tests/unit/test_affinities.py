from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.affinities import (
    NEAREST,
    Affinities,
    affinities_from_labels,
    as_offsets,
    from_inverse,
    reanchored,
    transformed_offset,
    with_offsets,
)
from neuropil.errors import InputError
from neuropil.volume import Volume

OFFSETS = as_offsets([(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, 3, 0), (0, 0, -4), (1, -1, 2)])


def _brute(labels: np.ndarray, offset: tuple[int, int, int], voxel: tuple[int, ...]) -> tuple[int, bool]:
    """The definition, word by word: voxel v and voxel v + offset belong together."""
    far = tuple(v + o for v, o in zip(voxel, offset, strict=True))
    if any(f < 0 or f >= n for f, n in zip(far, labels.shape, strict=True)):
        return 0, False
    return int(labels[voxel] == labels[far] and labels[voxel] > 0), True


@given(seed=st.integers(0, 2**32 - 1))
def test_affinities_are_what_the_definition_says(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (3, 5, 6)).astype(np.uint64)
    affinities, valid = affinities_from_labels(labels, OFFSETS)
    for c, offset in enumerate(OFFSETS):
        for voxel in np.ndindex(labels.shape):
            assert (affinities[c][voxel], valid[c][voxel]) == _brute(labels, offset, voxel)


@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("transpose", [False, True])
def test_direction_after_flips_and_transposition(flips: tuple[bool, bool, bool], transpose: bool) -> None:
    """Affinities of turned labels are the turned affinities of the turned step, stored at the right end."""
    labels = np.random.default_rng(1).integers(0, 3, (4, 5, 6))

    def turned(array: np.ndarray) -> np.ndarray:
        array = np.flip(array, [a for a in range(3) if flips[a]])
        return array.transpose(0, 2, 1) if transpose else array

    for offset in OFFSETS:
        there = transformed_offset(offset, flips, transpose=transpose)
        straight, inside = affinities_from_labels(labels, (offset,))
        direct, valid = affinities_from_labels(np.ascontiguousarray(turned(labels)), (there,))
        assert np.array_equal(turned(straight[0]), direct[0])
        assert np.array_equal(turned(inside[0]), valid[0])


def test_reanchoring_moves_an_edge_to_its_other_end() -> None:
    labels = np.random.default_rng(2).integers(0, 3, (4, 5, 6))
    for offset in OFFSETS:
        opposite = (-offset[0], -offset[1], -offset[2])
        (forward,), _ = affinities_from_labels(labels, (offset,))
        (backward,), _ = affinities_from_labels(labels, (opposite,))
        assert np.array_equal(reanchored(forward, offset), backward)


def test_foreign_conventions_are_converted_both_ways() -> None:
    labels = np.random.default_rng(3).integers(0, 3, (4, 5, 6))
    positive = tuple((-z, -y, -x) for z, y, x in NEAREST)
    ours, _ = affinities_from_labels(labels, NEAREST)
    theirs, _ = affinities_from_labels(labels, positive)
    assert np.array_equal(with_offsets(theirs, positive, NEAREST), ours)
    assert np.array_equal(with_offsets(ours, NEAREST, positive), theirs)
    assert np.array_equal(with_offsets(ours[::-1], NEAREST[::-1], NEAREST), ours)
    assert np.array_equal(from_inverse(from_inverse(ours.astype(np.float32))), ours)
    assert from_inverse(np.array([0, 255], np.uint8)).tolist() == [255, 0]
    with pytest.raises(InputError, match="a channel for the step"):
        with_offsets(ours, NEAREST, ((-5, 0, 0),))


@pytest.mark.parametrize("bad", [[(0, 0, 0)], [(1, 2)], [(0.5, 0, 0)], [(1, 0, 0), (1, 0, 0)]])
def test_impossible_steps_are_refused(bad: list[tuple[float, ...]]) -> None:
    with pytest.raises(InputError, match="affinity offset"):
        as_offsets(bad)  # type: ignore[arg-type]


def test_channels_and_steps_must_agree() -> None:
    volume = Volume(np.zeros((2, 3, 3, 3), np.uint8), (8, 8, 8), axes="czyx", kind="affinities")
    assert len(Affinities(volume, NEAREST[:2]).offsets) == 2
    with pytest.raises(InputError, match="one offset for each channel"):
        Affinities(volume, NEAREST)
