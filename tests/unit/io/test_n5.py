"""N5: what tensorstore writes in N5's order is read slowest axis first, attributes included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)
BROKEN = (
    "",
    "{",
    "[1]",
    '{"dimensions": [5, 7, 9]}',
    '{"dimensions": 5, "dataType": "uint8"}',
    '{"dimensions": [5, 7, 9], "blockSize": [4, 4, 4], "dataType": "uint8", "compression": "gzip"}',
    '{"dimensions": [5, 7, 9], "blockSize": [4, 4, 4], "dataType": "text", "compression": {"type": "gzip"}}',
)
RAW_ZYX = np.random.default_rng(0).integers(0, 255, (5, 7, 9), dtype=np.uint8)


def n5(folder: Path, data_fastest_first: np.ndarray, **attributes: Any) -> Path:
    """Write an array as tensorstore does: `dimensions` are the axes of the array as given."""
    metadata = {
        "dimensions": list(data_fastest_first.shape),
        "blockSize": [min(4, n) for n in data_fastest_first.shape],
        "dataType": data_fastest_first.dtype.name,
        "compression": {"type": "gzip"},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(folder)}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(data_fastest_first).result()
    meta = folder / "attributes.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | attributes))
    return folder


def test_x_y_z_become_z_y_x(tmp_path) -> None:
    n5(tmp_path / "a.n5/raw", RAW_ZYX.T, resolution=[4, 5, 40], offset=[8, 10, 80], note="hello")
    assert json.loads((tmp_path / "a.n5/raw/attributes.json").read_text())["dimensions"] == [9, 7, 5]
    volume = open_volume(f"{tmp_path}/a.n5:raw")
    np.testing.assert_array_equal(volume.numpy(), RAW_ZYX)
    assert (volume.voxel_size, volume.offset, volume.box.start) == ((40, 5, 4), (80, 10, 8), (2, 2, 2))
    assert (volume.axes, volume.dtype, volume.attrs) == ("zyx", np.uint8, {"note": "hello"})
    assert volume.layout == {"format": "n5", "chunk": (4, 4, 4), "codec": "gzip"}
    box = Box((3, 4, 3), (5, 5, 7), (40, 5, 4))
    np.testing.assert_array_equal(volume.read(box), RAW_ZYX[1:3, 2:3, 1:5])


@pytest.mark.parametrize("axes", [["x", "y", "z"], "xyz", ["X", "Y", "Z"]])
def test_stated_axes_in_the_order_of_n5(tmp_path, axes) -> None:
    n5(tmp_path / "a.n5", RAW_ZYX.T, resolution=[4, 5, 40], axes=axes)
    volume = open_volume(tmp_path / "a.n5")
    assert (volume.voxel_size, volume.shape) == ((40, 5, 4), (5, 7, 9))
    np.testing.assert_array_equal(volume.numpy(), RAW_ZYX)


@pytest.mark.parametrize("axes", [["z", "y", "x"], "zyx"])
def test_stated_axes_in_the_order_of_python(tmp_path, axes) -> None:
    # z5py and zarr-python write the same blocks, with attributes slowest first
    n5(tmp_path / "a.n5", RAW_ZYX.T, resolution=[40, 5, 4], offset=[80, 10, 8], axes=axes)
    volume = open_volume(tmp_path / "a.n5")
    assert (volume.voxel_size, volume.offset) == ((40, 5, 4), (80, 10, 8))
    np.testing.assert_array_equal(volume.numpy(), RAW_ZYX)


def test_another_order_of_space(tmp_path) -> None:
    n5(tmp_path / "a.n5", RAW_ZYX.transpose(2, 0, 1), resolution=[4, 40, 5], axes=["x", "z", "y"])
    volume = open_volume(tmp_path / "a.n5")
    assert volume.voxel_size == (40, 5, 4)
    np.testing.assert_array_equal(volume.numpy(), RAW_ZYX)


def test_channels_and_offsets_of_affinities(tmp_path) -> None:
    data = np.stack([RAW_ZYX, 255 - RAW_ZYX])
    steps = [[-1, 0, 0], [0, -1, 0]]
    n5(tmp_path / "a.n5/affs", data.T, resolution=[4, 5, 40], axes="xyzc", offsets=steps)
    volume = open_volume(f"{tmp_path}/a.n5:affs")
    assert (volume.kind, volume.axes, volume.voxel_size) == ("affinities", "czyx", (40, 5, 4))
    assert volume.attrs["offsets"] == steps
    np.testing.assert_array_equal(volume.numpy(), data)


@pytest.mark.parametrize(
    ("attributes", "voxel"),
    [
        ({"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}}, (40, 5, 4)),
        ({"pixelResolution": {"dimensions": [0.004, 0.005, 0.04], "unit": "um"}}, (40, 5, 4)),
        ({"resolution": [0.004, 0.005, 0.04], "units": ["um", "um", "um"]}, (40, 5, 4)),
        ({"resolution": [4, 5, 40], "pixelResolution": {"dimensions": [1, 1, 1], "unit": "nm"}}, (40, 5, 4)),
    ],
)
def test_units(tmp_path, attributes, voxel) -> None:
    assert open_volume(n5(tmp_path / "a.n5", RAW_ZYX.T, **attributes)).voxel_size == pytest.approx(voxel)


def test_pixels_without_a_unit_of_length_say_nothing(tmp_path) -> None:
    path = n5(tmp_path / "a.n5", RAW_ZYX.T, pixelResolution={"dimensions": [1, 1, 1], "unit": "pixel"})
    with pytest.raises(
        GeometryError, match=r"voxel size \(shape \(5, 7, 9\), axes zyx, type uint8, chunks \(4, 4, 4\)"
    ):
        open_volume(path)


def test_datasets_are_found_and_listed(tmp_path) -> None:
    n5(tmp_path / "a.n5/volumes/raw", RAW_ZYX.T, resolution=[4, 5, 40])
    assert open_volume(tmp_path / "a.n5").shape == (5, 7, 9)
    assert open_volume(f"{tmp_path}/a.n5:volumes").name == f"{tmp_path}/a.n5:volumes/raw"
    n5(tmp_path / "a.n5/volumes/labels", RAW_ZYX.T.astype(np.uint64))
    for inner, got in (("", "holds 2 datasets"), (":volumes", "no dataset 'volumes'"), (":rwa", "no dataset 'rwa'")):
        with pytest.raises(VolumeError, match=got) as caught:
            open_volume(f"{tmp_path}/a.n5{inner}")
        lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
        assert "volumes/raw (5, 7, 9) uint8 40 x 5 x 4 nm" in lines
        assert "volumes/labels (5, 7, 9) uint64 no voxel size stated" in lines


@pytest.mark.parametrize("text", BROKEN)
def test_broken_metadata_is_one_clear_error(tmp_path, text) -> None:
    path = n5(tmp_path / "a.n5", RAW_ZYX.T, resolution=[4, 5, 40])
    (path / "attributes.json").write_text(text)
    with pytest.raises(VolumeError, match=r"a\.n5"):
        open_volume(path)


def test_n5_is_not_written(tmp_path) -> None:
    with pytest.raises(VolumeError, match=r"a\.zarr"):
        save_volume(Volume(RAW_ZYX, NM), tmp_path / "a.n5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("attributes", "voxel"),
    [
        ({"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}}, (40, 10, 16)),
        ({"pixelResolution": {"dimensions": [0.004, 0.005, 0.04], "unit": "um"}}, (40, 10, 16)),
        ({"resolution": [4, 5, 40]}, (40, 10, 16)),
        ({"resolution": [4, 40, 5], "axes": "xzy", "downsamplingFactors": [4, 1, 2]}, (40, 10, 16)),
        ({"resolution": [40, 5, 4], "axes": "zyx", "downsamplingFactors": [1, 2, 4]}, (40, 10, 16)),
        ({"resolution": [4, 5, 40], "downsamplingFactors": [[1, 1, 1], [2, 2, 2]]}, (40, 5, 4)),
        ({"resolution": [4, 5, 40], "downsamplingFactors": [2, 2]}, (40, 5, 4)),
        ({"resolution": [4, 5, 40], "downsamplingFactors": [0, 1, 1]}, (40, 5, 4)),
    ],
)
def test_factors_of_coarser_levels_multiply(tmp_path, attributes, voxel) -> None:
    attributes = {"downsamplingFactors": [4, 2, 1], **attributes}
    data = RAW_ZYX.transpose(2, 0, 1) if attributes.get("axes") == "xzy" else RAW_ZYX.T
    volume = open_volume(n5(tmp_path / "a.n5", data, **attributes))
    assert volume.voxel_size == pytest.approx(voxel)
    assert "downsamplingFactors" not in volume.attrs


def test_factors_with_channels(tmp_path) -> None:
    data = np.stack([RAW_ZYX, RAW_ZYX])
    pixel = {"dimensions": [4, 5, 40, 1], "unit": "nm"}
    path = n5(tmp_path / "a.n5", data.T, pixelResolution=pixel, downsamplingFactors=[4, 2, 1, 1], axes="xyzc")
    assert open_volume(path).voxel_size == (40, 10, 16)
