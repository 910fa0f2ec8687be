"""Work in blocks: the labels of the whole, bit for bit, whoever does the work; begun, continued, refused, cut again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.jobs.conftest import SETTINGS

from neuropil import api
from neuropil.errors import ConfigError, IncompleteError, InputError, VolumeError
from neuropil.locks import claimed
from neuropil.volume import Volume, open_volume


def records(out: Path) -> dict[str, int]:
    """When each task was recorded as done."""
    folder = out.with_suffix(".blocks") / "done"
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.json")}


def told(labels: Volume) -> tuple[object, ...]:
    """All that blocks must not change: the voxels (as a digest), their type and place, and how many objects there are."""
    voxels = hashlib.sha256(labels.numpy().tobytes()).hexdigest()
    return voxels, labels.shape, labels.dtype, labels.offset, labels.voxel_size, labels.attrs["objects"]


@pytest.mark.parametrize("block", [(20, 26, 30), (9, 26, 11), (7, 13, 16), (64, 8, 40)])
def test_any_block_gives_the_labels_of_the_whole(aff: Path, whole: Volume, tmp_path: Path, block) -> None:
    assert told(api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=block)) == told(whole)


def test_two_processes(aff: Path, whole: Volume, tmp_path: Path) -> None:
    assert told(api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(10, 13, 30), workers=2)) == told(whole)


@pytest.mark.slow
def test_a_dask_cluster(aff: Path, whole: Volume, tmp_path: Path) -> None:
    assert told(
        api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(10, 26, 15), workers=2, dask="local")
    ) == told(whole)


@pytest.mark.parametrize("seed", [0, 1])
def test_shards_in_any_order(aff: Path, whole: Volume, tmp_path: Path, seed: int) -> None:
    out, rng, left = tmp_path / "x.zarr", np.random.default_rng(seed), "other shards"
    for _ in range(60):
        try:
            result = api.segment(aff, out=out, set=SETTINGS, block=(10, 13, 15), shard=f"{rng.integers(3)}/3")
            break
        except IncompleteError as error:
            left = str(error)
        if "other shards" not in left or out.exists():
            raise AssertionError(left)
    assert told(result) == told(whole)
    for index in range(3):  # those that come late find all done
        assert told(api.segment(aff, out=out, set=SETTINGS, block=(10, 13, 15), shard=f"{index}/3")) == told(whole)


def test_large_volumes_go_in_blocks_by_themselves(
    aff: Path, whole: Volume, tmp_path: Path, capsys, monkeypatch
) -> None:
    assert told(api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS)) == told(whole)
    assert not (tmp_path / "x.blocks").exists()
    monkeypatch.setattr("neuropil.jobs.begin.whole_bytes", lambda box, channels: 5 * 2**30)
    with pytest.raises(InputError, match="more --memory"):
        api.segment(aff, out=tmp_path / "y.zarr", set=SETTINGS, memory="100MB")
    assert "forecast" not in capsys.readouterr().err
    assert told(api.segment(aff, out=tmp_path / "z.zarr", set=SETTINGS)) == told(whole)
    assert "1 blocks; about" in capsys.readouterr().err
    assert api.segment(aff, set=SETTINGS).layout["format"] == "memory"  # no output, no blocks


def test_a_finished_job_is_checked_and_damage_is_mended(aff: Path, whole: Volume, tmp_path: Path) -> None:
    out, ask = tmp_path / "x.zarr", {"set": SETTINGS, "block": (10, 13, 15)}
    api.segment(aff, out=out, **ask)
    before = records(out)
    assert told(api.segment(aff, out=out, **ask)) == told(whole)
    assert records(out) == before
    shard = out / "s0/c/1/0/1"
    shard.write_bytes(shard.read_bytes()[:-20] + b"\0" * 20)
    piece = out.with_suffix(".blocks") / "pieces.zarr/s0/c/0/1/0"
    piece.unlink()
    assert told(api.segment(aff, out=out, **ask)) == told(whole)
    changed = {name for name, at in records(out).items() if at != before[name]}
    assert changed == {"labels/5.json", "fragments/2.json"}


def test_memory_and_shards_do_not_matter_to_a_job_that_goes_on(aff: Path, whole: Volume, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    with pytest.raises(IncompleteError):
        api.segment(aff, out=out, set=SETTINGS, block=(10, 13, 15), shard="1/2")
    before = records(out)
    assert len(before) == 4
    assert told(api.segment(aff, out=out, set=SETTINGS, memory="900 MiB")) == told(whole)
    assert {name: records(out)[name] for name in before} == before


def test_other_work_is_refused_unless_told(aff: Path, whole: Volume, tmp_path: Path) -> None:
    out, ask = tmp_path / "x.zarr", {"set": SETTINGS, "block": (20, 13, 30)}
    with pytest.raises(IncompleteError):
        api.segment(aff, out=out, **ask, shard="0/2")
    with pytest.raises(ConfigError, match=r"segment\.threshold = 0\.55, not 0\.4"):
        api.segment(aff, out=out, **ask, threshold=0.4)
    with pytest.raises(ConfigError, match="block"):
        api.segment(aff, out=out, set=SETTINGS, block=(20, 26, 30))
    other = tmp_path / "other.zarr"
    shutil.copytree(aff, other)
    with pytest.raises(ConfigError, match=r"source\.name"):
        api.segment(other, out=out, **ask)
    assert told(api.segment(aff, out=out, **ask)) == told(whole)
    assert told(api.segment(aff, out=out, **ask, threshold=0.4, overwrite=True)) == told(
        api.segment(aff, set=[*SETTINGS, "segment.threshold=0.4"])
    )


def test_another_source_of_the_same_name_is_refused(aff: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "a.zarr", tmp_path / "x.zarr"
    shutil.copytree(aff, source)
    with pytest.raises(IncompleteError):
        api.segment(source, out=out, set=SETTINGS, block=(20, 13, 30), shard="0/2")
    volume = open_volume(source)
    changed = Volume(
        volume.numpy() // 2,
        volume.voxel_size,
        volume.offset,
        "czyx",
        "affinities",
        attrs=volume.attrs,
        name=volume.name,
    )
    with pytest.raises(ConfigError, match="probes"):
        api.segment(changed, out=out, set=SETTINGS, block=(20, 13, 30))


def test_a_second_run_on_one_output_is_refused(aff: Path, tmp_path: Path) -> None:
    out, ask = tmp_path / "x.zarr", {"set": SETTINGS, "block": (20, 13, 30)}
    with claimed(tmp_path / "x.blocks/locks", "run", lambda other: True, 60):
        for shard in (None, "0/2"):
            with pytest.raises(VolumeError, match="being worked on by process"):
                api.segment(aff, out=out, **ask, shard=shard)
    with (
        claimed(tmp_path / "x.blocks/locks", "shard-0-of-2", lambda other: True, 60),
        pytest.raises(VolumeError, match="shard-0-of-2"),
    ):
        api.segment(aff, out=out, **ask, shard="2/3")
    assert not out.exists()


def test_an_old_output_stays_until_the_new_one_is_whole(aff: Path, whole: Volume, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    old = api.segment(aff, out=out, set=[*SETTINGS, "segment.threshold=0.9"])
    with pytest.raises(VolumeError, match="exists already"):
        api.segment(aff, out=out, set=SETTINGS, block=(10, 26, 30))
    assert not (tmp_path / "x.blocks").exists()
    with pytest.raises(IncompleteError):
        api.segment(aff, out=out, set=SETTINGS, block=(10, 26, 30), shard="0/2", overwrite=True)
    np.testing.assert_array_equal(open_volume(out).numpy(), old.numpy())
    with pytest.raises(VolumeError, match="exists already"):
        api.segment(aff, out=out, set=SETTINGS, block=(10, 26, 30))
    assert told(api.segment(aff, out=out, set=SETTINGS, block=(10, 26, 30), overwrite=True)) == told(whole)
    assert {p.name for p in tmp_path.iterdir()} == {"x.zarr", "x.blocks"}


def test_a_graph_is_cut_again(aff: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    api.segment(aff, out=out, set=SETTINGS, block=(10, 13, 30))
    for threshold, min_size in ((0.3, 15), (0.8, 0)):
        words = [f"segment.min_size={min_size}"]
        again = tmp_path / f"y{min_size}.zarr"
        found = api.segment(from_graph=out, out=again, threshold=threshold, set=words)
        assert told(found) == told(api.segment(aff, set=[*SETTINGS, *words], threshold=threshold))
        assert {p.parent.name for p in (again.with_suffix(".blocks") / "done").rglob("*.json")} == {
            "objects",
            "labels",
        }
    with pytest.raises(ConfigError, match="min_size"):
        api.segment(from_graph=out, out=tmp_path / "z.zarr", threshold=0.3, set=["segment.score=quantile"])
    with pytest.raises(VolumeError, match="holds no graph"):
        api.segment(from_graph=tmp_path / "no.zarr", out=tmp_path / "z.zarr", threshold=0.3)
    with pytest.raises(InputError, match="no other source"):
        api.segment(aff, from_graph=out, out=tmp_path / "z.zarr", threshold=0.3)


def test_a_graph_that_is_not_there_yet_cannot_be_cut(aff: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError):
        api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(10, 13, 30), shard="0/2")
    with pytest.raises(IncompleteError, match="no graph yet"):
        api.segment(from_graph=tmp_path / "x.zarr", out=tmp_path / "z.zarr", threshold=0.3)


def test_status_and_records_say_how_far_it_is(aff: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    with pytest.raises(VolumeError, match="holds no work"):
        api.status(out)
    with pytest.raises(IncompleteError):
        api.segment(aff, out=out, set=SETTINGS, block=(10, 13, 30), shard="0/3")
    found = api.status(out)
    first = found["stages"][0]
    assert (first["stage"], first["tasks"], first["done"], first["missing"]) == ("fragments", 4, 2, 2)
    assert found["missing"] == sum(s["tasks"] for s in found["stages"]) - 2
    result = api.segment(aff, out=out, set=SETTINGS)
    assert api.status(out.with_suffix(".blocks"))["missing"] == 0
    timings = result.attrs["timings"]
    assert list(timings)[:7] == ["fragments", "faces", "numbers", "contract_1", "graph", "objects", "labels"]
    assert all(timings[k]["peak_bytes"] > 2**20 and timings[k]["voxels"] == 20 * 26 * 30 for k in list(timings)[:7])
    assert "provenance" in result.attrs


def test_what_cannot_be_done_in_blocks_is_refused(aff: Path, tmp_path: Path) -> None:
    for words, match in (
        (["segment.method=mutex"], "mutex"),
        (["segment.fragments.method=watershed", "segment.threshold=0.5"], "watershed"),
    ):
        with pytest.raises(ConfigError, match=match):
            api.segment(aff, out=tmp_path / "x.zarr", set=words, block=(10, 13, 30))
    with pytest.raises(ConfigError, match="--out"):
        api.segment(aff, set=SETTINGS, workers=2)
    held = open_volume(aff)
    data = Volume(held.numpy(), held.voxel_size, held.offset, "czyx", "affinities", attrs=held.attrs)
    with pytest.raises(ConfigError, match="in memory"):
        api.segment(data, out=tmp_path / "x.zarr", set=SETTINGS, workers=2, block=(10, 13, 30))
    with pytest.raises(ConfigError, match="3/3"):
        api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, shard="3/3", block=(10, 13, 30))
    with pytest.raises(InputError, match="4GB"):
        api.segment(aff, out=tmp_path / "x.zarr", memory="much")
    with pytest.raises(InputError, match="nothing to segment"):
        api.segment(out=tmp_path / "x.zarr")


def test_what_does_not_fit_on_the_disk_is_refused_before_it_starts(aff: Path, tmp_path: Path, monkeypatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("neuropil.jobs.forecast.shutil.disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(VolumeError, match="free disk"):
        api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(10, 13, 30))
    assert not list(tmp_path.iterdir())


def test_blocks_grow_with_the_memory_and_stay_below_it() -> None:
    from neuropil.affinities import NEAREST
    from neuropil.config import SegmentConfig
    from neuropil.geometry import Box
    from neuropil.jobs.forecast import block_bytes, fitting_block
    from neuropil.post.blocks import cutting

    for voxel in ((8.0, 8.0, 8.0), (40.0, 4.0, 4.0)):
        volume = Box((5, 0, 0), (4000, 4000, 4000), voxel)
        cut = cutting(NEAREST, voxel, SegmentConfig())
        sizes = []
        for gib in (0.6, 1, 2, 4, 8):
            block = fitting_block(volume, cut, int(gib * 2**30))
            assert block_bytes(volume, block, cut) <= gib * 2**30
            sizes.append(np.prod(block))
        assert sizes == sorted(sizes)
        assert sizes[-1] > 4 * sizes[0]


def test_the_plan_says_what_the_result_depends_on(aff: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError):
        api.segment(aff, out=tmp_path / "x.zarr", set=SETTINGS, block=(10, 13, 30), shard="0/2")
    plan = json.loads((tmp_path / "x.blocks/plan.json").read_text())
    assert plan["what"]["segment"]["threshold"] == 0.55
    assert plan["what"]["block"] == [10, 13, 30]
    assert plan["what"]["source"]["shape"] == [4, 20, 26, 30]
