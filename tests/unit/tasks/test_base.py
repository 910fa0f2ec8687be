"""What is common to tasks: looking one up, and what a truth may be."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.config import Config
from neuropil.errors import ConfigError, InputError
from neuropil.registry import TASKS
from neuropil.tasks.base import labels_of, masks_of, task_named
from neuropil.volume import Volume

NM = (8, 8, 8)
IMAGE = Volume(np.zeros((4, 6, 8), np.uint8), NM, kind="image")


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_of_the_table_is_one(name: str) -> None:
    task = task_named(name)
    assert task.name == name
    assert hasattr(Config(), task.group)
    config = Config.model_validate({"task": name, "model": {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}})
    channels = task.channels(config)
    labels = np.ones((20, 40, 40), np.uint32)
    targets = task.targets(config, (40, 8, 8))
    made = targets(labels, np.ones(labels.shape, bool))
    core = tuple(n - sum(c) for n, c in zip(labels.shape, targets.context, strict=True))
    assert {array.shape for array in made.values()} == {(len(channels), *core)}
    assert (task.kind == "affinities") == all(any(channel.step) for channel in channels)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mitochondria'"):
        task_named("mitochondrium")


def test_masks_are_a_truth_where_objects_do_not_matter() -> None:
    mask = np.zeros((4, 6, 8), bool)
    mask[1:3, 1:3, 1:3] = mask[1:3, 4:, 5:] = True
    volume = Volume(mask, NM, kind="mask", name="m")
    assert masks_of(volume, IMAGE, None, Config()).kind == "labels"
    with pytest.raises(InputError, match="labels"):
        labels_of(volume, IMAGE, None, Config())


def test_pieces_of_equal_ids_become_objects() -> None:
    labels = np.zeros((4, 6, 8), np.uint64)
    labels[1:3, 1:3, 1:3] = labels[1:3, 4:, 5:] = 3
    labels[1:3, 3, 1:3] = 5  # touches the first
    labels[0] = 2**64 - 1
    config = Config.model_validate({"organelles": {"components": True}})
    found = masks_of(Volume(labels, NM, kind="labels", name="m"), IMAGE, None, config)
    ids = found.numpy()
    assert found.name == "m"
    assert len(np.unique(ids[1:])) == 4
    assert (ids[0] >= 2**64 - 2).all()
    assert ids[1, 1, 1] != ids[1, 3, 1] != ids[1, 5, 7] != ids[1, 1, 1]


def test_a_voxel_size_that_is_given_overrules() -> None:
    labels = Volume(np.ones((4, 6, 8), np.uint32), NM, kind="labels")
    assert masks_of(labels, IMAGE, (40.0, 8.0, 8.0), Config()).voxel_size == (40, 8, 8)
    assert labels_of(labels, IMAGE, (40.0, 8.0, 8.0), Config()).voxel_size == (40, 8, 8)
