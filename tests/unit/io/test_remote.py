"""Volumes on a server: read as on disk, asked for in ranges, and clear words where the server does not play along."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorstore
from tests.unit.io.webserver import served

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.io.describe import describe
from neuropil.remote import RemotePath, split_remote
from neuropil.volume import Volume, open_volume

NM = (40.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("www")
    data = np.random.default_rng(0).integers(1, 255, (40, 300, 310)).astype(np.uint8)
    save_volume(Volume(data, NM, (80.0, 16.0, 0.0), kind="image"), where / "a.zarr")
    for driver, options in (("zarr", {"chunks": [16, 64, 64]}), ("n5", {"blockSize": [64, 64, 16]})):
        array = data if driver == "zarr" else data.T
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(where / f"plain.{driver}/raw")}}
        kept = {"resolution": NM[:: 1 if driver == "zarr" else -1]}
        extents = {"shape" if driver == "zarr" else "dimensions": array.shape}
        packed = {"dtype": "|u1"} if driver == "zarr" else {"dataType": "uint8", "compression": {"type": "gzip"}}
        spec["metadata"] = {**extents, **options, **packed}
        tensorstore.open(spec, create=True).result().write(array).result()
        told = where / f"plain.{driver}/raw" / (".zattrs" if driver == "zarr" else "attributes.json")
        told.write_text(json.dumps((json.loads(told.read_text()) if told.exists() else {}) | kept))
    return where


def test_zarr_is_read_in_ranges_and_as_on_disk(folder: Path) -> None:
    local = open_volume(folder / "a.zarr")
    with served(folder) as (address, asked):
        volume = open_volume(f"{address}/a.zarr")
        assert (volume.box, volume.kind, volume.attributes()) == (local.box, local.kind, local.attributes())
        box = Box((5, 12, 3), (9, 40, 60), NM)
        np.testing.assert_array_equal(volume.read(box), local.read(box))
        data = [span for path, span in asked if "/c/" in path]
        assert data
        assert all(span and span.startswith("bytes=") for span in data)
        again = pickle.loads(pickle.dumps(volume))
        np.testing.assert_array_equal(again.numpy(), local.numpy())
        assert describe(volume)["values"] == describe(local)["values"]


def test_levels_parts_and_names_are_those_of_files(folder: Path) -> None:
    with served(folder) as (address, _):
        whole = open_volume(f"{address}/a.zarr")
        coarse = open_volume(f"{address}/a.zarr/s1")
        assert coarse.box == open_volume(folder / "a.zarr:s1").box
        assert open_volume(f"{address}/a.zarr:s1").box == coarse.box
        part = open_volume(f"{address}/a.zarr[3:5,:,10:20]")
        np.testing.assert_array_equal(part.numpy(), whole.numpy()[3:5, :, 10:20])
        # runs remember volumes by name
        assert open_volume(coarse.name).box == coarse.box


@pytest.mark.parametrize("driver", ["zarr", "n5"])
def test_other_programs_arrays_need_no_ranges(folder: Path, driver: str) -> None:
    local = open_volume(f"{folder}/plain.{driver}:raw")
    with served(folder, ranges=False) as (address, _):
        volume = open_volume(f"{address}/plain.{driver}/raw")
        assert volume.box == local.box
        np.testing.assert_array_equal(volume.numpy(), local.numpy())


def test_a_shard_that_is_lost_is_no_zeros(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "a.zarr", tmp_path / "a.zarr")
    next(p for p in (tmp_path / "a.zarr/s0/c").rglob("*") if p.is_file()).unlink()
    with served(tmp_path) as (address, _), pytest.raises(VolumeError, match="missing"):
        open_volume(f"{address}/a.zarr").numpy()


def test_a_server_without_ranges_is_told_of(folder: Path) -> None:
    with served(folder, ranges=False) as (address, _), pytest.raises(VolumeError, match="byte range"):
        open_volume(f"{address}/a.zarr").numpy()


def test_a_server_that_is_away_is_said_within_seconds(folder: Path) -> None:
    with served(folder) as (address, _):
        volume = open_volume(f"{address}/a.zarr")
    began = time.monotonic()
    with pytest.raises(VolumeError, match=r"(?s)cannot be read .*check the address"):
        open_volume(f"{address}/a.zarr")
    with pytest.raises(VolumeError, match="reading failed"):
        volume.numpy()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("below", "words"),
    [
        ("/nothing", "no known format that is read over a network"),
        ("/nothing.zarr", "holds no Zarr metadata"),
        ("/plain.n5", "not listed"),
        ("/a.zarr/s9", "no known format"),
        ("/a.zarr[0:900]", "within 0:40"),
    ],
)
def test_what_is_not_there(folder: Path, below: str, words: str) -> None:
    with served(folder) as (address, _), pytest.raises((VolumeError, GeometryError), match=words):
        open_volume(address + below)


def test_names_of_buckets() -> None:
    assert split_remote("s3://bucket/a/x.zarr:s0") == (RemotePath("s3://bucket/a/x.zarr"), "s0")
    assert split_remote("gs://bucket/a/x.n5/raw/") == (RemotePath("gs://bucket/a/x.n5/raw"), "")
    assert split_remote("http://127.0.0.1:80") == (RemotePath("http://127.0.0.1:80"), "")
    assert split_remote("data/x.zarr") is None
    place = RemotePath("https://server/a/x.zarr")
    assert [p.url for p in (place / "s0").parents] == [place.url, "https://server/a", "https://server"]
    assert (place.name, place.suffix) == ("x.zarr", ".zarr")
