"""What of a run goes on its page."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from neuropil.pages import _masks_over_time


def test_maps_of_masks_are_as_large_as_the_crop_and_from_all_over_the_run() -> None:
    rows = [{"step": step, "masks": [[step / 100, 0.0, 0.5], [0.0, 1.0, 0.0]]} for step in range(1, 21)]
    run = SimpleNamespace(rows=lambda kind: rows, card={"patch": [2, 4, 8]})
    (strip,) = _masks_over_time(run, (4.0, 4.0))  # type: ignore[arg-type]
    assert [name for name, _ in strip.pictures] == [f"step {n}" for n in (1, 5, 9, 12, 16, 20)]
    for name, picture in strip.pictures:
        assert picture.shape == (2 * 4, 3 * 8)
        np.testing.assert_array_equal(picture[:4, :8], float(name.split()[1]) / 100)
        np.testing.assert_array_equal(picture[4:, 8:16], 1)
    assert _masks_over_time(SimpleNamespace(rows=lambda kind: [{"step": 1}], card={}), (4.0, 4.0)) == []  # type: ignore[arg-type]
