"""Work in blocks that is killed, starved of disk, or damaged: it goes on where it was, to the very same bytes."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.unit.post.organelles import CONFIG, noisy_prediction

from neuropil import api, open_volume
from neuropil.errors import IncompleteError
from neuropil.io import save_volume
from neuropil.volume import Volume

NEUROPIL = str(Path(sys.executable).with_name("neuropil"))
SHAPE = (20, 26, 30)
KILLS = 6


@pytest.fixture(scope="module")
def aff(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small affinities on disk."""
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in range(3)])
    data = np.clip(150 + 1200 * smooth, 0, 255).astype(np.uint8)
    attrs = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    path = tmp_path_factory.mktemp("faults") / "aff.zarr"
    save_volume(Volume(data, (8, 8, 8), (0, 0, 0), "czyx", "affinities", attrs=attrs), path)
    return path


@pytest.fixture(scope="module")
def organelles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prediction of organelles on disk."""
    attrs = {"task": "mitochondria", "instances": CONFIG.model_dump(mode="json")}
    path = tmp_path_factory.mktemp("faults") / "organelles.zarr"
    save_volume(Volume(noisy_prediction(SHAPE), (8, 8, 8), (0, 0, 0), "czyx", "prediction", attrs=attrs), path)
    return path


#: Of each source.
SETTINGS = {"aff": ("segment.threshold=0.55", "segment.fragments.radius_nm=32"), "organelles": ()}


def words(aff: Path, out: Path, *more: str) -> list[str]:
    chosen = [w for s in SETTINGS[aff.stem] for w in ("--set", s)]
    return [NEUROPIL, "segment", str(aff), "--out", str(out), "--block", "7,13,15", *chosen, *more]


def records(out: Path) -> dict[str, int]:
    folder = out.with_suffix(".blocks") / "done"
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("[0-9]*.json")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("c/*")) if p.is_file()}


def kill(aff: Path, out: Path, rng: random.Random, *more: str, ahead: int = 5) -> bool:
    """Start the work, kill it a few tasks later; False if it had ended by then."""
    before = records(out)
    process = subprocess.Popen(words(aff, out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    enough, deadline = len(before) + rng.randint(1, ahead), time.monotonic() + 60
    while len(records(out)) < enough and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(rng.random() * 0.01)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    now = records(out)
    assert {name: now.get(name) for name in before} == before, "what was done was done again"
    if killed and not out.exists():
        with pytest.raises(OSError, match="does not exist"):
            open_volume(out)
    return killed


def same_bytes(out: Path, straight: Path) -> None:
    assert contents(out) == contents(straight)
    kept, clean = out.with_suffix(".blocks"), straight.with_suffix(".blocks")
    for name in ("parts", "faces", "pairs", "numbers", "contract", "graph", "objects"):
        for file in sorted((clean / name).rglob("*.np[yz]")):  # organelles have no contacts to contract
            assert (kept / file.relative_to(clean)).read_bytes() == file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("source", SETTINGS)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    aff, straight, rng = request.getfixturevalue(source), tmp_path / "straight.zarr", random.Random(4)
    kills = runs = 0
    subprocess.run(words(aff, straight), check=True, capture_output=True)
    np.testing.assert_array_equal(open_volume(straight).numpy(), api.segment(aff, set=SETTINGS[source]).numpy())
    while kills < KILLS:
        out = tmp_path / f"x{runs}.zarr"
        if kill(aff, out, rng, *(["--workers", "2"] if kills == 2 else [])):
            kills += 1
        else:
            same_bytes(out, straight)
            runs += 1
    out = tmp_path / f"x{runs}.zarr"
    before = records(out)
    subprocess.run(words(aff, out), check=True, capture_output=True)
    assert {name: records(out)[name] for name in before} == before
    same_bytes(out, straight)


def test_two_runs_on_one_output_the_second_is_refused(aff: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    first = subprocess.Popen(words(aff, out), stderr=subprocess.PIPE)
    while not records(out):
        assert first.poll() is None
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)  # alive, but it will not end before the second one comes
    try:
        second = subprocess.run(words(aff, out), capture_output=True, text=True, check=False, timeout=60)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    first.communicate()
    assert first.returncode == 0
    assert open_volume(out).shape == SHAPE


def _little_disk() -> None:
    """Files of this process end at 6 kB, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(aff: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    ended = subprocess.run(words(aff, out), capture_output=True, text=True, check=False, preexec_fn=_little_disk)
    assert ended.returncode == 3
    assert "tasks of stage 'fragments' failed" in ended.stderr
    assert "disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr
    shown = subprocess.run([NEUROPIL, "status", str(out)], capture_output=True, text=True, check=False)
    assert shown.returncode == 3
    assert "disk is full" in shown.stdout
    subprocess.run(words(aff, out), check=True, capture_output=True)
    shown = subprocess.run([NEUROPIL, "status", str(out)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0


def test_a_broken_intermediate_is_one_clear_error_then_mended(aff: Path, tmp_path: Path) -> None:
    out, ask = tmp_path / "x.zarr", {"block": (10, 13, 30), "threshold": 0.5}
    for shard in ("1/2", "0/2"):
        with pytest.raises(IncompleteError, match="other shards"):
            api.segment(aff, out=out, **ask, shard=shard)
    faces = tmp_path / "x.blocks/faces/0.npz"
    faces.write_bytes(faces.read_bytes()[:100])
    with pytest.raises(IncompleteError, match=r"0\.npz' cannot be read"):
        api.segment(aff, out=out, **ask, shard="1/2")  # not its own task: it is told what is wrong
    result = api.segment(aff, out=out, **ask)
    np.testing.assert_array_equal(result.numpy(), api.segment(aff, threshold=0.5).numpy())


@pytest.mark.slow
def test_objects_of_work_that_is_killed_are_the_same_bytes(aff: Path, tmp_path: Path) -> None:
    asked = ("--skeletons", "--meshes", "--set", "objects.cell=10", "--set", "objects.min_voxels=20")
    straight, rng, kills, runs = tmp_path / "straight.zarr", random.Random(5), 0, 0
    subprocess.run(words(aff, straight, *asked), check=True, capture_output=True)
    while kills < KILLS or not runs:
        done = not kill(aff, tmp_path / f"x{runs}.zarr", rng, *asked, ahead=30)
        kills, runs = kills + (not done), runs + done
        if done:
            assert objects_of(tmp_path / f"x{runs - 1}.zarr") == objects_of(straight)
    out = tmp_path / f"x{runs}.zarr"
    subprocess.run(words(aff, out, *asked), check=True, capture_output=True)
    assert objects_of(out) == objects_of(straight)
    assert len(objects_of(out)) > 20


def objects_of(out: Path) -> dict[str, bytes]:
    folders = ("skeletons", "swc", "meshes")
    return {str(p.relative_to(out)): p.read_bytes() for f in folders for p in (out / f).rglob("*") if p.is_file()}
