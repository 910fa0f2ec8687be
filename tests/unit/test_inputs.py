"""What the verbs are given: pairs to train on, runs to go on with, affinities, times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuropil.config import Config
from neuropil.errors import GeometryError, InputError, RunError
from neuropil.inputs import opened, opened_affinities, seconds, training_pairs
from neuropil.io.hdf5 import write_hdf5
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume

IMAGE = Volume(np.zeros((4, 6, 8), np.uint8), (40, 4, 4), kind="image", name="raw")
LABELS = Volume(np.zeros((4, 6, 8), np.uint64), (40, 4, 4), kind="labels", name="ids")


@pytest.fixture
def pair_h5(tmp_path: Path) -> Path:
    """IMAGE and LABELS as datasets raw and labels."""
    write_hdf5(tmp_path / "pair.h5", {"raw": IMAGE, "labels": LABELS})
    return tmp_path / "pair.h5"


@pytest.mark.parametrize(
    ("budget", "found"), [(90, 90), (0.5, 0.5), ("90s", 90), ("30m", 1800), (" 2 h ", 7200), ("1.5m", 90)]
)
def test_times(budget: float | str, found: float) -> None:
    assert seconds(budget) == found


@pytest.mark.parametrize("budget", ["soon", "", "0s", 0, -3, "-3s", "10d", float("nan"), float("inf")])
def test_what_is_no_time(budget: float | str) -> None:
    with pytest.raises(InputError, match="30m"):
        seconds(budget)


def test_text_without_a_unit_is_not_guessed() -> None:
    with pytest.raises(InputError, match=r"without a unit.*\n.*\n.*10m or 10s"):
        seconds("10")


def test_opened_takes_volumes_and_places(pair_h5: Path) -> None:
    assert opened(IMAGE, None) is IMAGE
    silent = opened(Volume(np.zeros((4, 6, 8), np.uint8), (40, 4, 4), name="data"), (8, 8, 8))
    assert (silent.voxel_size, silent.kind_stated) == ((8, 8, 8), False)
    assert opened(IMAGE, (8, 8, 8)).kind_stated
    assert opened(f"{pair_h5}:raw", None).shape == (4, 6, 8)


def test_pairs_are_checked() -> None:
    assert training_pairs(IMAGE, LABELS, None, resumed=None) == [(IMAGE, LABELS)]
    assert training_pairs([IMAGE, IMAGE], [LABELS, LABELS], None, resumed=None) == [(IMAGE, LABELS)] * 2
    with pytest.raises(InputError, match="2 images and 1 label"):
        training_pairs([IMAGE, IMAGE], LABELS, None, resumed=None)
    with pytest.raises(InputError, match="ids holds labels"):
        training_pairs(LABELS, IMAGE, None, resumed=None)
    with pytest.raises(GeometryError, match="voxel sizes"):
        training_pairs(IMAGE, opened(LABELS, (8, 8, 8)), None, resumed=None)


def a_run(path: Path, image: str, labels: str, size: tuple[int, ...] = (8, 8, 8)) -> Run:
    return Run(path, Config(), {"voxel_size": size, "sources": [{"image": image, "labels": labels}]})


def test_a_resumed_run_knows_its_volumes_and_their_voxel_size(pair_h5: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path, f"{pair_h5}:raw", f"{pair_h5}:labels", (10, 8, 8))
    ((image, labels),) = training_pairs((), (), None, resumed=run)
    assert (image.name, labels.name) == (f"{pair_h5}:raw", f"{pair_h5}:labels")
    assert image.voxel_size == labels.voxel_size == (10, 8, 8)
    assert training_pairs(IMAGE, LABELS, None, resumed=run) == [(IMAGE, LABELS)]
    ((image, _),) = training_pairs((), (), (9, 9, 9), resumed=run)
    assert image.voxel_size == (9, 9, 9)


def test_volumes_that_are_gone_must_be_given(pair_h5: Path, tmp_path: Path) -> None:
    for image in ("array", f"{tmp_path}/moved.h5:raw"):
        with pytest.raises(RunError, match="give the volumes again"):
            training_pairs((), (), None, resumed=a_run(tmp_path, image, f"{pair_h5}:labels"))


def test_affinities_need_offsets(tmp_path: Path) -> None:
    data = np.zeros((3, 4, 4, 4), np.uint8)
    offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    good = Volume(data, (8, 8, 8), axes="czyx", attrs={"offsets": offsets})
    assert opened_affinities(good, None).offsets == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert opened_affinities(opened_affinities(good, None), None).volume is not None
    with pytest.raises(InputError, match="without offsets"):
        opened_affinities(Volume(data, (8, 8, 8), axes="czyx", kind="affinities"), None)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="no volume is given"):
        opened_affinities(tmp_path, None)


def test_only_ranges_cut_the_image_to_its_labels(tmp_path: Path) -> None:
    """A channel of labels is no part of a place: an image of another shape is still a mistake."""
    image = Volume(np.zeros((8, 16, 16), np.uint8), (1, 1, 1), kind="image", name="image")
    labels = Volume(np.ones((4, 16, 16), np.uint64), (1, 1, 1), kind="labels")
    assert training_pairs(image, labels.named("a.h5:x[0:4]"), None, resumed=None)[0][0].shape == (4, 16, 16)
    with pytest.raises(GeometryError, match="the same shape"):
        training_pairs(image, labels.named("a.h5:x[c=0]"), None, resumed=None)
