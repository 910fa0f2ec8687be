"""Real images and labels are traced with the defaults."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from neuropil.config import TraceConfig
from neuropil.config.trees import TreeScoreConfig
from neuropil.io.swc import examine_swc
from neuropil.metrics.tree import tree_scores
from neuropil.metrics.tree_pair import TreePair
from neuropil.skeleton import Skeleton
from neuropil.tracing.skeletonize import segments, skeletons
from neuropil.tracing.trace import trace
from neuropil.volume import Volume, open_volume, require_kind

pytestmark = pytest.mark.real
CONFIG = TraceConfig(workers=1)


@pytest.mark.parametrize(("neuron", "f1", "esa"), [("24", 0.85, 1.3), ("181", 0.85, 1.5), ("284", 0.8, 2.0)])
def test_projections(real_data: Path, tmp_path: Path, neuron, f1, esa) -> None:
    with zipfile.ZipFile(real_data / "bigneuron/dev.zip") as archive:
        image = tifffile.imread(archive.extract(f"{neuron}/mip.tif", tmp_path))[None]
        gold, _ = examine_swc(archive.extract(f"{neuron}/gold.swc", tmp_path), units="voxel", voxel_size=(1, 1, 1))
    found = trace(Volume(image, (1, 1, 1), kind="image"), CONFIG).skeleton
    trees = [Skeleton(t.nodes_nm * [0, 1, 1], t.radius_nm, t.parent, t.kind) for t in (gold, found)]
    scores = tree_scores(TreePair(*trees, step_nm=1.0, config=TreeScoreConfig()))
    assert scores["f1"] > f1
    assert scores["esa"] < esa


def test_a_stack(real_data: Path) -> None:
    volume = open_volume(real_data / "lm_small/fly_neuron_119x415x409.tif", voxel_size=(1, 1, 1))
    tree = trace(volume.with_kind("image"), CONFIG).skeleton
    bright = volume.numpy()[tuple(np.floor(tree.nodes_nm).astype(int).T)]
    assert np.mean(bright > 0) > 0.9
    assert 1400 < tree.length_nm() < 2400, "another program's trace has 1576 voxels of cable"


def test_labels(real_data: Path) -> None:
    labels = require_kind(open_volume(f"{real_data}/gala/gala_test_50x100x200.h5:labels"), "labels")
    wanted = segments(labels, CONFIG)
    assert len(wanted) > 40
    values = labels.numpy()
    for segment, tree in skeletons(labels, CONFIG, wanted):
        at = np.floor(tree.nodes_nm / labels.voxel_size).astype(int)
        assert (values[tuple(at.T)] == segment.label).all()
