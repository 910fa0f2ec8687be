"""Targets against closed forms and a brute-force histogram."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from neuropil.config.pretrain import TargetConfig
from neuropil.errors import GeometryError, InputError
from neuropil.pretrain.targets import (
    Balance,
    edge_density,
    from_patches,
    grid_of,
    hog,
    masked_loss,
    patch_moments,
    patches,
    standardised,
    taken,
)

CONFIG = TargetConfig()
#: Floors so low that what they guard against does not blur a closed form.
BARE = TargetConfig(gradient_floor=1e-9, variance_floor=1e-12)


def _image(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_patches_come_in_c_order_over_grid_and_patch() -> None:
    x = torch.arange(2 * 4 * 6 * 8).reshape(2, 1, 4, 6, 8).float()
    got = patches(x, (2, 3, 4))
    n = 0
    for z in range(0, 4, 2):
        for y in range(0, 6, 3):
            for i in range(0, 8, 4):
                assert torch.equal(got[:, n], x[:, 0, z : z + 2, y : y + 3, i : i + 4].flatten(1))
                n += 1
    assert got.shape == (2, n, 24)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_undone(channels: int) -> None:
    x = _image((2, channels, 4, 6, 8))
    assert torch.equal(from_patches(patches(x, (2, 3, 4)), (2, 2, 2), (2, 3, 4)), x)


def test_crops_that_are_no_whole_number_of_patches() -> None:
    with pytest.raises(GeometryError, match="whole number of patches"):
        patches(_image((1, 1, 4, 6, 9)), (2, 3, 4))
    with pytest.raises(GeometryError, match="whole number"):
        grid_of((4, 6, 0), (2, 3, 4))
    with pytest.raises(GeometryError, match="expected: 8 patches"):
        from_patches(torch.zeros(1, 7, 24), (2, 2, 2), (2, 3, 4))


def test_standardised_patches_have_mean_zero_and_variance_one() -> None:
    x = patches(_image((2, 1, 4, 16, 16)) * 0.3 + 0.2, (4, 8, 8))
    out = standardised(x, 1e-12)
    assert torch.allclose(out.mean(-1), torch.zeros(2, 4), atol=1e-5)
    assert torch.allclose(out.var(-1, correction=0), torch.ones(2, 4), atol=1e-4)
    mean, variance = patch_moments(x)
    back = out * variance.sqrt()[..., None] + mean[..., None]
    assert torch.allclose(back, x, atol=1e-5)


def test_flat_patches_are_not_blown_up() -> None:
    flat = torch.full((1, 1, 64), 0.4)
    flat[..., ::2] += 1 / 255  # one step of 8 bits
    assert float(standardised(flat, CONFIG.variance_floor).abs().max()) < 0.25


@pytest.mark.parametrize("degrees", [0, 10, 37, 75, 90, 121, 170])
def test_a_ramp_votes_for_its_own_angle(degrees: float) -> None:
    """A ramp's gradient points one way, so its two nearest bins share all votes in proportion to nearness."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    angle = math.radians(degrees)
    ramp = (0.01 * (x * math.cos(angle) + y * math.sin(angle))).expand(1, 1, 2, 32, 32)
    out = hog(ramp, (2, 16, 16), BARE).reshape(-1, 9)
    expected = torch.zeros(9)
    place = (degrees % 180) / 20 - 0.5
    low = math.floor(place)
    expected[low % 9] += 1 - (place - low)
    expected[(low + 1) % 9] += place - low
    # a block of four equal cells is twice as long as one cell
    assert torch.allclose(out, (expected / (2 * expected.norm())).expand_as(out), atol=2e-4)


def test_a_ramp_and_its_negative_are_one_orientation() -> None:
    x = _image((1, 1, 2, 32, 32))
    assert torch.allclose(hog(x, (2, 16, 16), CONFIG), hog(1 - x, (2, 16, 16), CONFIG), atol=1e-4)


def test_gain_and_offset_do_not_matter() -> None:
    x = _image((1, 1, 2, 32, 32))
    a = hog(x, (2, 16, 16), CONFIG)
    b = hog(0.2 * x + 0.5, (2, 16, 16), CONFIG)
    assert float((a - b).abs().max()) < 0.01 * float(a.max())
    assert float((hog(0 * x + 0.3, (2, 16, 16), CONFIG)).abs().max()) == 0
    # what 8 bits cannot tell from flat stays small
    assert float(hog(0.5 + x * 1e-5, (2, 16, 16), CONFIG).max()) < 0.02


def _slow_hog(section_YX: npt.NDArray[np.float64], cell: tuple[int, int], bins: int) -> npt.NDArray[np.float64]:
    """Cell by cell, voxel by voxel, block by block, (cells y, cells x, bins)."""
    up, along = np.gradient(section_YX)
    rows, columns = section_YX.shape[0] // cell[0], section_YX.shape[1] // cell[1]
    cells = np.zeros((rows, columns, bins))
    for y in range(section_YX.shape[0]):
        for x in range(section_YX.shape[1]):
            magnitude = math.hypot(up[y, x], along[y, x])
            place = (math.atan2(up[y, x], along[y, x]) % math.pi) / math.pi * bins - 0.5
            low = math.floor(place)
            where = cells[y // cell[0], x // cell[1]]
            where[low % bins] += (1 - (place - low)) * magnitude
            where[(low + 1) % bins] += (place - low) * magnitude
    copies: dict[tuple[int, int], list[npt.NDArray[np.float64]]] = {}
    for top in range(rows - 1):
        for left in range(columns - 1):
            length = np.linalg.norm(cells[top : top + 2, left : left + 2])
            for r in (top, top + 1):
                for c in (left, left + 1):
                    copies.setdefault((r, c), []).append(cells[r, c] / length)
    out = np.zeros_like(cells)
    for (r, c), found in copies.items():
        out[r, c] = np.mean(found, axis=0)
    return out


def test_hog_equals_the_slow_histogram_and_lies_where_its_patch_is() -> None:
    x = _image((2, 1, 3, 24, 36), seed=3)
    patch, cell = (3, 12, 12), (6, 6)  # 8 does not divide 12
    got = hog(x, patch, BARE).reshape(2, 6, 3, 2, 2, 9)
    for b in range(2):
        for z in range(3):
            slow = _slow_hog(x[b, 0, z].double().numpy(), cell, 9)
            for n in range(6):
                row, column = divmod(n, 3)
                part = slow[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                np.testing.assert_allclose(got[b, n, z].numpy(), part, atol=1e-4)


def test_hog_of_channels_is_the_hog_of_each() -> None:
    x = _image((1, 2, 1, 16, 16))
    both = hog(x, (1, 8, 8), CONFIG).reshape(1, 4, 1, 1, 2, 9)
    for c in range(2):
        assert torch.equal(both[..., c, :].flatten(2), hog(x[:, c : c + 1], (1, 8, 8), CONFIG))


def test_edge_density_of_steps() -> None:
    x = torch.zeros(1, 1, 8, 16, 16)
    x[..., 8:] = 1.0  # one wall across x
    density = edge_density(x, (8, 8, 4), TargetConfig(edge_clip=100.0))[0].reshape(2, 4)
    assert torch.allclose(density, torch.tensor([[0.0, 2.0, 2.0, 0.0]]).expand(2, 4))
    tilted = x.permute(0, 1, 4, 3, 2).contiguous()  # the same wall across z
    assert torch.allclose(edge_density(tilted, (4, 8, 8), TargetConfig(edge_clip=100.0))[0].reshape(4, 2), density.T), (
        "one axis alone: its weight cancels"
    )
    assert float(edge_density(x, (8, 8, 4), CONFIG).max()) < 2.0, "clipped at five times the mean"
    assert float(edge_density(torch.full_like(x, 0.3), (8, 8, 4), CONFIG).abs().max()) == 0


def test_edges_between_sections_weigh_less() -> None:
    x = torch.zeros(1, 1, 8, 8, 32)
    x[:, :, 4:, :, :8] = 1.0  # a wall across z on the left
    x[..., 26:] = 1.0  # a wall across x on the right
    density = edge_density(x, (8, 8, 4), TargetConfig(edge_clip=1e6))[0]
    # two layers of 8 x 4 voxels have half a step across z, at weight 1/4; two layers of 8 x 8 have half a step across x
    assert math.isclose(float(density[0]), float(density[6]) * 0.25 * (8 * 4) / (8 * 8), rel_tol=1e-5)


def test_loss_is_of_hidden_patches_only_and_reaches_nothing_else() -> None:
    target = _image((2, 5, 3)).requires_grad_()
    masked = torch.tensor([[0, 3], [4, 1]])
    predicted = _image((2, 2, 3), seed=1)
    loss = masked_loss(predicted.bfloat16(), target, masked)
    assert loss.dtype == torch.float32
    for b in range(2):
        for m in range(2):
            truth = ((predicted[b, m].bfloat16().float() - target[b, masked[b, m]]) ** 2).mean()
            assert torch.allclose(loss[b, m], truth)
    loss.sum().backward()
    assert target.grad is not None
    assert {tuple(i) for i in (target.grad.abs().sum(-1) > 0).nonzero().tolist()} == {(0, 0), (0, 3), (1, 4), (1, 1)}
    with pytest.raises(InputError, match="one for each hidden patch"):
        masked_loss(target, target, masked)


def test_taken_picks_rows() -> None:
    x = _image((2, 5))
    assert torch.equal(taken(x, torch.tensor([[4, 0], [1, 1]])), torch.stack([x[0, [4, 0]], x[1, [1, 1]]]))


def test_balance_makes_any_two_losses_equal_and_survives_a_restart() -> None:
    balance = Balance(0.9)
    weights = {"a": 1.0, "b": 2.0}
    assert balance.magnitude("a") == 1.0
    a, b = torch.full((2, 3), 7.0), torch.full((2, 3), 0.02)
    balance.observe({"a": a, "b": b})
    assert torch.allclose(balance.combined({"a": a, "b": b}, weights), torch.full((2, 3), 3.0))
    balance.observe({"a": 2 * a, "b": b})
    # a bias-corrected mean with memory 0.9: (0.9 x 7 + 14) / 1.9
    assert math.isclose(balance.magnitude("a"), (0.9 * 7 + 14) / 1.9, rel_tol=1e-6)
    again = Balance(0.9)
    again.load_state_dict(json.loads(json.dumps(balance.state_dict())))
    balance.observe({"a": a})
    again.observe({"a": a})
    assert again.state_dict() == balance.state_dict()


def test_a_loss_of_zero_is_no_division_by_zero() -> None:
    balance = Balance(0.9)
    zero = torch.zeros(1, 2)
    balance.observe({"a": zero})
    assert torch.equal(balance.combined({"a": zero}, {"a": 1.0}), zero)
