"""Zarr: what others write is understood; what we write is whole, sharded, and marked until it is finished."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from neuropil.errors import GeometryError, IncompleteError, InputError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.io.zarr import build_pyramid, create_zarr, finish, missing_shards, resume_zarr, written_whole
from neuropil.io.zarr_array import default_layout
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)
RAW = np.random.default_rng(0).integers(0, 255, (10, 30, 40), dtype=np.uint8)
SMALL = {"chunk": (4, 8, 8), "shard": (8, 16, 16)}


def written(path: Path, data=RAW, **options) -> Volume:
    volume = create_zarr(path, data.shape, data.dtype, NM, **{**SMALL, **options})
    for block in volume.blocks():
        volume.write(block.write, data[(..., *block.write.slices(volume.box.start))])
    return volume


class TestReading:
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("dtype", ["uint8", "<u2", "uint64", "int32", "float32", "bool"])
    def test_plain_array(self, tmp_path, version, dtype) -> None:
        data = RAW.astype(dtype)
        array = zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(4, 8, 8), zarr_format=version)
        array.attrs.update({"resolution": NM, "offset": [80, 4, 4], "note": "hello"})
        volume = open_volume(tmp_path / "a.zarr")
        np.testing.assert_array_equal(volume.numpy(), data)
        assert (volume.box.start, volume.attrs) == ((2, 1, 1), {"note": "hello"})
        assert volume.layout["chunk"] == (4, 8, 8)
        # labels with a sign are read as ids without one
        assert volume.dtype == ("uint64" if dtype == "int32" else data.dtype)

    @pytest.mark.parametrize("version", [2, 3])
    def test_group(self, tmp_path, version) -> None:
        group = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
        for name in ("volumes/raw", "volumes/affs"):
            data = RAW if name.endswith("raw") else np.stack([RAW, RAW])
            group.create_array(name, data=data).attrs.update({"resolution": NM})
        group["volumes/affs"].attrs["offsets"] = [[-1, 0, 0], [0, -1, 0]]
        for url in ("a.zarr:volumes/raw", "a.zarr/volumes/raw"):
            np.testing.assert_array_equal(open_volume(f"{tmp_path}/{url}").numpy(), RAW)
        assert open_volume(f"{tmp_path}/a.zarr:volumes/affs").kind == "affinities"
        with pytest.raises(VolumeError, match="group of 2 arrays") as caught:
            open_volume(tmp_path / "a.zarr")
        lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
        assert "volumes/raw (10, 30, 40) " + ("u1" if version == 2 else "uint8") + " 40 x 4 x 4 nm" in lines
        with pytest.raises(VolumeError, match="no array 'raw'") as caught:
            open_volume(f"{tmp_path}/a.zarr:raw")
        assert "volumes/raw" in str(caught.value)

    def test_group_of_one_lends_its_attributes(self, tmp_path) -> None:
        group = zarr.create_group(tmp_path / "a.zarr")
        group.attrs["resolution"] = NM
        group.create_array("raw", data=RAW)
        assert open_volume(tmp_path / "a.zarr").voxel_size == NM
        group["raw"].attrs["resolution"] = (8, 8, 8)
        assert open_volume(tmp_path / "a.zarr").voxel_size == (8, 8, 8)

    def test_element_size_and_units_of_others(self, tmp_path) -> None:
        group = zarr.create_group(tmp_path / "a.zarr")
        group.create_array("raw", data=RAW).attrs["element_size_um"] = (0.04, 0.005, 0.004)
        assert open_volume(tmp_path / "a.zarr").voxel_size == pytest.approx((40, 5, 4))
        with pytest.raises(VolumeError, match="40 x 5 x 4 nm"):
            open_volume(f"{tmp_path}/a.zarr:other")
        group["raw"].attrs.update({"resolution": (0.03, 0.003, 0.003), "unit": "um"})
        assert open_volume(tmp_path / "a.zarr").voxel_size == pytest.approx((30, 3, 3))

    def test_empty_group(self, tmp_path) -> None:
        zarr.create_group(tmp_path / "a.zarr")
        with pytest.raises(VolumeError, match="without arrays"):
            open_volume(tmp_path / "a.zarr")

    @pytest.mark.parametrize("ome", ["0.4", "0.5"])
    def test_ome_multiscales_in_micrometres(self, tmp_path, ome) -> None:
        group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2 if ome == "0.4" else 3)
        for name, data in (("0", RAW), ("1", RAW[:, ::2, ::2])):
            group.create_array(name, data=data[None, None])
        axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
        axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
        levels = [
            {
                "path": str(i),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 1, 0.04, 0.004 * 2**i, 0.004 * 2**i]},
                    {"type": "translation", "translation": [0, 0, 0.08, 0.016, 0.016]},
                ],
            }
            for i in range(2)
        ]
        multiscales = [{"axes": axes, "datasets": levels}]
        group.attrs.update({"multiscales": multiscales} if ome == "0.4" else {"ome": {"multiscales": multiscales}})
        volume = open_volume(tmp_path / "a.zarr")
        assert volume.voxel_size == pytest.approx(NM)
        assert (volume.axes, volume.box.start) == ("zyx", (2, 4, 4))
        np.testing.assert_array_equal(volume.numpy(), RAW)
        coarse = open_volume(f"{tmp_path}/a.zarr:1")
        assert coarse.voxel_size == pytest.approx((40, 8, 8))
        np.testing.assert_array_equal(coarse.numpy(), RAW[:, ::2, ::2])

    def test_ome_without_units_does_not_know(self, tmp_path) -> None:
        group = zarr.create_group(tmp_path / "a.zarr")
        group.create_array("0", data=RAW)
        levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [40, 4, 4]}]}]
        axes = [{"name": a, "type": "space"} for a in "zyx"]
        group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": levels}]}
        with pytest.raises(GeometryError, match="--voxel-size"):
            open_volume(tmp_path / "a.zarr")

    def test_ome_level_that_is_not_there(self, tmp_path) -> None:
        group = zarr.create_group(tmp_path / "a.zarr")
        group.attrs["ome"] = {"multiscales": [{"axes": [], "datasets": [{"path": "0"}]}]}
        with pytest.raises(VolumeError, match="lost its array '0'"):
            open_volume(tmp_path / "a.zarr")

    def test_dimension_names_are_axes(self, tmp_path) -> None:
        array = zarr.create_array(tmp_path / "a.zarr", data=RAW, dimension_names=("x", "y", "z"))
        array.attrs["resolution"] = NM
        np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").numpy(), RAW.transpose(2, 1, 0))

    def test_text_is_no_volume(self, tmp_path) -> None:
        zarr.create_array(tmp_path / "a.zarr", data=np.array([["ab"]], dtype="<U2"), zarr_format=2)
        with pytest.raises(VolumeError, match="elements of type"):
            open_volume(tmp_path / "a.zarr")


class TestWriting:
    def test_is_ome_zarr_that_zarr_python_reads(self, tmp_path) -> None:
        written(tmp_path / "a.zarr", offset=(80, 8, 8), kind="image", attrs={"note": "hello"})
        build_pyramid(tmp_path / "a.zarr")
        finish(tmp_path / "a.zarr")
        group = zarr.open_group(tmp_path / "a.zarr", mode="r")
        np.testing.assert_array_equal(group["s0"][:], RAW)
        assert group["s0"].shards == (8, 16, 16)
        assert group["s0"].chunks == (4, 8, 8)
        ome = group.attrs["ome"]
        assert ome["version"] == "0.5"
        assert [a["name"] for a in ome["multiscales"][0]["axes"]] == ["z", "y", "x"]
        first, second = ome["multiscales"][0]["datasets"][:2]
        assert first["coordinateTransformations"][0] == {"type": "scale", "scale": [40, 4, 4]}
        assert first["coordinateTransformations"][1] == {"type": "translation", "translation": [80, 8, 8]}
        assert second["coordinateTransformations"][0]["scale"] == [40, 8, 8]
        assert second["coordinateTransformations"][1]["translation"] == [80, 10, 10]
        assert group.attrs["resolution"] == [40, 4, 4]

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint64", "int64", "float32"])
    def test_types_come_back(self, tmp_path, dtype) -> None:
        data = RAW.astype(dtype)
        written(tmp_path / "a.zarr", data)
        finish(tmp_path / "a.zarr")
        volume = open_volume(tmp_path / "a.zarr")
        assert volume.dtype == ("uint64" if dtype == "int64" else dtype)
        np.testing.assert_array_equal(volume.numpy(), data)

    def test_affinities_with_all_channels_in_a_shard(self, tmp_path) -> None:
        data = np.stack([RAW, RAW // 2, RAW // 3])
        offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -9]]
        written(tmp_path / "a.zarr", data, attrs={"offsets": offsets}, kind="affinities")
        build_pyramid(tmp_path / "a.zarr")
        finish(tmp_path / "a.zarr")
        volume = open_volume(tmp_path / "a.zarr")
        assert (volume.axes, volume.kind, volume.attrs["offsets"]) == ("czyx", "affinities", offsets)
        assert (volume.layout["chunk"], volume.layout["shard"]) == ((1, 4, 8, 8), (3, 8, 16, 16))
        np.testing.assert_array_equal(volume.numpy(), data)
        assert "offsets" not in open_volume(f"{tmp_path}/a.zarr:s1").attrs

    def test_unfinished_output_is_not_opened(self, tmp_path) -> None:
        written(tmp_path / "a.zarr")
        for url in ("a.zarr", "a.zarr:s0", "a.zarr/s0"):
            with pytest.raises(IncompleteError, match="interrupted") as caught:
                open_volume(f"{tmp_path}/{url}")
            assert caught.value.exit_code == 3
            assert "again" in caught.value.fix
        finish(tmp_path / "a.zarr")
        assert open_volume(f"{tmp_path}/a.zarr:s0").shape == RAW.shape

    def test_finish_needs_every_shard(self, tmp_path) -> None:
        volume = create_zarr(tmp_path / "a.zarr", RAW.shape, RAW.dtype, NM, **SMALL)
        blocks = [b.write for b in volume.blocks()]
        for box in blocks[:-1]:
            volume.write(box, np.zeros(box.shape, np.uint8))  # all zero, yet it counts as written
        assert missing_shards(tmp_path / "a.zarr") == ["c/1/1/2"]
        with pytest.raises(IncompleteError, match="1 shards were never written"):
            finish(tmp_path / "a.zarr")
        again = resume_zarr(tmp_path / "a.zarr")
        again.write(blocks[-1], np.ones(blocks[-1].shape, np.uint8))
        finish(tmp_path / "a.zarr")
        assert open_volume(tmp_path / "a.zarr").numpy().sum() == blocks[-1].size

    def test_resume_of_what_is_finished_or_foreign(self, tmp_path) -> None:
        written(tmp_path / "a.zarr")
        finish(tmp_path / "a.zarr")
        zarr.create_group(tmp_path / "b.zarr")
        for name in ("a.zarr", "b.zarr", "c.zarr"):
            with pytest.raises(VolumeError, match="not an unfinished output"):
                resume_zarr(tmp_path / name)
        with pytest.raises(VolumeError, match="not an output"):
            finish(tmp_path / "b.zarr")
        with pytest.raises(VolumeError, match="no level 's0'"):
            build_pyramid(tmp_path / "b.zarr")

    def test_whole_shards_only(self, tmp_path) -> None:
        volume = create_zarr(tmp_path / "a.zarr", RAW.shape, RAW.dtype, NM, offset=(40, 4, 4), **SMALL)
        for box in (Box((1, 1, 1), (5, 17, 17), NM), Box((2, 1, 1), (9, 17, 17), NM)):
            with pytest.raises(GeometryError, match="whole shards"):
                volume.write(box, np.zeros(box.shape, np.uint8))
        for box in (Box((9, 17, 17), (11, 31, 41), NM), Box((1, 1, 1), (9, 17, 33), NM)):
            volume.write(box, np.ones(box.shape, np.uint8))
            assert volume.read(box).all()

    def test_place_that_is_taken(self, tmp_path) -> None:
        written(tmp_path / "a.zarr")
        written(tmp_path / "a.zarr", RAW[:8])  # unfinished: replaced
        finish(tmp_path / "a.zarr")
        assert open_volume(tmp_path / "a.zarr").shape == (8, 30, 40)
        with pytest.raises(VolumeError, match="exists already"):
            written(tmp_path / "a.zarr")
        assert open_volume(tmp_path / "a.zarr").shape == (8, 30, 40)

    def test_our_own_outputs_are_told_from_all_else(self, tmp_path) -> None:
        written(tmp_path / "ours.zarr")
        assert written_whole(tmp_path / "ours.zarr") is False
        finish(tmp_path / "ours.zarr")
        assert written_whole(tmp_path / "ours.zarr") is True
        zarr.create_group(tmp_path / "theirs.zarr").attrs["neuropil"] = "a fine structure"
        zarr.create_array(tmp_path / "array.zarr", data=RAW)
        (tmp_path / "broken.zarr").mkdir()
        (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
        (tmp_path / "file.zarr").write_text("no folder")
        for name in ("theirs", "array", "broken", "file", "nothing"):
            assert written_whole(tmp_path / f"{name}.zarr") is None
            assert written_whole(tmp_path / "ours.zarr" / "s0") is None

    def test_what_is_no_zarr_is_never_removed(self, tmp_path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "thesis.txt").write_text("years of work")
        (tmp_path / "file").write_text("more")
        for name in ("folder", "file"):
            with pytest.raises(VolumeError, match="exists already"):
                create_zarr(tmp_path / name, RAW.shape, RAW.dtype, NM)
        assert (tmp_path / "folder" / "thesis.txt").exists()
        (tmp_path / "empty").mkdir()
        create_zarr(tmp_path / "empty", RAW.shape, RAW.dtype, NM)
        with pytest.raises(VolumeError, match="does not exist"):
            create_zarr(tmp_path / "no" / "such", RAW.shape, RAW.dtype, NM)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"chunk": (4, 4, 4), "shard": (8, 8, 6)}, GeometryError),
            ({"chunk": (0, 4, 4)}, GeometryError),
            ({"axes": "czyx"}, GeometryError),
            ({"offset": (0, 0)}, GeometryError),
            ({"kind": "picture"}, InputError),
        ],
    )
    def test_impossible_outputs_leave_nothing(self, tmp_path, options, error) -> None:
        with pytest.raises(error):
            create_zarr(tmp_path / "a.zarr", RAW.shape, RAW.dtype, NM, **options)
        with pytest.raises(GeometryError):
            create_zarr(tmp_path / "a.zarr", (0, 4, 4), RAW.dtype, NM)
        assert list(tmp_path.iterdir()) == []

    def test_default_layout_follows_the_voxel(self) -> None:
        assert default_layout((500, 500, 500), (8.0, 8.0, 8.0)) == ((64, 64, 64), (128, 128, 128))
        assert default_layout((125, 1250, 1250), NM) == ((16, 128, 128), (32, 256, 256))
        assert default_layout((5, 40, 300), NM) == ((5, 40, 128), (5, 40, 256))

    def test_shard_alone_or_chunk_alone(self, tmp_path) -> None:
        assert create_zarr(tmp_path / "a.zarr", RAW.shape, "uint8", NM, shard=(5, 10, 10)).write_unit == (5, 10, 10)
        assert create_zarr(tmp_path / "b.zarr", RAW.shape, "uint8", NM, chunk=(5, 10, 10)).write_unit == (5, 10, 10)

    def test_name_inside_cannot_be_written(self, tmp_path) -> None:
        with pytest.raises(VolumeError, match=r"whole x\.zarr"):
            save_volume(Volume(RAW, NM), f"{tmp_path}/a.zarr:raw")


class TestPyramid:
    def test_levels_stand_for_the_same_place(self, tmp_path) -> None:
        labels = np.repeat(np.repeat(np.arange(1, 76, dtype=np.uint64).reshape(5, 3, 5), 2, 0), 10, 1).repeat(8, 2)
        written(tmp_path / "a.zarr", labels, offset=(80, 8, 8))
        assert build_pyramid(tmp_path / "a.zarr") == [f"s{i}" for i in range(6)]
        finish(tmp_path / "a.zarr")
        fine, coarse = open_volume(tmp_path / "a.zarr"), open_volume(f"{tmp_path}/a.zarr:s1")
        assert (coarse.voxel_size, coarse.shape, coarse.kind) == ((40, 8, 8), (10, 15, 20), "labels")
        assert coarse.box.start == (2, 1, 1)
        np.testing.assert_array_equal(coarse.numpy(), labels[:, ::2, ::2])
        assert fine.kind == "labels"

    def test_blockwise_is_the_whole(self, tmp_path) -> None:
        from neuropil.io.pyramid import downsampled

        data = np.random.default_rng(0).integers(0, 255, (9, 301, 303), dtype=np.uint8)
        volume = create_zarr(tmp_path / "a.zarr", data.shape, data.dtype, NM, chunk=(8, 32, 32), shard=(8, 64, 64))
        for block in volume.blocks():
            volume.write(block.write, data[block.write.slices()])
        build_pyramid(tmp_path / "a.zarr")
        build_pyramid(tmp_path / "a.zarr")  # again: replaced
        finish(tmp_path / "a.zarr")
        whole = downsampled(data, (1, 2, 2), "image")
        np.testing.assert_array_equal(open_volume(f"{tmp_path}/a.zarr:s1").numpy(), whole)
        second = open_volume(f"{tmp_path}/a.zarr:s2").numpy()
        np.testing.assert_array_equal(second, downsampled(whole, (1, 2, 2), "image"))


class TestProcesses:
    def test_concurrent_shards_lose_no_voxel(self, tmp_path) -> None:
        shape = (32, 96, 96)
        volume = create_zarr(tmp_path / "a.zarr", shape, "uint64", NM, chunk=(8, 8, 8), shard=(16, 24, 24))
        boxes = [b.write for b in volume.blocks()]
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            pool.starmap(write_indices, [(volume, box) for box in boxes], chunksize=1)
        finish(tmp_path / "a.zarr")
        expected = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape) + 1
        np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").numpy(), expected)

    def test_forked_process_is_told_to_spawn(self, tmp_path) -> None:
        written(tmp_path / "a.zarr")
        finish(tmp_path / "a.zarr")
        volume = open_volume(tmp_path / "a.zarr")
        volume.numpy()
        with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(VolumeError, match="spawn"):
            pool.apply(read_all, (volume,))

    def test_handle_is_not_pickled_and_closing_is_not_the_end(self, tmp_path) -> None:
        volume = written(tmp_path / "a.zarr")
        again = pickle.loads(pickle.dumps(volume))
        assert again.array._handle is None
        assert again.writable
        again.close()
        np.testing.assert_array_equal(again.numpy(), RAW)


def write_indices(volume: Volume, box: Box) -> None:
    index = np.ravel_multi_index(
        np.ix_(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))), volume.shape
    )
    volume.write(box, index.astype(np.uint64) + 1)


def read_all(volume: Volume) -> int:
    return int(volume.numpy().sum())


def test_metadata_is_plain_json(tmp_path) -> None:
    written(tmp_path / "a.zarr", attrs={"thresholds": [0.25, 0.5]})
    meta = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert meta["attributes"]["thresholds"] == [0.25, 0.5]
    assert meta["attributes"]["neuropil"] == {"complete": False}
