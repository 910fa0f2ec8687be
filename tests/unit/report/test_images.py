"""Pictures as data URIs, in true proportions."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import pytest

from neuropil.report.images import data_uri, enlarged, factors_for, figure, scale_bar, voxel_text


def decoded(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(imagecodecs.webp_decode(base64.b64decode(body)))


def test_quality_100_is_lossless_with_transparency():
    picture = np.random.default_rng(1).integers(0, 255, (9, 13, 4), dtype=np.uint8)
    picture[..., 3] |= 1  # colours under full transparency may be dropped
    assert np.array_equal(decoded(data_uri(picture, 100)), picture)


def test_lower_quality_is_smaller_and_close():
    picture = np.random.default_rng(1).normal(120, 12, (128, 128)).clip(0, 255).astype(np.uint8)
    small, large = data_uri(picture, 60), data_uri(picture, 100)
    assert len(small) < 0.6 * len(large)
    assert abs(float(decoded(small)[..., 0].mean()) - float(picture.mean())) < 3


def test_enlarging_keeps_voxels_whole():
    assert enlarged(np.array([[1, 2]]), (2, 3)).tolist() == [[1, 1, 1, 2, 2, 2]] * 2


@pytest.mark.parametrize(
    ("shape", "pixel", "width", "factors"),
    [((250, 250), (8, 8), 500, (2, 2)), ((20, 512), (50, 4), 512, (12, 1)), ((900, 900), (8, 8), 500, (1, 1))],
)
def test_factors_keep_proportions(shape, pixel, width, factors):
    assert factors_for(shape, pixel, width) == factors


@pytest.mark.parametrize(
    ("width", "length", "text"), [(2000, 500, "500 nm"), (8000, 2000, "2 µm"), (130, 20, "20 nm"), (40, 10, "10 nm")]
)
def test_scale_bar_is_round_and_at_most_a_quarter(width, length, text):
    assert scale_bar(width) == (pytest.approx(length), text)


def test_figure_has_the_true_aspect():
    made = figure(np.zeros((10, 10), np.uint8), (1000.0, 2000.0), "words", quality=80)
    assert (made.aspect, made.bar_percent, made.bar_text) == (2.0, 25.0, "500 nm")


def test_voxel_text():
    assert voxel_text((50.0, 4.0, 4.6)) == "50 × 4 × 4.6 nm"
