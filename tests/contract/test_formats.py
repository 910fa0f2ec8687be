"""Every format of the table, held to one contract: it round-trips, crops like numpy, and fails clearly."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from neuropil.errors import NeuropilError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.registry import FORMATS
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)
OFFSET = (80.0, 8.0, 12.0)
RNG = np.random.default_rng(0)
#: Where each format writes; a format without an entry here fails the first test.
PLACES = {"zarr": "a.zarr", "n5": "a.n5:volumes/data", "hdf5": "a.h5:volumes/data", "tiff": "a.tif", "images": "a/"} | {
    "vaa3d": "a.v3draw",
    "precomputed": "a.precomputed",
}
FORMAT_NAMES = list(FORMATS)
#: Formats that are read only; what is read was written by another program.
FOREIGN = ("n5",)
WRITTEN = [name for name in FORMAT_NAMES if name not in FOREIGN]


def image(dtype="uint8") -> Volume:
    data = RNG.integers(0, 255, (9, 33, 41)).astype(dtype)
    return Volume(data, NM, OFFSET, kind="image", attrs={"note": "hello"})


def saved(volume: Volume, name: str, folder: Path) -> str:
    url = f"{folder}/{PLACES[name]}"
    if name == "n5":
        write_n5(volume, Path(url.replace(":", "/")))
    else:
        save_volume(volume, url)
    return url


def write_n5(volume: Volume, folder: Path) -> None:
    """As N5 wants it, with the fastest axis first in all but `offsets`."""
    data = volume.numpy().T
    attributes = volume.attributes()
    metadata = {
        "dimensions": data.shape,
        "blockSize": [min(16, n) for n in data.shape],
        "dataType": data.dtype.name,
        "compression": {"type": "zstd", "level": 3},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(folder)}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(data).result()
    stored = json.loads((folder / "attributes.json").read_text()) | attributes
    stored |= {key: attributes[key][::-1] for key in ("resolution", "offset", "axes")}
    (folder / "attributes.json").write_text(json.dumps(stored))


def files_of(folder: Path) -> list[Path]:
    return [Path(root) / f for root, _, files in os.walk(folder) for f in files]


def test_every_format_has_a_place() -> None:
    assert set(PLACES) == set(FORMATS)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_round_trip_keeps_values_and_metadata(tmp_path, name, dtype) -> None:
    volume = image(dtype)
    again = open_volume(saved(volume, name, tmp_path))
    np.testing.assert_array_equal(again.numpy(), volume.numpy())
    assert again.dtype == volume.dtype
    assert again.attributes() == volume.attributes()
    assert again.box == volume.box
    assert again.layout["chunk"]


@pytest.mark.parametrize("name", sorted(set(FORMAT_NAMES) - {"images", "vaa3d", "precomputed"}))
@pytest.mark.parametrize("kind", ["labels", "affinities", "image"])
def test_wide_types_and_channels_round_trip(tmp_path, name, kind) -> None:
    if kind == "labels":
        volume = Volume(RNG.integers(2**63, 2**64 - 1, (5, 17, 19), dtype=np.uint64), NM, kind="labels")
    elif kind == "affinities":
        data = RNG.random((3, 5, 17, 19)).astype(np.float32)
        offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
        volume = Volume(data, NM, axes="czyx", kind="affinities", attrs={"offsets": offsets})
    else:
        volume = Volume(RNG.random((5, 17, 19)), NM, kind="image")
    again = open_volume(saved(volume, name, tmp_path))
    np.testing.assert_array_equal(again.numpy(), volume.numpy())
    assert again.attributes() == volume.attributes()


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_crop_is_the_numpy_slice(tmp_path, name) -> None:
    volume = image()
    again = open_volume(saved(volume, name, tmp_path))
    data = volume.numpy()
    z, y, x = volume.box.start
    for low, high in [
        ((0, 0, 0), (9, 33, 41)),
        ((2, 5, 7), (3, 6, 8)),
        ((1, 0, 30), (9, 33, 41)),
        ((4, 4, 4), (4, 9, 9)),
    ]:
        box = Box(low, high, NM).shifted((z, y, x))
        expected = data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        np.testing.assert_array_equal(again.read(box), expected)
        np.testing.assert_array_equal(again.crop(box).numpy(), expected)
    with pytest.raises(NeuropilError, match="inside"):
        again.read(again.box.grown((0, 0, 1)))


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_reading_gives_arrays_of_ones_own(tmp_path, name) -> None:
    again = open_volume(saved(image(), name, tmp_path))
    first = again.numpy()
    first[:] = 0
    assert again.numpy().any()


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_opened_volumes_are_read_only(tmp_path, name) -> None:
    again = open_volume(saved(image(), name, tmp_path))
    assert not again.writable
    with pytest.raises(VolumeError, match="reading only"):
        again.write(again.box, again.numpy())


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_pickled_volume_reads_the_same(tmp_path, name) -> None:
    again = open_volume(saved(image(), name, tmp_path))
    expected = again.numpy()
    small = pickle.dumps(again)
    assert len(small) < 5000
    np.testing.assert_array_equal(pickle.loads(small).numpy(), expected)
    again.close()
    np.testing.assert_array_equal(again.numpy(), expected)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_missing_is_one_clear_error(tmp_path, name) -> None:
    with pytest.raises(VolumeError, match="does not exist"):
        open_volume(f"{tmp_path}/{PLACES[name]}")


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_lost_after_opening_is_one_clear_error(tmp_path, name) -> None:
    url = saved(image(), name, tmp_path)
    volume = open_volume(url)
    volume.close()
    for entry in tmp_path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    again = pickle.loads(pickle.dumps(volume))
    with pytest.raises(VolumeError, match="a"):
        again.numpy()


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_truncated_is_one_clear_error(tmp_path, name, share) -> None:
    url = saved(image(), name, tmp_path)
    # the pyramid of a Zarr is not part of what is read here
    biggest = max((f for f in files_of(tmp_path) if "/s1/" not in str(f)), key=lambda f: f.stat().st_size)
    raw = biggest.read_bytes()
    biggest.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(VolumeError) as caught:
        open_volume(url).numpy()
    assert str(tmp_path) in str(caught.value)
    assert caught.value.fix or caught.value.expected


@pytest.mark.parametrize("name", WRITTEN)
def test_a_place_that_is_taken_is_left_alone(tmp_path, name) -> None:
    url = saved(image(), name, tmp_path)
    before = {f: f.read_bytes() for f in files_of(tmp_path)}
    with pytest.raises(VolumeError, match="already"):
        save_volume(image(), url)
    assert {f: f.read_bytes() for f in files_of(tmp_path)} == before


class Interrupted:
    """An array whose reading is interrupted in the last section."""

    shape, dtype = (9, 33, 41), np.dtype(np.uint8)

    def __getitem__(self, key):
        if key[0].stop == 9:
            raise KeyboardInterrupt
        return np.zeros(tuple(k.stop - k.start for k in key), np.uint8)


@pytest.mark.parametrize("name", WRITTEN)
def test_interrupted_writing_leaves_nothing_that_opens(tmp_path, name) -> None:
    with pytest.raises(KeyboardInterrupt):
        saved(Volume(Interrupted(), NM), name, tmp_path)
    with pytest.raises(NeuropilError):
        open_volume(f"{tmp_path}/{PLACES[name]}")
    saved(image(), name, tmp_path)
    assert open_volume(f"{tmp_path}/{PLACES[name]}").numpy().any()


@pytest.mark.parametrize("name", FOREIGN)
def test_read_only_formats_say_where_to_write(tmp_path, name) -> None:
    with pytest.raises(VolumeError, match=r"a\.zarr"):
        save_volume(image(), f"{tmp_path}/{PLACES[name]}")
    assert not list(tmp_path.iterdir())


def test_ending_that_names_no_format(tmp_path) -> None:
    with pytest.raises(VolumeError, match="names no format"):
        save_volume(image(), f"{tmp_path}/a.doc")
