from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from neuropil.tracing.enhance import blurred, halo, sigmas_nm, strongest


def test_smoothing_keeps_sums_and_widths() -> None:
    image = np.zeros((31, 31, 31), np.float32)
    image[15, 15, 15] = 1
    out = blurred(image, 2.0, (1.0, 1.0, 2.0))
    assert out.sum() == pytest.approx(1, abs=1e-4)
    at = np.indices(image.shape) - 15
    for axis, wanted in enumerate((2.0, 2.0, 1.0)):
        # a voxel is averaged over its extent, which adds 1/12; the tails beyond three sigma are missing
        assert np.sqrt((out * at[axis] ** 2).sum()) == pytest.approx(np.sqrt(wanted**2 + 1 / 12), rel=0.04)


def test_smoothing_is_close_to_a_gaussian() -> None:
    image = np.random.default_rng(0).random((12, 14, 16)).astype(np.float32)
    theirs = gaussian_filter(image, 1.5, mode="nearest", truncate=3)
    assert np.abs(blurred(image, 1.5, (1, 1, 1)) - theirs).max() < 0.01


def _tube(radius: float, axis: int, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    at = (np.indices((40, 40, 40)) - 20) * np.reshape(spacing, (3, 1, 1, 1))
    others = [a for a in range(3) if a != axis]
    return 100 / (1 + np.exp(np.minimum(50, 4 * (np.hypot(at[others[0]], at[others[1]]) - radius)))).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tube_answers_in_its_middle_whatever_its_direction(axis) -> None:
    sigmas = sigmas_nm((1.0, 2.0, 4.0), 1.0)
    best, _ = strongest(_tube(2.0, axis), sigmas, [1.0] * 3, (1, 1, 1), least=0.0)
    assert np.unravel_index(best[8:-8, 8:-8, 8:-8].argmax(), (24, 24, 24))[(axis + 1) % 3] == 12
    assert best[20, 20, 20] == pytest.approx(
        strongest(_tube(2.0, 0), sigmas, [1.0] * 3, (1, 1, 1), least=0.0)[0][20, 20, 20], rel=1e-4
    )


def test_the_scale_that_fits_answers_most() -> None:
    answers = {
        radius: [
            strongest(_tube(radius, 2), sigmas_nm((r,), 1.0), [1.0], (1, 1, 1), least=0.0)[0][20, 20, 20]
            for r in (1.0, 2.0, 4.0)
        ]
        for radius in (1.0, 4.0)
    }
    assert np.argmax(answers[1.0]) == 0
    assert np.argmax(answers[4.0]) == 2


def test_plates_and_dark_tubes_do_not_answer() -> None:
    sigmas = sigmas_nm((2.0,), 1.0)
    plate = np.zeros((40, 40, 40), np.float32)
    plate[18:22] = 100
    tube = strongest(_tube(2.0, 2), sigmas, [1.0], (1, 1, 1), least=0.0)[0][20, 20, 20]
    inner = (slice(8, -8),) * 3
    assert strongest(plate, sigmas, [1.0], (1, 1, 1), least=0.0)[0][inner].max() < 0.02 * tube
    dark, _ = strongest(100 - _tube(2.0, 2), sigmas, [1.0], (1, 1, 1), least=0.0)
    assert dark[20, 20, 20] == 0


def test_a_tile_with_its_rim_gets_the_values_of_the_whole() -> None:
    image = np.random.default_rng(1).random((44, 40, 46)).astype(np.float32)
    sigmas, spacing = sigmas_nm((1.0, 2.0), 1.0), (2.0, 1.0, 1.0)
    whole, _ = strongest(image, sigmas, [1.0, 1.0], spacing, least=0.0)
    z, y, x = halo(sigmas, spacing)
    part, _ = strongest(
        image[20 - z : 26 + z, 18 - y : 24 + y, 20 - x : 26 + x], sigmas, [1.0, 1.0], spacing, least=0.0
    )
    assert np.array_equal(part[z:-z, y:-y, x:-x], whole[20:26, 18:24, 20:26])


def test_a_floor_spares_work_only_below_it() -> None:
    image = np.random.default_rng(2).random((12, 14, 16)).astype(np.float32)
    sigmas = sigmas_nm((1.0, 2.0), 1.0)
    exact, _ = strongest(image, sigmas, [0.1, 0.2], (1, 1, 1), least=0.0)
    quick, _ = strongest(image, sigmas, [0.1, 0.2], (1, 1, 1), least=0.5)
    high = exact >= 0.5
    assert 0 < high.mean() < 0.7
    assert np.array_equal(quick[high], exact[high])
    assert (quick[~high] <= exact[~high]).all()
