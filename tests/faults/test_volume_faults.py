"""Bad input and bad disks, as they meet a volume: each one clear error, and never a half result that looks whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import zarr

from neuropil.errors import GeometryError, IncompleteError, InputError, NeuropilError, VolumeError
from neuropil.io import save_volume
from neuropil.lazy import check_finite
from neuropil.outputs import require_free
from neuropil.volume import Volume, open_volume, require_kind, require_same_grid

NM = (40.0, 4.0, 4.0)
RNG = np.random.default_rng(0)
RAW = RNG.integers(0, 255, (16, 64, 64), dtype=np.uint8)

FULL_DISK = """
import resource, sys
import numpy as np
from neuropil.errors import VolumeError
from neuropil.io import save_volume
from neuropil.volume import Volume
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0).integers(0, 255, (16, 128, 128), dtype=np.uint8)
try:
    save_volume(Volume(noise, (40, 4, 4)), sys.argv[1])
except VolumeError as error:
    print(error)
    sys.exit(error.exit_code)
"""

SLOW_WRITER = """
import sys, time
import numpy as np
from neuropil.io.zarr import create_zarr
volume = create_zarr(sys.argv[1], (64, 64, 64), "uint8", (8, 8, 8), chunk=(8, 64, 64), shard=(8, 64, 64))
for block in volume.blocks():
    volume.write(block.write, np.ones(block.write.shape, np.uint8))
    print("wrote", flush=True)
    time.sleep(0.3)
"""


SLOW_OVERWRITER = """
import sys, time
import numpy as np
from neuropil.outputs import new_output, require_free
from neuropil.volume import Volume
like = Volume(np.zeros((64, 64, 64), np.uint8), (8, 8, 8))
seconds, value = float(sys.argv[2]), int(sys.argv[3])
require_free(sys.argv[1], [], overwrite=True)
new = new_output(
    sys.argv[1], like.shape, like.dtype, like, kind="image", attrs={}, overwrite=True, shard=(8, 64, 64)
)
with new as target:
    for block in target.blocks():
        target.write(block.write, np.full(block.write.shape, value, np.uint8))
        print("wrote", flush=True)
        time.sleep(seconds)
"""


@pytest.mark.parametrize("place", ["a.zarr", "a.h5:raw", "a.tif"])
def test_full_disk(tmp_path, place) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"{tmp_path}/{place}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "disk is full" in run.stdout
    assert "Traceback" not in run.stderr
    with pytest.raises(NeuropilError):
        open_volume(f"{tmp_path}/{place}", voxel_size=NM)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_writing(tmp_path, stop) -> None:
    out = tmp_path / "a.zarr"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == b"wrote"
        time.sleep(0.05)
        writer.send_signal(stop)
        assert writer.wait(timeout=30) != 0
    with pytest.raises(IncompleteError, match="interrupted"):
        open_volume(out)
    save_volume(Volume(RAW, NM), out)
    np.testing.assert_array_equal(open_volume(out).numpy(), RAW)


def test_killed_while_overwriting(tmp_path) -> None:
    out = tmp_path / "a.zarr"
    command = [sys.executable, "-c", SLOW_OVERWRITER, str(out)]
    subprocess.run([*command, "0", "1"], check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen([*command, "0.5", "2"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == b"wrote"
        # another command sees that this one is at work, and leaves its files alone
        require_free(out, [], overwrite=True)
        assert len(list(tmp_path.iterdir())) == 2
        writer.kill()
        writer.wait(timeout=30)
    assert (open_volume(out).numpy() == 1).all()
    assert len(list(tmp_path.iterdir())) == 2
    subprocess.run([*command, "0", "3"], check=True, stdout=subprocess.DEVNULL)
    assert (open_volume(out).numpy() == 3).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_lost_shard_is_not_read_as_zeros(tmp_path) -> None:
    save_volume(Volume(RAW, NM), tmp_path / "a.zarr")
    os.remove(tmp_path / "a.zarr" / "s0" / "c" / "0" / "0" / "0")
    with pytest.raises(VolumeError, match="lost its file c/0/0/0"):
        open_volume(tmp_path / "a.zarr").numpy()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"zarr_format": 3, "node_type": "array"}'])
def test_broken_zarr_metadata(tmp_path, text) -> None:
    save_volume(Volume(RAW, NM), tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "s0" / "zarr.json").write_text(text)
    with pytest.raises(VolumeError):
        open_volume(tmp_path / "a.zarr")


def test_zarr_without_metadata(tmp_path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(VolumeError, match="no Zarr metadata"):
        open_volume(tmp_path / "a.zarr")


def test_zarr_of_an_unknown_codec(tmp_path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=RAW).attrs["resolution"] = NM
    path = tmp_path / "a.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"zstd"', '"magic"'))
    with pytest.raises(VolumeError, match="reading failed"):
        open_volume(tmp_path / "a.zarr").numpy()


def test_hdf5_with_a_damaged_chunk(tmp_path) -> None:
    save_volume(Volume(RAW, NM), f"{tmp_path}/a.h5:raw")
    with h5py.File(tmp_path / "a.h5") as file:
        where = file["raw"].id.get_chunk_info(0).byte_offset
    with open(tmp_path / "a.h5", "r+b") as raw:
        raw.seek(where)
        raw.write(b"\xff" * 200)
    with pytest.raises(VolumeError, match="reading failed"):
        open_volume(tmp_path / "a.h5").numpy()


def test_not_what_its_name_says(tmp_path) -> None:
    for name in ("a.h5", "a.tif"):
        (tmp_path / name).write_text("hello, I am a letter and not a volume")
        with pytest.raises(VolumeError, match=name):
            open_volume(tmp_path / name, voxel_size=NM)


def test_unreadable_place(tmp_path) -> None:
    with pytest.raises(VolumeError, match="does not exist"):
        save_volume(Volume(RAW, NM), f"{tmp_path}/no/a.h5:raw")


def test_labels_as_image(tmp_path) -> None:
    save_volume(Volume(RAW.astype(np.uint64), NM), f"{tmp_path}/a.h5:labels")
    with pytest.raises(InputError, match="holds labels"):
        require_kind(open_volume(f"{tmp_path}/a.h5:labels"), "image")


def test_image_and_labels_that_do_not_match(tmp_path) -> None:
    image = Volume(RAW, NM)
    with pytest.raises(GeometryError, match="shapes"):
        require_same_grid(image, Volume(RAW[:8].astype(np.uint64), NM))
    with pytest.raises(GeometryError, match="voxel sizes"):
        require_same_grid(image, Volume(RAW.astype(np.uint64), (8, 8, 8)))


def test_nan_in_an_image(tmp_path) -> None:
    data = RAW.astype(np.float32)
    data[3, 4, 5] = np.nan
    save_volume(Volume(data, NM), f"{tmp_path}/a.h5:raw")
    volume = open_volume(f"{tmp_path}/a.h5:raw")
    with pytest.raises(InputError, match=r"index \(3, 4, 5\)"):
        check_finite(volume.numpy(), volume.name)
