"""Organelles and masks in blocks: the objects of the whole, bit for bit, from a prediction or a run, by whoever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.jobs.conftest import SHAPE
from tests.unit.jobs.test_run import told
from tests.unit.post.organelles import CONFIG, noisy_prediction

from neuropil import api
from neuropil.errors import ConfigError, IncompleteError, InputError
from neuropil.io import save_volume
from neuropil.tasks.base import no_blocks, task_named
from neuropil.volume import Volume

WHOLE_ONLY = replace(task_named("mitochondria"), blocks=no_blocks)
PIECES = ("instances.components=true", "instances.foreground=0.8")


@pytest.fixture(scope="module")
def whole(organelles: Path) -> Volume:
    """The objects of the volume as one."""
    found = api.segment(organelles)
    assert found.attrs["objects"] > 10
    return found


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction of foreground alone."""
    attrs = {"task": "semantic", "channels": ["foreground"], "instances": CONFIG.model_dump(mode="json")}
    path = tmp_path_factory.mktemp("mask") / "mask.zarr"
    save_volume(Volume(noisy_prediction(SHAPE)[:1], (8, 8, 8), (0, 0, 8), "czyx", "prediction", attrs=attrs), path)
    return path


@pytest.mark.parametrize("block", [(20, 26, 30), (9, 26, 11), (7, 13, 16), (64, 8, 40)])
def test_any_block_gives_the_objects_of_the_whole(organelles: Path, whole: Volume, tmp_path: Path, block) -> None:
    assert told(api.segment(organelles, out=tmp_path / "x.zarr", block=block)) == told(whole)


@pytest.mark.parametrize("words", [(), PIECES])
def test_masks_and_their_pieces(mask: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    found = api.segment(mask, out=tmp_path / "x.zarr", block=(7, 13, 16), set=words)
    assert told(found) == told(api.segment(mask, set=words))
    assert (found.attrs["objects"] > 5) if words else (found.attrs["objects"] == 1)


def test_two_processes_a_pyramid_skeletons_and_meshes(organelles: Path, whole: Volume, tmp_path: Path) -> None:
    words = ["objects.min_voxels=100", "objects.cell=16"]
    ask = {"set": words, "skeletons": True, "meshes": True}
    for name, how in {"one": {}, "two": {"block": (10, 13, 30), "workers": 2}}.items():
        found = api.segment(organelles, out=tmp_path / f"{name}.precomputed", **ask, **how)
        np.testing.assert_array_equal(found.numpy(), whole.numpy())
    made = {
        name: {
            str(p.relative_to(tmp_path / f"{name}.precomputed")): p.read_bytes()
            for folder in ("meshes", "skeletons", "swc")
            for p in (tmp_path / f"{name}.precomputed" / folder).iterdir()
        }
        for name in ("one", "two")
    }
    assert made["one"] == made["two"]
    assert len(made["one"]) > 6
    assert api.status(tmp_path / "two.precomputed")["missing"] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_shards_in_any_order(organelles: Path, whole: Volume, tmp_path: Path, seed: int) -> None:
    out, rng = tmp_path / "x.zarr", np.random.default_rng(seed)
    for _ in range(60):
        try:
            result = api.segment(organelles, out=out, block=(10, 13, 15), shard=f"{rng.integers(3)}/3")
            break
        except IncompleteError as error:
            assert "other shards" in str(error)  # noqa: PT017
    assert told(result) == told(whole)


def test_large_volumes_go_in_blocks_by_themselves(
    organelles: Path, whole: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    assert told(api.segment(organelles, out=tmp_path / "x.zarr")) == told(whole)
    assert not (tmp_path / "x.blocks").exists()
    monkeypatch.setattr("neuropil.jobs.begin.whole_bytes", lambda box, channels: 5 * 2**30)
    assert told(api.segment(organelles, out=tmp_path / "y.zarr")) == told(whole)
    assert "1 blocks; about" in capsys.readouterr().err


def test_sizes_are_chosen_again_without_the_prediction(organelles: Path, mask: Path, tmp_path: Path) -> None:
    for source, first, words in ((organelles, (), ("instances.min_size_um3=0.0001",)), (mask, PIECES[1:], PIECES[:1])):
        out, again = tmp_path / source.name, tmp_path / f"again_{source.name}"
        before = api.segment(source, out=out, block=(10, 13, 30), set=first)
        found = api.segment(from_graph=out, out=again, set=words)
        assert told(found) == told(api.segment(source, set=[*first, *words]))
        assert found.attrs["objects"] != before.attrs["objects"]
        with pytest.raises(ConfigError, match=r"instances\.min_size_um3, instances\.components"):
            api.segment(from_graph=out, out=tmp_path / "z.zarr", set=["instances.foreground=0.4"])
        with pytest.raises(ConfigError, match=r"instances\.min_size_um3"):
            api.segment(from_graph=out, out=tmp_path / "z.zarr", threshold=0.4)


def test_the_plan_says_what_the_result_depends_on(organelles: Path, whole: Volume, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    with pytest.raises(IncompleteError):
        api.segment(organelles, out=out, block=(10, 13, 30), shard="0/2")
    plan = json.loads((tmp_path / "x.blocks/plan.json").read_text())["what"]
    assert (plan["task"], plan["instances"]) == ("mitochondria", CONFIG.model_dump(mode="json"))
    assert "segment" not in plan
    with pytest.raises(ConfigError, match=r"instances\.foreground = 0\.5, not 0\.4"):
        api.segment(organelles, out=out, set=["instances.foreground=0.4"])
    assert told(api.segment(organelles, out=out)) == told(whole)


def test_what_is_no_such_prediction_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attrs = {"task": "mitochondria"}
    for data in (np.zeros((2, 8, 9, 9), np.uint8), np.zeros((3, 8, 9, 9), np.float32)):
        held = Volume(data, (8, 8, 8), (0, 0, 0), "czyx", "prediction", attrs=attrs, name="some name")
        for ask in ({}, {"out": tmp_path / "x.zarr", "block": (8, 9, 9)}):
            with pytest.raises(InputError, match="at least 3 channels"):
                api.segment(held, **ask)
    assert not list(tmp_path.iterdir())
    nothing = Volume(np.zeros((3, 8, 9, 9), np.uint8), (8, 8, 8), (0, 0, 0), "czyx", "prediction", attrs=attrs)
    assert not api.segment(nothing, out=tmp_path / "x.zarr", block=(8, 5, 9)).numpy().any()
    assert "holds no object" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--threshold"):
        api.segment(nothing, out=tmp_path / "y.zarr", block=(8, 5, 9), threshold=0.5)


def test_a_task_without_a_way_in_blocks_is_refused(tmp_path: Path) -> None:
    attrs = {"task": "tests.unit.jobs.test_organelles:WHOLE_ONLY"}
    held = Volume(np.zeros((3, 8, 9, 9), np.uint8), (8, 8, 8), (0, 0, 0), "czyx", "prediction", attrs=attrs)
    with pytest.raises(ConfigError, match="depends on all of the volume"):
        api.segment(held, out=tmp_path / "x.zarr", block=(8, 5, 9))
    assert not list(tmp_path.iterdir())
    assert api.segment(held, out=tmp_path / "x.zarr").attrs["objects"] == 0
