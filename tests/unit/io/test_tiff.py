"""TIFF: voxel sizes that are truly there, axes, lazy pages."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box
from neuropil.io.base import SectionStack
from neuropil.io.tiff import MappedArray
from neuropil.volume import open_volume

RAW = np.random.default_rng(0).integers(0, 255, (6, 30, 40), dtype=np.uint8)
NM = (40.0, 4.0, 4.0)


def test_imagej(tmp_path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        RAW,
        imagej=True,
        resolution=(250, 125),
        metadata={"spacing": 0.04, "unit": "um", "axes": "ZYX"},
    )
    volume = open_volume(tmp_path / "a.tif")
    assert volume.voxel_size == pytest.approx((40, 8, 4))
    np.testing.assert_array_equal(volume.numpy(), RAW)


@pytest.mark.parametrize("said", [{"unit": "pixel", "spacing": 2.0}, {"unit": "um"}, {"spacing": 0.04}])
def test_imagej_without_all_of_it_does_not_know(tmp_path, said) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW, imagej=True, resolution=(250, 250), metadata={**said, "axes": "ZYX"})
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome(tmp_path, compression) -> None:
    said = {
        "axes": "ZYX",
        "PhysicalSizeX": 0.004,
        "PhysicalSizeY": 4.0,
        "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 0.04,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", RAW, metadata=said, compression=compression)
    volume = open_volume(tmp_path / "a.ome.tif")
    assert volume.voxel_size == pytest.approx(NM)
    np.testing.assert_array_equal(volume.numpy(), RAW)


def test_ome_without_z_does_not_know(tmp_path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", RAW, metadata={"axes": "ZYX", "PhysicalSizeX": 0.004, "PhysicalSizeY": 0.004}
    )
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(tmp_path / "a.ome.tif")


def test_channels_between_sections(tmp_path) -> None:
    data = np.random.default_rng(0).integers(0, 255, (5, 2, 30, 40), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "ZCYX"}, compression="zlib")
    volume = open_volume(tmp_path / "a.ome.tif", voxel_size=NM)
    assert (volume.axes, volume.shape) == ("czyx", (2, 5, 30, 40))
    np.testing.assert_array_equal(volume.numpy(), data.swapaxes(0, 1))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_plain_pages_are_sections(tmp_path, compression) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW, metadata=None, compression=compression, resolution=(300, 300))
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_size=NM).numpy(), RAW)


def test_single_page_is_a_stack_of_one(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW[0])
    assert open_volume(tmp_path / "a.tif", voxel_size=NM).shape == (1, 30, 40)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_byte_orders_and_bigtiff(tmp_path, byteorder, bigtiff) -> None:
    data = RAW.astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "a.tif", data, byteorder=byteorder, bigtiff=bigtiff)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_size=NM).numpy(), data)


def test_bigtiff_under_its_own_ending(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tf8", RAW, bigtiff=True, metadata=None, photometric="minisblack")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tf8", voxel_size=NM).numpy(), RAW)


def test_stack_saved_as_time_is_not_guessed(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(GeometryError, match="time series"):
        open_volume(tmp_path / "a.tif", voxel_size=NM)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_size=NM, axes="zyx").numpy(), RAW)


def test_colour_is_refused(tmp_path) -> None:
    colours = np.stack([RAW, RAW, RAW + 1], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    with pytest.raises(VolumeError, match="grey"):
        open_volume(tmp_path / "a.tif", voxel_size=NM)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("opaque", [False, True])
def test_equal_colours_are_grey(tmp_path, compression, opaque) -> None:
    colours = np.stack([RAW] * 3 + [np.full_like(RAW, 255)] * opaque, axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression=compression)
    volume = open_volume(tmp_path / "a.tif", voxel_size=NM)
    assert (volume.axes, volume.dtype) == ("zyx", np.uint8)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).numpy(), RAW)
    box = volume.box.grown((-1, -3, -5))
    np.testing.assert_array_equal(volume.read(box), RAW[box.slices()])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_colour_further_on_is_refused_where_it_is_read(tmp_path, compression) -> None:
    colours = np.stack([RAW] * 3, axis=-1)
    colours[2, 5, 5, 1] += 1
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression=compression)
    with pytest.raises(VolumeError, match="has colours"):
        open_volume(tmp_path / "a.tif", voxel_size=NM).numpy()


def test_one_equal_colour_picture_is_a_section(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RAW[0]] * 3, axis=-1), photometric="rgb")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_size=NM).numpy()[0], RAW[0])


GREY = np.arange(256, dtype=np.uint16) * 257


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("palette", "dtype"), [(GREY[::-1], np.uint8), (GREY // 256 * 256 // 2 + 3, np.uint16)])
def test_a_grey_palette_says_what_its_numbers_mean(tmp_path, palette, dtype, compression) -> None:
    how = {"photometric": "palette", "colormap": np.stack([palette] * 3), "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", RAW, **how)
    volume = open_volume(tmp_path / "a.tif", voxel_size=NM)
    meant = palette[RAW] if dtype == np.uint16 else 255 - RAW
    assert volume.dtype == dtype
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).numpy(), meant)


@pytest.mark.parametrize("tint", [(1, 1, 1), (0, 1, 0), (1, 0.5, 0)], ids=["grey", "green", "orange"])
def test_a_tint_leaves_grey_values_as_they_are(tmp_path, tint) -> None:
    colours = (np.array(tint)[:, None] * GREY).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", RAW, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif", voxel_size=NM).numpy(), RAW)


def test_numbers_of_mixed_colours_are_refused(tmp_path) -> None:
    colours = np.random.default_rng(1).integers(0, 65535, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", RAW, photometric="palette", colormap=colours)
    with pytest.raises(VolumeError, match="palette") as raised:
        open_volume(tmp_path / "a.tif", voxel_size=NM)
    assert "convert('L')" in str(raised.value)


def test_a_short_stack_written_as_colour_is_told_how_to_be_grey(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW[:3], photometric="rgb", planarconfig="separate")
    with pytest.raises(VolumeError, match="minisblack"):
        open_volume(tmp_path / "a.tif", voxel_size=NM)


def test_not_a_tiff(tmp_path) -> None:
    (tmp_path / "a.tif").write_bytes(b"hello, this is no picture")
    with pytest.raises(VolumeError, match="not a TIFF"):
        open_volume(tmp_path / "a.tif", voxel_size=NM)
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(VolumeError, match="not a TIFF"):
        open_volume(tmp_path / "a.tif", voxel_size=NM)


def test_reads_only_the_pages_asked_for(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW, compression="zlib")
    volume = open_volume(tmp_path / "a.tif", voxel_size=NM)
    assert isinstance(volume.array, SectionStack)
    np.testing.assert_array_equal(volume.read(Box((2, 3, 4), (4, 9, 11), NM)), RAW[2:4, 3:9, 4:11])
    assert sorted(volume.array._cache) == [2, 3]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pickled_volume_opens_its_own_handle(tmp_path, compression) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAW, compression=compression)
    volume = open_volume(tmp_path / "a.tif", voxel_size=NM)
    assert isinstance(volume.array, SectionStack if compression else MappedArray)
    volume.numpy()
    small = pickle.dumps(volume)
    assert len(small) < 2000
    np.testing.assert_array_equal(pickle.loads(small).numpy(), RAW)
    volume.close()
    np.testing.assert_array_equal(volume.numpy(), RAW)
