"""HDF5: CREMI files, naming of datasets, handles in other processes, writing whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest

from neuropil.errors import VolumeError
from neuropil.io.hdf5 import FORMAT, write_hdf5
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)
RAW = np.random.default_rng(0).integers(0, 255, (6, 10, 12), dtype=np.uint8)


@pytest.fixture
def cremi(tmp_path):
    """A padded CREMI sample in small: labels lie inside the raw, by an offset in nm."""
    path = tmp_path / "sample_A_padded.hdf"
    labels = np.full((2, 3, 4), 2**64 - 1, np.uint64)
    labels[0] = 2**64 - 2
    labels[1, 1, 1] = 7
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("volumes/raw", data=RAW)
        raw.attrs["resolution"] = NM
        for name in ("clefts", "neuron_ids"):
            node = file.create_dataset(f"volumes/labels/{name}", data=labels)
            node.attrs.update({"resolution": NM, "offset": (80.0, 12.0, 16.0)})
        file.create_dataset("annotations/ids", data=np.arange(5))
    return path


def test_cremi(cremi) -> None:
    raw = open_volume(f"{cremi}:volumes/raw")
    labels = open_volume(f"{cremi}:volumes/labels/clefts")
    assert (raw.kind, labels.kind) == ("image", "labels")
    assert labels.box.start == (2, 3, 4)
    assert raw.read(labels.box).shape == labels.box.shape
    assert set(np.unique(labels.numpy()).tolist()) == {7, 2**64 - 2, 2**64 - 1}


def test_wrong_dataset_lists_those_present(cremi) -> None:
    with pytest.raises(VolumeError, match="no dataset 'raw'") as caught:
        open_volume(f"{cremi}:raw")
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
    assert "volumes/raw (6, 10, 12) uint8 40 x 4 x 4 nm" in lines
    assert not any("annotations/ids" in line for line in lines)  # a table is no volume


def test_several_volumes_must_be_named(cremi) -> None:
    with pytest.raises(VolumeError, match="several volumes"):
        open_volume(cremi)
    with pytest.raises(VolumeError, match="several volumes"):
        open_volume(f"{cremi}:volumes/labels")


def test_only_volume_needs_no_name(tmp_path) -> None:
    write_hdf5(tmp_path / "a.h5", {"x/raw": Volume(RAW, NM)})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["table"] = np.arange(4)
        file["link"] = h5py.SoftLink("/x/raw")
    for url in ("a.h5", "a.h5:x", "a.h5:x/raw", "a.h5:link"):
        np.testing.assert_array_equal(open_volume(f"{tmp_path}/{url}").numpy(), RAW)


def test_file_without_volumes(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["table"] = np.arange(4)
    with pytest.raises(VolumeError, match="holds no volume"):
        open_volume(tmp_path / "a.h5")


def test_known_by_its_signature(tmp_path) -> None:
    write_hdf5(tmp_path / "a.dat", {"raw": Volume(RAW, NM)})
    assert FORMAT.matches(tmp_path / "a.dat")
    assert open_volume(tmp_path / "a.dat").shape == RAW.shape
    assert not FORMAT.matches(tmp_path)


def test_attributes_come_back(tmp_path) -> None:
    attrs = {"offsets": [[-1, 0, 0], [0, -9, 0]], "note": "ours", "levels": [0.5, 0.25]}
    volume = Volume(np.zeros((2, 3, 4, 5), np.uint8), NM, (40, 8, 0), "czyx", "affinities", attrs=attrs)
    write_hdf5(tmp_path / "a.h5", {"affs": volume})
    again = open_volume(tmp_path / "a.h5")
    assert again.attributes() == volume.attributes()
    assert again.kind_stated


def test_adding_to_a_file_keeps_the_rest(tmp_path) -> None:
    path = tmp_path / "a.h5"
    write_hdf5(path, {"raw": Volume(RAW, NM)})
    write_hdf5(path, {"labels": Volume(RAW.astype(np.uint64), NM)})
    np.testing.assert_array_equal(open_volume(f"{path}:raw").numpy(), RAW)
    with pytest.raises(VolumeError, match="already has a dataset 'raw'"):
        write_hdf5(path, {"raw": Volume(RAW, NM)})
    assert os.listdir(tmp_path) == ["a.h5"]


class Faulty:
    """An array that fails, or is interrupted, half-way."""

    shape, dtype = (300, 4, 4), np.dtype(np.uint8)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key):
        if key[0].start > 0:
            raise self.error
        return np.zeros(tuple(k.stop - k.start for k in key), np.uint8)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("No space left on device")])
def test_half_written_file_never_appears(tmp_path, error, monkeypatch) -> None:
    monkeypatch.setattr("neuropil.io.hdf5._SLAB_BYTES", 1024)
    with pytest.raises((KeyboardInterrupt, VolumeError)):
        write_hdf5(tmp_path / "a.h5", {"raw": Volume(Faulty(error), NM)})
    assert os.listdir(tmp_path) == []


def test_closing_is_not_the_end(tmp_path) -> None:
    write_hdf5(tmp_path / "a.h5", {"raw": Volume(RAW, NM)})
    volume = open_volume(tmp_path / "a.h5")
    volume.numpy()
    volume.close()
    np.testing.assert_array_equal(volume.numpy(), RAW)


def _sum(volume: Volume) -> int:
    return int(volume.numpy().sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_volume_is_read_in_worker_processes(tmp_path, method) -> None:
    write_hdf5(tmp_path / "a.h5", {"raw": Volume(RAW, NM)})
    volume = open_volume(tmp_path / "a.h5")
    assert _sum(volume) == RAW.sum()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_sum, [volume] * 4) == [RAW.sum()] * 4
    assert _sum(volume) == RAW.sum()


def test_inherited_handle_is_replaced(tmp_path) -> None:
    write_hdf5(tmp_path / "a.h5", {"raw": Volume(RAW, NM)})
    volume = open_volume(tmp_path / "a.h5")
    volume.numpy()
    before = volume.array._file
    volume.array._pid += 1  # as a forked child finds it
    volume.numpy()
    assert volume.array._file is not before
    assert pickle.loads(pickle.dumps(volume)).array._file is None


def foreign(path, data, **attributes):
    """A file with one dataset that another program wrote."""
    with h5py.File(path, "w") as file:
        file.create_dataset("exported_data", data=data).attrs.update(attributes)
    return path


def axistags(keys: str) -> str:
    return json.dumps({"axes": [{"key": k, "typeFlags": 2, "resolution": 0, "description": ""} for k in keys]})


@pytest.mark.parametrize(
    ("keys", "data"),
    [
        ("xyz", RAW.T),
        ("ZYX", RAW),
        ("zyxc", RAW[..., None]),
        ("tzyxc", RAW[None, ..., None]),
        ("yxz", RAW.transpose(1, 2, 0)),
    ],
)
def test_axes_as_ilastik_states_them(tmp_path, keys, data) -> None:
    volume = open_volume(foreign(tmp_path / "a.h5", data, axistags=axistags(keys), resolution=NM))
    np.testing.assert_array_equal(volume.numpy(), RAW)
    # written again in our order, the tags would be wrong
    assert "axistags" not in volume.attributes()


def test_channels_as_ilastik_states_them(tmp_path) -> None:
    both = np.stack([RAW, 255 - RAW])
    tags = axistags("zyxc")
    volume = open_volume(foreign(tmp_path / "a.h5", np.moveaxis(both, 0, -1), axistags=tags, resolution=NM))
    assert volume.axes == "czyx"
    np.testing.assert_array_equal(volume.numpy(), both)


@pytest.mark.parametrize(
    "tags", [axistags("xyzc"), axistags("xye"), axistags("xxy"), "xyz", "[]", "{}", '{"axes": 3}', 3]
)
def test_tags_that_do_not_fit_state_nothing(tmp_path, tags) -> None:
    volume = open_volume(foreign(tmp_path / "a.h5", RAW, axistags=tags, resolution=NM))
    np.testing.assert_array_equal(volume.numpy(), RAW)


def test_our_own_axes_come_before_tags(tmp_path) -> None:
    volume = open_volume(foreign(tmp_path / "a.h5", RAW, axes="zyx", axistags=axistags("xyz"), resolution=NM))
    np.testing.assert_array_equal(volume.numpy(), RAW)


def test_element_size_in_micrometres(tmp_path) -> None:
    volume = open_volume(foreign(tmp_path / "a.h5", RAW, element_size_um=(0.04, 0.005, 0.004)))
    assert volume.voxel_size == pytest.approx((40, 5, 4))
    assert "element_size_um" not in volume.attrs
    stated = foreign(tmp_path / "b.h5", RAW, element_size_um=(0.04, 0.005, 0.004), resolution=(8, 8, 8))
    assert open_volume(stated).voxel_size == (8, 8, 8)


def test_element_size_does_not_follow_the_order_of_axes(tmp_path) -> None:
    tags = axistags("xyz")
    volume = open_volume(foreign(tmp_path / "a.h5", RAW.T, axistags=tags, element_size_um=(0.04, 0.005, 0.004)))
    assert volume.voxel_size == pytest.approx((40, 5, 4))


def test_element_size_is_listed(tmp_path) -> None:
    path = foreign(tmp_path / "a.h5", RAW, element_size_um=(0.04, 0.005, 0.004))
    with pytest.raises(VolumeError) as caught:
        open_volume(f"{path}:raw")
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()]
    assert "exported_data (6, 10, 12) uint8 40 x 5 x 4 nm" in lines


@pytest.mark.parametrize("key", ["unit", "units"])
def test_unit_beside_the_resolution(tmp_path, key) -> None:
    path = foreign(tmp_path / "a.h5", RAW, resolution=(0.04, 0.004, 0.004), offset=(0.08, 0, 0), **{key: "um"})
    volume = open_volume(path)
    assert (volume.voxel_size, volume.box.start) == (pytest.approx(NM), (2, 0, 0))
    write_hdf5(tmp_path / "b.h5", {"raw": volume})
    assert open_volume(tmp_path / "b.h5").voxel_size == pytest.approx(NM)


def test_attributes_with_words_are_kept(tmp_path) -> None:
    attrs = {"channels": ["foreground", "contour"], "made": {"by": "a run"}}
    data = np.zeros((2, 3, 4, 5), np.uint8)
    write_hdf5(tmp_path / "a.h5", {"p": Volume(data, (8, 8, 8), axes="czyx", kind="prediction", attrs=attrs)})
    found = open_volume(f"{tmp_path}/a.h5:p").attrs
    assert list(found["channels"]) == ["foreground", "contour"]
    assert json.loads(found["made"]) == {"by": "a run"}
