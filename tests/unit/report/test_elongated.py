from __future__ import annotations

import base64
import re
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from neuropil.report import Look, ReportData, write_report
from neuropil.report.images import data_uri, factors_for
from neuropil.report.solid import Solid, turntable

FEW = Look(sections=3, worst=2, neurons=2, turns=2, solid_pixels=48, solid_side=48)


@pytest.mark.parametrize("shape", [(200, 40, 40), (24, 24, 200)])
def test_elongated_volumes_fit_into_a_page(shape: tuple[int, int, int], tmp_path: Path) -> None:
    labels = np.ones(shape, np.uint64)
    labels[:, shape[1] // 2 :] = 2
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    data = ReportData(title="tall", image=image, truth=labels, segmentation=labels, voxel_size=(8.0, 8.0, 8.0))
    assert write_report(data, tmp_path / "tall.html").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("shape", "nm"),
    [((6000, 8, 8), 8.0), ((8, 8, 6000), 8.0), ((8, 6000, 8), 8.0), ((3, 600, 600), 40.0), ((300, 8, 8), 4000.0)],
)
def test_long_thin_volumes_fit_into_a_page(shape: tuple[int, int, int], nm: float, tmp_path: Path) -> None:
    truth, pred = np.ones(shape, np.uint8), np.ones(shape, np.uint8)
    truth[:, shape[1] // 2 :], pred[..., shape[2] // 2 :] = 2, 2
    data = ReportData(title="long", truth=truth, segmentation=pred, voxel_size=(nm, 8.0, 8.0))
    page = write_report(data, tmp_path / "long.html", look=FEW).read_text()
    for source in re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page):
        assert max(imagecodecs.webp_decode(base64.b64decode(source)).shape) <= 16000


@pytest.mark.parametrize("shape", [(256, 8), (8, 512), (512, 8), (20000, 8), (3, 16383)])
@pytest.mark.parametrize("pixel", [(8.0, 8.0), (4000.0, 4.0), (4.0, 4000.0)])
def test_no_side_is_enlarged_beyond_what_webp_holds(shape: tuple[int, int], pixel: tuple[float, float]) -> None:
    factors = factors_for(shape, pixel, 4000)
    assert min(factors) >= 1
    assert all(f == 1 or f * n <= 16000 for f, n in zip(factors, shape, strict=True))


def test_pictures_beyond_what_webp_holds_are_drawn_more_coarsely() -> None:
    source = data_uri(np.zeros((40000, 3), np.uint8), 90).partition(",")[2]
    assert imagecodecs.webp_decode(base64.b64decode(source)).shape[:2] == (13334, 1)


def test_views_of_tall_volumes_are_at_most_twice_as_high_as_others_are_wide() -> None:
    shape = (120, 4, 4)
    body = Solid(np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros((30, 1, 1), np.bool_))
    (view,) = turntable(body, np.zeros((1, 3), np.uint8), 96, 1)
    assert view.shape[0] <= 2.1 * 96
