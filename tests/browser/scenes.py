"""What the browser tests, and the pictures of the docs, look at."""

from __future__ import annotations

from functools import cache

import numpy as np

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.skeleton import Skeleton
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.view.layers import Shown
from neuropil.volume import Volume


@cache
def seen_volumes(shape: tuple[int, int, int] = (48, 80, 96)) -> Shown:
    """A phantom with a segmentation that splits some neurons, fuses two and misses a corner."""
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=5, shape=shape))
    box = phantom.box
    truth = phantom.neurons(box).astype(np.uint64)
    half, ids = shape[0] // 2, np.unique(truth)
    found = truth.copy()
    found[half:][truth[half:] % 4 == 1] += 1000
    found[truth == ids[3]] = ids[4]
    found[:, : shape[1] // 8, : shape[2] // 8] = 0
    affinities = affinities_from_labels(truth, NEAREST)[0] * np.uint8(255)
    steps = np.linspace(0.05, 0.95, 40)
    extent = np.array(shape) * np.array(box.voxel_size)
    nodes = np.stack([steps, 0.5 + 0.3 * np.sin(6 * steps), steps], axis=1) * extent
    tree = Skeleton(nodes, np.full(40, 20.0), np.arange(-1, 39), np.zeros(40, int))
    size = box.voxel_size
    return Shown(
        image=Volume(phantom.image(box), size, kind="image", name="image"),
        affinities=Volume(affinities, size, axes="czyx", kind="affinities", name="affinities"),
        offsets=NEAREST,
        labels=Volume(found, size, kind="labels", name="labels"),
        truth=Volume(truth, size, kind="labels", name="truth"),
        skeletons={"a line": tree},
    )
