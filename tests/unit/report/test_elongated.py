from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuropil.report import ReportData, write_report


@pytest.mark.parametrize("shape", [(200, 40, 40), (24, 24, 200)])
def test_elongated_volumes_fit_into_a_page(shape: tuple[int, int, int], tmp_path: Path) -> None:
    labels = np.ones(shape, np.uint64)
    labels[:, shape[1] // 2 :] = 2
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    data = ReportData(title="tall", image=image, truth=labels, segmentation=labels, voxel_size=(8.0, 8.0, 8.0))
    assert write_report(data, tmp_path / "tall.html").stat().st_size > 20_000
