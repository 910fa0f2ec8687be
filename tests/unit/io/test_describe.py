"""What `neuropil info` says, counted in blocks, is what numpy says of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuropil.io.describe import _block_shape, describe
from neuropil.io.hdf5 import write_hdf5
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr("neuropil.io.describe._BLOCK_VOXELS", 200)
    monkeypatch.setattr("neuropil.io.describe._MERGE_AT", 10)


def test_image() -> None:
    data = np.random.default_rng(0).integers(3, 250, (9, 20, 30), dtype=np.uint8)
    said = describe(Volume(data, NM, offset=(40, 0, 0), name="raw"))
    assert said["values"] == {"min": data.min(), "max": data.max(), "mean": pytest.approx(data.mean()), "non_finite": 0}
    assert (said["shape"], said["axes"], said["dtype"], said["kind"]) == ([9, 20, 30], "zyx", "uint8", "image")
    assert (said["extent_nm"], said["offset_nm"], said["bytes"]) == ([360, 80, 120], [40, 0, 0], 5400)
    assert (said["looked_at"], said["storage"]) == (1, {"format": "memory"})
    json.dumps(said)


def test_labels() -> None:
    data = np.random.default_rng(0).integers(0, 60, (9, 20, 30)).astype(np.uint64)
    data[0, 0, :5] = 2**64 - 1
    data[0, 1, :5] = 2**64 - 2
    said = describe(Volume(data, NM))["labels"]
    ids, counts = np.unique(data[(data > 0) & (data < 100)], return_counts=True)
    assert said["objects"] == ids.size
    assert said["background_share"] == pytest.approx((data == 0).mean())
    assert said["ignored_share"] == pytest.approx(10 / data.size)
    assert said["size_quantiles"]["0.50"] == np.median(counts)
    assert [o["voxels"] for o in said["largest"]] == sorted(counts, reverse=True)[:5]
    assert all(counts[ids == o["id"]] == o["voxels"] for o in said["largest"])
    json.dumps(said)


def test_empty_labels() -> None:
    said = describe(Volume(np.zeros((2, 3, 4), np.uint32), NM))["labels"]
    assert (said["objects"], said["background_share"], said["largest"]) == (0, 1.0, [])


def test_infinite_values_are_counted_apart() -> None:
    data = np.ones((3, 4, 5), np.float32)
    data[0, 0, :3] = [np.nan, np.inf, -np.inf]
    assert describe(Volume(data, NM))["values"] == {"min": 1, "max": 1, "mean": 1, "non_finite": 3}
    assert describe(Volume(data * np.nan, NM))["values"]["mean"] is None


def test_sample_says_which_share_it_is() -> None:
    said = describe(Volume(np.ones((10, 20, 30), np.uint8), NM), most_voxels=1200)
    assert said["looked_at"] == pytest.approx(0.2)
    assert said["values"]["mean"] == 1


def test_affinities(tmp_path) -> None:
    volume = Volume(np.ones((2, 4, 8, 8), np.uint8), NM, axes="czyx", attrs={"offsets": [[-1, 0, 0], [0, -1, 0]]})
    write_hdf5(tmp_path / "a.h5", {"affs": volume})
    said = describe(open_volume(tmp_path / "a.h5"))
    assert said["attributes"] == {"offsets": [[-1, 0, 0], [0, -1, 0]]}
    assert said["storage"] == {"format": "hdf5", "chunk": [1, 4, 8, 8], "codec": "gzip"}


def test_blocks_follow_the_storage() -> None:
    class Sections:
        shape, dtype, layout = (50, 100, 100), np.dtype("u1"), {"chunk": (1, 100, 100)}

        def __getitem__(self, key):
            return np.zeros(tuple(k.stop - k.start for k in key), np.uint8)

    assert _block_shape(Volume(Sections(), NM)) == (1, 100, 100)
    Sections.layout = {"chunk": (4, 5, 5)}
    assert _block_shape(Volume(Sections(), NM)) == (8, 5, 5)


@pytest.mark.parametrize(("size", "remarked"), [((8, 8, 40), True), ((40, 8, 8), False), ((8, 8, 8), False)])
def test_a_voxel_size_that_seems_to_be_x_y_z_is_remarked_on(size: tuple[float, float, float], remarked: bool) -> None:
    found = describe(Volume(np.ones((4, 6, 8), np.uint8), size, kind="image"))
    assert ("note" in found) == remarked
    if remarked:
        assert "z, y, x" in found["note"]
