"""Precomputed volumes: what neuroglancer's own layout says, scales, types, and places on a server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore
from tests.unit.io.webserver import served

from neuropil.errors import InputError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.io.pyramid import downsampled
from neuropil.volume import Volume, open_volume

NM = (40.0, 8.0, 8.0)
RNG = np.random.default_rng(0)


def labels(dtype: str = "uint64", offset: tuple[float, float, float] = (40.0, 24.0, 8.0)) -> Volume:
    ids = RNG.integers(0, 5, (10, 19, 18)).repeat(8, 1).repeat(8, 2).astype(dtype)
    return Volume(ids, NM, offset, kind="labels", attrs={"note": "hello"})


def foreign(folder: Path, data_XYZC: np.ndarray, **scale: object) -> None:
    """As another program writes it."""
    about = {"type": "image", "data_type": data_XYZC.dtype.name, "num_channels": data_XYZC.shape[3]}
    given = {"size": data_XYZC.shape[:3], "chunk_size": [32, 32, 16], "resolution": [8, 8, 40], "encoding": "raw"}
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(folder)}}
    spec |= {"multiscale_metadata": about, "scale_metadata": given | scale}
    tensorstore.open(spec, create=True).result().write(data_XYZC).result()


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64", "int64"])
def test_labels_are_a_segmentation_with_scales(tmp_path: Path, dtype: str) -> None:
    volume = labels(dtype)
    save_volume(volume, tmp_path / "a.precomputed")
    info = json.loads((tmp_path / "a.precomputed/info").read_text())
    assert (info["@type"], info["type"]) == ("neuroglancer_multiscale_volume", "segmentation")
    assert [s["resolution"] for s in info["scales"]] == [[8, 8, 40], [16, 16, 40], [32, 32, 40]]
    assert info["scales"][0]["voxel_offset"] == [1, 3, 1]
    again = open_volume(tmp_path / "a.precomputed")
    np.testing.assert_array_equal(again.numpy(), volume.numpy())
    assert (again.box, again.kind, again.attrs) == (volume.box, "labels", {"note": "hello"})


def test_coarser_scales_lie_on_the_grid_of_the_world(tmp_path: Path) -> None:
    volume = labels()
    save_volume(volume, tmp_path / "a.precomputed")
    coarse = open_volume(f"{tmp_path}/a.precomputed:16_16_40")
    # the volume starts at voxel 3 and 1: the first cells hold one voxel of it along y and x
    assert coarse.box == Box((1, 1, 0), (11, 78, 73), (40.0, 16.0, 16.0))
    np.testing.assert_array_equal(
        coarse.numpy()[:, 1:, 1:], downsampled(volume.numpy()[:, 1:, 1:], (1, 2, 2), "labels")
    )
    np.testing.assert_array_equal(coarse.numpy()[:, 0, 0], volume.numpy()[:, 0, 0])


def test_affinities_keep_channels_and_steps(tmp_path: Path) -> None:
    data = RNG.random((3, 70, 17, 19)).astype(np.float32)
    steps = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    volume = Volume(data, NM, axes="czyx", kind="affinities", attrs={"offsets": steps})
    save_volume(volume, tmp_path / "a.precomputed")
    again = open_volume(tmp_path / "a.precomputed")
    np.testing.assert_array_equal(again.numpy(), data)
    assert again.attributes() == volume.attributes()


def test_other_programs_volumes_on_disk_and_on_a_server(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (70, 50, 40, 1)).astype(np.uint8)
    sharding = {"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "minishard_bits": 1, "shard_bits": 1}
    for name, more in {"plain": {}, "sharded": {"sharding": sharding | {"hash": "identity"}}}.items():
        foreign(tmp_path / name, data, voxel_offset=[4, 3, 2], **more)
        local = open_volume(tmp_path / name)
        assert (local.kind, local.box.start, local.voxel_size) == ("image", (2, 3, 4), NM)
        np.testing.assert_array_equal(local.numpy(), data[..., 0].T)
        with served(tmp_path) as (address, _):
            for url in (f"{address}/{name}", f"precomputed://{address}/{name}", f"{address}/{name}:8_8_40"):
                volume = open_volume(url)
                assert volume.box == local.box
                np.testing.assert_array_equal(volume.numpy(), local.numpy())


def test_a_chunk_of_ours_that_is_lost_is_no_zeros(tmp_path: Path) -> None:
    save_volume(labels(), tmp_path / "a.precomputed")
    next((tmp_path / "a.precomputed/8_8_40").iterdir()).unlink()
    with pytest.raises(VolumeError, match="missing"):
        open_volume(tmp_path / "a.precomputed").numpy()


def test_a_scale_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    save_volume(labels(), tmp_path / "a.precomputed")
    with pytest.raises(VolumeError, match=r"(?s)8_8_40 .*16_16_40"):
        open_volume(f"{tmp_path}/a.precomputed:4_4_4")
    (tmp_path / "a.precomputed/info").write_text('{"scales": [{}]}')
    with pytest.raises(VolumeError, match="unusable"):
        open_volume(tmp_path / "a.precomputed")


def test_types_that_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float64"):
        save_volume(Volume(RNG.random((4, 4, 4)), NM, kind="image"), tmp_path / "a.precomputed")
    assert not list(tmp_path.iterdir())
