"""Cells of a pyramid: equal, never overlapping, and where they say they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuropil.pretrain.tokens import ChannelTokens, PlaceTokens, cells_along, layout_of_places, pooled


@given(st.integers(1, 200), st.integers(1, 16))
def test_cells_fit_and_leave_little_over(extent: int, most: int) -> None:
    count, size = cells_along(extent, most)
    assert 1 <= count <= most
    assert count * size <= extent
    if extent % most == 0:
        assert (count, size) == (most, extent // most)
    left = [extent % n for n in range(most // 2 + 1, most + 1)]
    assert extent - count * size == (0 if extent <= most else min(left))


def test_a_cell_is_the_mean_of_its_voxels_and_lies_where_it_says() -> None:
    """Grey values are the place itself, so the mean of a cell is its centre."""
    shape, stride = (9, 20, 17), (1, 2, 4)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).astype(np.float32)
    centres = (torch.from_numpy(voxels) + 0.5) * torch.tensor(stride)[:, None, None, None]
    means = pooled(centres[None], (4, 8, 8)).flatten(2)[0].T
    layout = layout_of_places([shape], [stride], (4, 8, 8))
    assert layout.places_T3 is not None
    assert layout.cells_T3 is not None
    torch.testing.assert_close(means, layout.places_T3)
    # 9 → 4 or 3 cells: three of three leave nothing over; 20 → five of four; 17 → eight of two
    assert layout.cells_T3[0].tolist() == [3, 8, 8]
    assert len(means) == 3 * 5 * 8


def test_tokens_of_a_level_lose_what_all_crops_share_at_a_place() -> None:
    torch.manual_seed(0)
    maps = [(torch.rand(3, 5, 4, 8, 8), (4, 4, 4)), (torch.rand(3, 2, 8, 16, 16), (2, 2, 2))]
    tokens = PlaceTokens([5, 2], 16, (4, 8, 8), centre=True)
    shifted = [(m + 7 * torch.rand(1, *m.shape[1:]), stride) for m, stride in maps]
    a, b = tokens(maps), tokens(shifted)
    assert a.shape == (3, 2 * 256, 16)
    torch.testing.assert_close(a, b, atol=2e-3, rtol=0)
    torch.testing.assert_close(a.norm(dim=-1), torch.full((3, 512), 4.0))
    plain = PlaceTokens([5, 2], 16, (4, 8, 8), centre=False)
    assert not torch.allclose(plain(maps), plain(shifted), atol=0.1)


def test_a_place_in_both_views_has_the_same_number() -> None:
    """A bright voxel moves the token of its own cell and of no other, on each level."""
    tokens = PlaceTokens([1, 1], 4, (4, 8, 8), centre=False)
    torch.manual_seed(1)
    maps = [(torch.rand(1, 1, 4, 8, 8), (4, 4, 4)), (torch.rand(1, 1, 16, 32, 32), (1, 1, 1))]
    bright = [(m.clone(), stride) for m, stride in maps]
    bright[1][0][0, 0, 9, 3, 30] += 5
    moved = (tokens(maps) != tokens(bright)).any(-1)[0].nonzero().flatten().tolist()
    assert moved == [256 + (9 // 4) * 64 + (3 // 4) * 8 + 30 // 4]
    layout = tokens.layout(maps)
    assert layout.places_T3 is not None
    assert layout.places_T3[moved[0]].tolist() == [10, 2, 30]


def test_a_channel_is_a_token() -> None:
    maps = [(torch.rand(2, 5, 4, 4, 4), (4, 4, 4)), (torch.rand(2, 3, 16, 16, 16), (1, 1, 1))]
    tokens = ChannelTokens((8, 8, 8))
    found = tokens(maps)
    assert found.shape == (2, 8, 512)
    expected = maps[1][0][1, 2].reshape(8, 2, 8, 2, 8, 2).mean((1, 3, 5)).flatten()
    torch.testing.assert_close(found[1, 7], expected)
    assert tokens.layout(maps).level_T.tolist() == [0] * 5 + [1] * 3
    assert tokens.layout(maps).places_T3 is None


def test_tokens_want_one_matrix_for_each_level() -> None:
    with pytest.raises(ValueError, match="zip"):
        PlaceTokens([5], 8, (2, 2, 2), centre=False)([(torch.rand(1, 5, 4, 4, 4), (1, 1, 1))] * 2)
