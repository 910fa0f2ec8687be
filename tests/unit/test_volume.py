"""Volume: geometry, reading, writing, what it refuses, and what `open_volume` believes of a file."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from neuropil.errors import GeometryError, InputError, VolumeError
from neuropil.geometry import Box
from neuropil.io.describe import describe
from neuropil.io.hdf5 import write_hdf5
from neuropil.lazy import check_finite, inferred_kind, only_section
from neuropil.volume import (
    Volume,
    as_volume,
    open_volume,
    require_kind,
    require_same_grid,
)

NM = (40.0, 4.0, 4.0)
#: Grey values of one section differ from voxel to voxel; in cells they do not.
NOISE = np.random.default_rng(0).normal(128, 20, (16, 64, 64)).clip(0, 127 + 50).astype(np.uint8)
CELLS = (1 + np.arange(4)[:, None, None] + 4 * np.arange(4)[:, None] + 16 * np.arange(4)).astype(np.uint8)
CELLS = CELLS.repeat(4, 0).repeat(16, 1).repeat(16, 2)


def ramp(shape=(5, 6, 7), dtype=np.uint8) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def h5(path: Path, data: np.ndarray, dataset: str = "data", **attrs) -> Path:
    with h5py.File(path, "a") as file:
        node = file.create_dataset(dataset, data=data)
        node.attrs.update({"resolution": NM, **attrs})
    return path


class TestChannels:
    """One channel of several, named behind the file."""

    def test_a_channel_is_a_volume_of_its_own(self, tmp_path: Path) -> None:
        data = ramp((3, 5, 6, 7), np.uint16)
        tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": "CZYX"})
        one = open_volume(f"{tmp_path}/a.ome.tif[c=1]", voxel_size=NM)
        np.testing.assert_array_equal(one.numpy(), data[1])
        assert (one.axes, one.box, one.name) == ("zyx", Box((0, 0, 0), (5, 6, 7), NM), f"{tmp_path}/a.ome.tif[c=1]")
        part = open_volume(f"{tmp_path}/a.ome.tif[c=2,1:3,:,2:]", voxel_size=NM)
        np.testing.assert_array_equal(part.numpy(), data[2, 1:3, :, 2:])
        assert part.box.start == (1, 0, 2)

    def test_a_channel_of_affinities_is_an_image(self) -> None:
        steps = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
        one = Volume(ramp((3, 5, 6, 7)), NM, axes="czyx", kind="affinities", attrs=steps).channel(0)
        assert (one.kind, one.attrs) == ("image", {})

    @pytest.mark.parametrize(("data", "axes"), [(ramp((3, 5, 6, 7)), "czyx"), (ramp(), "zyx")])
    def test_a_channel_that_is_not_there(self, data: np.ndarray, axes: str) -> None:
        with pytest.raises(GeometryError, match="channel 3"):
            Volume(data, NM, axes=axes).channel(3)


class TestOnlySection:
    """A projection has one section; so has what was cut out of a stack, which is none."""

    @pytest.mark.parametrize(
        ("shape", "axes", "part", "only"),
        [
            ((6, 7), "YX", "", True),
            ((6, 7), "YX", "[:,1:3,2:6]", True),
            ((3, 6, 7), "CYX", "[c=1]", True),
            ((3, 6, 7), "CYX", "[c=1,0:1,2:4]", True),
            ((5, 6, 7), "ZYX", "", False),
            ((5, 6, 7), "ZYX", "[0:1]", False),
            ((3, 5, 6, 7), "CZYX", "[c=2,1:2]", False),
        ],
    )
    def test_of_files_and_their_parts(
        self, tmp_path: Path, shape: tuple[int, ...], axes: str, part: str, only: bool
    ) -> None:
        tifffile.imwrite(tmp_path / "a.ome.tif", ramp(shape), metadata={"axes": axes})
        volume = open_volume(f"{tmp_path}/a.ome.tif{part}", voxel_size=NM)
        assert only_section(volume.array, volume.axes) is only

    def test_of_arrays(self) -> None:
        stack, flat = Volume(ramp(), NM), Volume(ramp((1, 6, 7)), NM, (400.0, 0, 0))
        section = stack.crop(Box((2, 0, 0), (3, 6, 7), NM))
        again = section.crop(Box((2, 1, 1), (3, 3, 3), NM))
        assert [only_section(v.array, v.axes) for v in (stack, flat, section, again)] == [False, True, False, False]


class TestVolume:
    def test_box_from_offset_in_nm(self) -> None:
        volume = Volume(ramp(), NM, offset=(1480, 3644, 3644))
        assert volume.box == Box((37, 911, 911), (42, 917, 918), NM)
        assert (volume.shape, volume.ndim, volume.dtype) == ((5, 6, 7), 3, np.uint8)

    def test_reads_by_place_in_the_world(self) -> None:
        volume = Volume(ramp(), NM, offset=(80, 4, 8))
        box = Box((3, 2, 4), (5, 5, 6), NM)
        np.testing.assert_array_equal(volume.read(box), ramp()[1:3, 1:4, 2:4])

    def test_reads_all_channels(self) -> None:
        data = ramp((3, 5, 6, 7))
        volume = Volume(data, NM, axes="czyx")
        assert volume.box.shape == (5, 6, 7)
        np.testing.assert_array_equal(volume.read(Box((1, 1, 1), (2, 3, 4), NM)), data[:, 1:2, 1:3, 1:4])

    def test_reading_gives_a_copy(self) -> None:
        data = ramp()
        Volume(data, NM).numpy()[:] = 0
        np.testing.assert_array_equal(data, ramp())

    def test_foreign_byte_order_is_read_as_native(self) -> None:
        volume = Volume(ramp(dtype=">u2"), NM)
        assert volume.numpy().dtype == np.dtype("=u2")
        np.testing.assert_array_equal(volume.numpy(), ramp(dtype=np.uint16))

    @pytest.mark.parametrize("start", [(-1, 0, 0), (0, 0, 6)])
    def test_box_outside_is_refused(self, start) -> None:
        box = Box(start, tuple(s + 2 for s in start), NM)
        with pytest.raises(GeometryError, match="a box inside"):
            Volume(ramp(), NM).read(box)

    def test_box_of_another_voxel_size_is_refused(self) -> None:
        with pytest.raises(GeometryError, match="one grid"):
            Volume(ramp(), NM).read(Box((0, 0, 0), (1, 1, 1), (8, 8, 8)))

    def test_box_of_a_rounded_voxel_size_is_read(self) -> None:
        assert Volume(ramp(), (40, 4.0000001, 4)).read(Box((0, 0, 0), (1, 2, 3), NM)).shape == (1, 2, 3)

    @pytest.mark.parametrize(
        ("shape", "options", "match"),
        [
            ((5, 6), {}, "axes 'zyx'"),
            ((2, 5, 6, 7), {}, "axes 'zyx'"),
            ((5, 6, 7), {"axes": "czyx"}, "axes 'czyx'"),
            ((5, 6, 7), {"axes": "xyz"}, "axes 'xyz'"),
            ((5, 6, 7), {"offset": (1, 2)}, "offset"),
            ((5, 6, 7), {"offset": (0, 0, float("nan"))}, "offset"),
            ((5, 6, 7), {"voxel_size": (0, 4, 4)}, "voxel size"),
        ],
    )
    def test_impossible_geometry_is_refused(self, shape, options, match) -> None:
        with pytest.raises(GeometryError, match=match):
            Volume(np.zeros(shape, np.uint8), **{"voxel_size": NM, **options})

    @pytest.mark.parametrize(
        ("dtype", "kind"), [(np.float32, "labels"), (np.float32, "mask"), (np.complex64, "image"), (bool, "image")]
    )
    def test_type_that_cannot_be_of_the_kind_is_refused(self, dtype, kind) -> None:
        with pytest.raises(InputError, match=kind):
            Volume(np.zeros((2, 2, 2), dtype), NM, kind=kind)

    def test_unknown_kind_is_refused(self) -> None:
        with pytest.raises(InputError, match="one of image, labels"):
            Volume(ramp(), NM, kind="picture")

    def test_negative_labels_are_refused_and_say_where(self) -> None:
        data = ramp(dtype=np.int32)
        data[2, 2, 2] = -7
        with pytest.raises(InputError, match="label -7"):
            Volume(data, NM, kind="labels").numpy()
        assert Volume(data, NM, kind="image").numpy().min() == -7

    @pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
    def test_minus_one_is_what_was_not_annotated(self, dtype) -> None:
        data = np.array([[[-1, -2, 0, 3, 100]]], dtype)
        volume = Volume(data, NM, kind="labels")
        assert volume.dtype == np.uint64
        assert volume.numpy().ravel().tolist() == [2**64 - 1, 2**64 - 2, 0, 3, 100]
        assert describe(volume)["dtype"] == np.dtype(dtype).name
        assert describe(volume)["labels"]["ignored_share"] == pytest.approx(0.4)

    def test_largest_labels_are_kept(self) -> None:
        data = np.full((2, 2, 2), 2**64 - 2, np.uint64)
        assert Volume(data, NM).numpy().max() == 2**64 - 2

    def test_crop_is_lazy_keeps_its_place_and_is_read_only(self) -> None:
        volume = Volume(ramp(), NM, offset=(40, 40, 40), kind="image", attrs={"note": "x"}, name="n")
        crop = volume.crop(Box((2, 11, 12), (4, 13, 15), NM))
        assert crop.box == Box((2, 11, 12), (4, 13, 15), NM)
        assert (crop.attrs, crop.kind, crop.kind_stated, crop.writable) == ({"note": "x"}, "image", True, False)
        np.testing.assert_array_equal(crop.numpy(), ramp()[1:3, 1:3, 2:5])
        np.testing.assert_array_equal(crop.crop(crop.box.grown((0, 0, -1))).numpy(), ramp()[1:3, 1:3, 3:4])

    def test_pickle_and_repr(self) -> None:
        volume = pickle.loads(pickle.dumps(Volume(ramp(), NM, offset=(40, 0, 0), name="thing")))
        np.testing.assert_array_equal(volume.numpy(), ramp())
        assert "thing" in repr(volume)
        assert volume.box.start == (1, 0, 0)

    def test_attributes_carry_what_belongs_beside_the_array(self) -> None:
        volume = Volume(
            np.zeros((3, 2, 2, 2), np.uint8), NM, (40, 0, 0), "czyx", attrs={"offsets": [[-1, 0, 0]], "resolution": 1}
        )
        assert volume.attributes() == {
            "offsets": [[-1, 0, 0]],
            "resolution": [40.0, 4.0, 4.0],
            "offset": [40.0, 0.0, 0.0],
            "axes": "czyx",
            "kind": "affinities",
        }

    def test_import_is_light(self) -> None:
        code = "import sys, neuropil.volume; print([m for m in ('torch', 'h5py', 'tensorstore', 'tifffile', 'neuropil.io') if m in sys.modules])"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "[]"


class TestWrite:
    def test_writes_by_place_in_the_world(self) -> None:
        data = np.zeros((5, 6, 7), np.uint16)
        volume = Volume(data, NM, offset=(40, 0, 0))
        volume.write(Box((2, 1, 1), (3, 3, 4), NM), np.ones((1, 2, 3), np.uint8))
        assert data.sum() == 6
        assert data[1, 1:3, 1:4].all()

    def test_read_only_is_respected(self) -> None:
        data = ramp()
        data.flags.writeable = False
        volume = Volume(data, NM)
        assert not volume.writable
        with pytest.raises(VolumeError, match="reading only"):
            volume.write(volume.box, ramp())

    def test_wrong_shape_is_refused(self) -> None:
        volume = Volume(ramp(), NM)
        with pytest.raises(GeometryError, match="equal shapes"):
            volume.write(volume.box, ramp((5, 6, 6)))

    @pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8])
    def test_lossy_types_are_refused(self, dtype) -> None:
        volume = Volume(ramp(), NM)
        with pytest.raises(InputError, match="astype"):
            volume.write(volume.box, ramp(dtype=dtype))

    def test_outside_is_refused(self) -> None:
        volume = Volume(ramp(), NM)
        with pytest.raises(GeometryError, match="inside"):
            volume.write(volume.box.shifted((1, 0, 0)), ramp())


class TestKind:
    @pytest.mark.parametrize(
        ("dtype", "attrs", "name", "kind"),
        [
            ("uint8", {}, "a.h5:raw", "image"),
            ("uint16", {}, "a.tif", "image"),
            ("float32", {}, "labels", "image"),
            ("uint64", {}, "a.h5:raw", "labels"),
            ("uint32", {}, "x", "labels"),
            ("int64", {}, "x", "labels"),
            ("uint8", {}, "a.h5:labels", "labels"),
            ("uint16", {}, "a.h5:volumes/labels/neuron_ids", "labels"),
            ("uint8", {}, "labels/a.h5:raw", "image"),
            ("uint8", {}, "labels.tif", "labels"),
            ("bool", {}, "labels", "mask"),
            ("uint8", {"offsets": [[-1, 0, 0]]}, "labels", "affinities"),
        ],
    )
    def test_inferred(self, dtype, attrs, name, kind) -> None:
        assert inferred_kind(dtype, attrs, name) == kind

    def test_labels_as_image_are_refused(self) -> None:
        for volume in (Volume(ramp(dtype=np.uint64), NM), Volume(ramp(), NM, kind="labels")):
            with pytest.raises(InputError, match="holds labels"):
                require_kind(volume, "image")

    def test_image_as_labels_is_refused_when_it_says_so(self) -> None:
        with pytest.raises(InputError, match=r"holds image \(stated\)"):
            require_kind(Volume(ramp(), NM, kind="image"), "labels")
        with pytest.raises(InputError, match="holds image"):
            require_kind(Volume(ramp(dtype=np.float32), NM), "labels")

    def test_what_can_be_done_fits_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="as whole numbers"):
            require_kind(Volume(CELLS.astype(np.float32), NM), "labels")
        tifffile.imwrite(tmp_path / "seg.tif", CELLS, metadata={"axes": "ZYX"})
        with pytest.raises(InputError, match=r'metadata=\{"kind": "image"\}'):
            require_kind(open_volume(tmp_path / "seg.tif", voxel_size=NM), "image")
        # and that is a way
        tifffile.imwrite(tmp_path / "said.tif", CELLS, metadata={"kind": "image"})
        assert require_kind(open_volume(tmp_path / "said.tif", voxel_size=NM), "image").kind_stated
        with pytest.raises(InputError, match="attribute kind='image'"):
            require_kind(Volume(CELLS, NM, name="labels"), "image")

    def test_inferred_kind_gives_way_to_labels(self) -> None:
        volume = require_kind(Volume(ramp(), NM, name="a.h5:mito"), "labels")
        assert (volume.kind, volume.kind_stated) == ("labels", True)
        assert require_kind(Volume(np.zeros((2, 2, 2), bool), NM), "labels").kind == "labels"

    def test_matching_kind_passes_through(self) -> None:
        volume = Volume(ramp(), NM, kind="image")
        assert require_kind(volume, "image") is volume
        assert require_kind(Volume(ramp(), NM), "image").kind_stated

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_values_tell_where_metadata_is_silent(self, dtype) -> None:
        image = Volume(NOISE.astype(dtype), NM, name="a.h5:one")
        labels = Volume(CELLS.astype(dtype), NM, name="a.h5:two")
        assert require_kind(image, "image").kind == "image"
        assert require_kind(labels, "labels").kind == "labels"
        for kind in ("labels", "mask"):
            with pytest.raises(InputError, match="one looks like an image: its neighbouring voxels are seldom equal"):
                require_kind(image, kind)
        with pytest.raises(InputError, match=r"two looks like labels.*\n.*\n.*attribute kind='image'"):
            require_kind(labels, "image")

    def test_what_is_stated_is_not_looked_at(self) -> None:
        assert require_kind(Volume(NOISE, NM, kind="labels"), "labels").kind == "labels"
        assert require_kind(Volume(CELLS, NM, kind="image"), "image").kind == "image"
        assert require_kind(Volume(NOISE, NM, name="a.h5:labels"), "labels").kind == "labels"

    def test_channels_are_looked_at_too(self) -> None:
        with pytest.raises(InputError, match="looks like labels"):
            require_kind(Volume(np.stack([CELLS, CELLS]), NM, axes="czyx"), "image")

    @pytest.mark.parametrize("kind", ["image", "labels"])
    @pytest.mark.parametrize(
        "data",
        [
            np.zeros((16, 64, 64), np.uint8),  # constant
            np.full((16, 64, 64), 7, np.uint16),
            ramp((4, 6, 7)),  # tiny
            np.zeros((0, 64, 64), np.uint8),
            np.repeat(np.arange(2, dtype=np.uint8), 32)[None, None].repeat(16, 0).repeat(64, 1),  # two values: a mask
            np.where(np.arange(64) % 16, 0, ramp((16, 64, 64))),  # bright fibres in the dark
        ],
        ids=["zeros", "sevens", "tiny", "empty", "mask", "sparse"],
    )
    def test_values_that_tell_nothing_refuse_nothing(self, data, kind) -> None:
        assert require_kind(Volume(data, NM, name="a.h5:data"), kind).kind == kind


class TestGrid:
    def test_same_grid_passes(self) -> None:
        assert require_same_grid(Volume(ramp(), NM), Volume(ramp(dtype=np.uint64), (40, 4.0000001, 4))) is None

    def test_labels_with_an_offset_inside_pass(self) -> None:
        assert require_same_grid(Volume(ramp(), NM), Volume(ramp((2, 2, 2)), NM, offset=(40, 4, 4))) is None

    def test_other_voxel_size_is_refused(self) -> None:
        with pytest.raises(GeometryError, match="--voxel-size"):
            require_same_grid(Volume(ramp(), NM), Volume(ramp(), (50, 4, 4)))

    @pytest.mark.parametrize(("shape", "offset"), [((5, 6, 6), (0, 0, 0)), ((5, 6, 7), (40, 0, 0))])
    def test_other_shape_or_place_is_refused(self, shape, offset) -> None:
        with pytest.raises(GeometryError, match="shapes"):
            require_same_grid(Volume(ramp(), NM), Volume(ramp(shape), NM, offset=offset))


class TestFinite:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_says_how_many_and_where(self, bad) -> None:
        data = ramp(dtype=np.float32)
        data[1, 2, 3] = bad
        with pytest.raises(InputError, match=r"raw: 1 values .* index \(1, 2, 3\)"):
            check_finite(data, "raw")

    def test_finite_and_whole_numbers_pass(self) -> None:
        check_finite(ramp(dtype=np.float32), "raw")
        check_finite(ramp(), "raw")


class TestOpen:
    def test_a_part_is_the_slice_at_its_place(self, tmp_path) -> None:
        data = ramp()
        path = h5(tmp_path / "a.h5", data)
        whole, part = open_volume(path), open_volume(f"{path}:data[1:3,:,2:]")
        assert np.array_equal(part.numpy(), data[1:3, :, 2:])
        assert part.box.start == tuple(a + b for a, b in zip(whole.box.start, (1, 0, 2), strict=True))
        assert np.array_equal(whole.read(part.box), part.numpy())
        assert part.name.endswith("[1:3,:,2:]")
        assert np.array_equal(open_volume(part.name).numpy(), part.numpy())

    def test_missing_file(self, tmp_path) -> None:
        with pytest.raises(VolumeError, match=r"nothing\.h5' does not exist"):
            open_volume(tmp_path / "nothing.h5")
        with pytest.raises(VolumeError, match=r"nothing\.h5' does not exist"):
            open_volume(f"{tmp_path}/nothing.h5:raw")

    def test_unknown_format(self, tmp_path) -> None:
        (tmp_path / "a.doc").write_text("hello")
        with pytest.raises(VolumeError, match="no known format"):
            open_volume(tmp_path / "a.doc")
        (tmp_path / "a.swc").write_text("1 1 0 0 0 1 -1\n")
        with pytest.raises(VolumeError, match="--recipe lm_neuron"):
            open_volume(tmp_path / "a.swc")

    def test_unknown_voxel_size_says_how_to_give_it(self, tmp_path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = ramp()
        with pytest.raises(GeometryError, match="--voxel-size z,y,x"):
            open_volume(tmp_path / "a.h5")
        assert open_volume(tmp_path / "a.h5", voxel_size=(8, 8, 8)).voxel_size == (8.0, 8.0, 8.0)

    def test_given_voxel_size_overrules(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp(), offset=(80.0, 8.0, 8.0))
        volume = open_volume(path, voxel_size=(20, 4, 4))
        assert (volume.voxel_size, volume.box.start) == ((20.0, 4.0, 4.0), (4, 2, 2))

    @pytest.mark.parametrize("resolution", [(40, 4), (40, 4, 4, 4), (0, 4, 4), (-40, 4, 4), (np.nan, 4, 4)])
    def test_impossible_voxel_size(self, tmp_path, resolution) -> None:
        with pytest.raises(GeometryError, match="three positive numbers"):
            open_volume(h5(tmp_path / "a.h5", ramp(), resolution=resolution))

    def test_three_axes_are_zyx_by_convention(self, tmp_path) -> None:
        assert open_volume(h5(tmp_path / "a.h5", ramp())).axes == "zyx"

    def test_four_axes_must_be_stated(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp((3, 5, 6, 7)))
        with pytest.raises(GeometryError, match="does not state its axes"):
            open_volume(path)
        assert open_volume(path, axes="czyx").axes == "czyx"
        assert open_volume(path, kind="affinities").axes == "czyx"

    def test_offsets_mean_affinities(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp((2, 5, 6, 7)), offsets=[[-1, 0, 0], [0, -1, 0]])
        volume = open_volume(path)
        assert (volume.kind, volume.axes) == ("affinities", "czyx")
        assert volume.attrs["offsets"] == [[-1, 0, 0], [0, -1, 0]]

    def test_stated_order_is_read_as_zyx(self, tmp_path) -> None:
        data = ramp((7, 6, 5))
        volume = open_volume(h5(tmp_path / "a.h5", data, axes="xyz"))
        assert volume.shape == (5, 6, 7)
        np.testing.assert_array_equal(volume.numpy(), data.transpose(2, 1, 0))
        np.testing.assert_array_equal(
            volume.read(Box((1, 2, 3), (2, 4, 6), NM)), data.transpose(2, 1, 0)[1:2, 2:4, 3:6]
        )

    def test_channels_last_and_single_time_point(self, tmp_path) -> None:
        data = ramp((1, 5, 6, 7, 2))
        volume = open_volume(h5(tmp_path / "a.h5", data, axes="tzyxc"))
        assert volume.axes == "czyx"
        np.testing.assert_array_equal(volume.numpy(), np.moveaxis(data[0], -1, 0))

    def test_single_channel_is_dropped(self, tmp_path) -> None:
        assert open_volume(h5(tmp_path / "a.h5", ramp((1, 5, 6, 7)), axes="czyx")).axes == "zyx"

    def test_single_channel_of_affinities_is_kept(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp((1, 5, 6, 7)), axes="czyx", offsets=[[-1, 0, 0]])
        assert open_volume(path).axes == "czyx"

    def test_a_plane_is_a_stack_of_one(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp((6, 7)))
        volume = open_volume(f"{path}:data", axes="yx")
        assert volume.shape == (1, 6, 7)
        np.testing.assert_array_equal(volume.numpy()[0], ramp((6, 7)))

    def test_words_beside_the_letters(self, tmp_path) -> None:
        assert open_volume(h5(tmp_path / "a.h5", ramp(), axes="(selected z)yx")).axes == "zyx"
        path = h5(tmp_path / "b.h5", ramp((2, 5, 6, 7)), axes="czyx (one channel per neuron; neurons may overlap)")
        assert open_volume(path).axes == "czyx"

    @pytest.mark.parametrize("axes", ["czyx", "zy", "depth height width", "zzx", ""])
    def test_axes_that_do_not_fit(self, tmp_path, axes) -> None:
        with pytest.raises(GeometryError, match="states axes"):
            open_volume(h5(tmp_path / "a.h5", ramp(), axes=axes))

    def test_time_series_is_refused(self, tmp_path) -> None:
        with pytest.raises(GeometryError, match="time series"):
            open_volume(h5(tmp_path / "a.h5", ramp((2, 5, 6, 7)), axes="tzyx"))

    def test_kind_given_then_stated_then_inferred(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp(dtype=np.uint32), kind="image")
        assert open_volume(path).kind == "image"
        assert open_volume(path, kind="labels").kind == "labels"
        other = open_volume(h5(tmp_path / "b.h5", ramp(), "labels", kind="dense neuron instances"))
        assert (other.kind, other.kind_stated, other.attrs["kind_text"]) == ("labels", False, "dense neuron instances")

    def test_opened_for_reading_only(self, tmp_path) -> None:
        volume = open_volume(h5(tmp_path / "a.h5", ramp()))
        with pytest.raises(VolumeError, match="reading only"):
            volume.write(volume.box, ramp())

    def test_as_volume(self, tmp_path) -> None:
        path = h5(tmp_path / "a.h5", ramp())
        volume = as_volume(path)
        assert as_volume(volume) is volume
        assert as_volume(os.fspath(path), kind="labels").kind == "labels"
        assert as_volume(volume, kind="mask").kind == "mask"

    def test_affinities_of_other_people(self, tmp_path) -> None:
        data = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float32)
        write_hdf5(
            tmp_path / "a.h5",
            {"affs": Volume(data, NM, axes="czyx", attrs={"offsets": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]})},
        )
        volume = require_kind(open_volume(f"{tmp_path}/a.h5:affs"), "affinities")
        np.testing.assert_array_equal(volume.numpy(), data)


def test_a_part_is_of_the_kind_of_the_whole(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["labels"] = np.zeros((4, 5, 6), np.uint8)
    whole = open_volume(f"{tmp_path}/a.h5:labels", voxel_size=NM)
    assert whole.kind == "labels"
    assert open_volume(f"{tmp_path}/a.h5:labels[0:2]", voxel_size=NM).kind == "labels"


def test_an_image_may_be_called_what_it_is_for() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
    flat = np.repeat(np.repeat(np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8), 8, 1), 8, 2)
    assert require_kind(Volume(grey, NM, name="raw_for_segmentation.tif"), "image").kind == "image"
    for data in (flat, grey.astype(np.uint32)):
        with pytest.raises(InputError, match="labels"):
            require_kind(Volume(data, NM, name="segmentation.tif"), "image")


def test_a_plane_is_one_section(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.arange(30, dtype=np.uint8).reshape(5, 6)
        file["rgb"] = np.zeros((4, 50, 60, 3), np.uint8)
    assert open_volume(f"{tmp_path}/a.h5:raw", voxel_size=NM).shape == (1, 5, 6)
    with pytest.raises(GeometryError, match="axes='zyxc'"):
        open_volume(f"{tmp_path}/a.h5:rgb", voxel_size=NM)
