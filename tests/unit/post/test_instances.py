"""Decoding of organelles: perfect predictions give the truth back, touching objects too; sizes, seeds, order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from neuropil.config import InstancesConfig
from neuropil.data.organelles import OrganelleTargets
from neuropil.metrics.matching import match, overlaps
from neuropil.metrics.overlap import contingency
from neuropil.post.filters import relabelled
from neuropil.post.instances import components, instances, least_voxels

PLAIN = InstancesConfig()
NM = (8.0, 8.0, 8.0)


def perfect(labels: npt.NDArray[np.uint32], size: tuple[float, float, float] = NM) -> npt.NDArray[np.uint8]:
    """What a network without faults would store."""
    targets = OrganelleTargets(size, 50.0, 100.0, ())
    pads = [(max(a), max(a)) for a in targets.context]
    wide = np.pad(labels, pads)
    values = targets(wide, np.ones(wide.shape, bool))["targets"]
    values[2] = (values[2] + 1) / 2
    return np.rint(255 * values).astype(np.uint8)


def balls(size: tuple[float, float, float], touching: bool) -> npt.NDArray[np.uint32]:
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip((26, 40, 70), size, strict=True)), indexing="ij")
    labels = np.zeros(z.shape, np.uint32)
    radius = 90.0
    step = 2 * radius - 24 if touching else 2.4 * radius
    middle = 13 * size[0]
    for n, at in enumerate((110.0, 110.0 + step, 110.0 + 2 * step), start=1):
        d = np.sqrt((z - middle) ** 2 + (y - 160) ** 2 + (x - at) ** 2)
        mine = d < radius
        if n > 1:  # neighbours that meet share one flat wall
            mine &= x > at - step / 2
        labels[mine] = n
    return labels


@pytest.mark.parametrize("touching", [False, True])
@pytest.mark.parametrize("size", [NM, (16.0, 8.0, 8.0)])
def test_perfect_predictions_give_the_truth_back(touching: bool, size: tuple[float, float, float]) -> None:
    truth = balls(size, touching)
    if touching:
        assert ((truth[:, :, 1:] > 0) & (truth[:, :, :-1] > 0) & (truth[:, :, 1:] != truth[:, :, :-1])).any()
    got = instances(perfect(truth, size), size, PLAIN)
    pairs = overlaps(contingency(truth, got))
    assert len(pairs.pred_ids) == 3
    assert match(pairs, 0.5).iou.min() > 0.97
    assert ((got > 0) == (truth > 0)).all()


def test_ids_follow_the_first_voxel_and_repeat() -> None:
    stored = perfect(balls(NM, True)[:, :, ::-1].copy())
    got = instances(stored, NM, PLAIN)
    assert got.dtype == np.uint64
    assert (got == relabelled(got)).all()
    assert (got == instances(stored, NM, PLAIN)).all()


def test_foreground_without_a_seed_is_no_object() -> None:
    stored = np.zeros((3, 6, 8, 8), np.uint8)
    stored[0, 1:4, 1:4, 1:4] = 200
    assert not instances(stored, NM, PLAIN).any()
    stored[0, 2, 2, 2], stored[2, 2, 2, 2] = 255, 255
    got = instances(stored, NM, PLAIN)
    assert int(got.sum()) == 27
    stored[1, 2, 2, 2] = 255  # on a contour there is no seed
    assert not instances(stored, NM, PLAIN).any()


def test_thresholds_are_met_by_equal_values() -> None:
    stored = np.zeros((3, 1, 1, 2), np.uint8)
    stored[0], stored[2] = 51, 204
    at = InstancesConfig(foreground=0.2, seed_foreground=0.2, seed_distance=0.6)
    assert instances(stored, NM, at).all()
    assert not instances(stored, NM, at.model_copy(update={"foreground": 0.201, "seed_foreground": 0.201})).any()
    assert not instances(stored, NM, at.model_copy(update={"seed_distance": 0.601})).any()


def test_small_objects_vanish_by_their_volume() -> None:
    truth = np.zeros((20, 40, 60), np.uint32)
    truth[2:14, 2:14, 2:14] = 1
    truth[2:17, 2:32, 20:50] = 2
    least = 12**3 * 512e-9 * 1.01  # a little more than the cube, in cubic micrometres
    config = InstancesConfig(seed_distance=0.1)
    assert len(np.unique(instances(perfect(truth), NM, config))) == 3
    got = instances(perfect(truth), NM, config.model_copy(update={"min_size_um3": least}))
    assert set(np.unique(got)) == {0, 1}
    assert (got[truth == 1] == 0).all()
    assert least_voxels(1.0, (100, 100, 100)) == 1000
    assert least_voxels(1.0001, (100, 100, 100)) == 1001


def test_a_diagonal_wall_of_contour_parts_seeds() -> None:
    stored = np.full((3, 1, 6, 6), 255, np.uint8)
    stored[1] = 0
    stored[1, 0, np.arange(6), 5 - np.arange(6)] = 255
    got = instances(stored, NM, PLAIN)[0]
    assert got[0, 0] != got[5, 5]
    assert set(np.unique(got)) == {1, 2}


def test_semantic_pieces_and_mask() -> None:
    stored = np.zeros((1, 4, 8, 8), np.uint8)
    stored[0, 0, 0, 0] = stored[0, 3, 2:5, 2:5] = 200
    assert set(np.unique(components(stored, NM, PLAIN))) == {0, 1}
    config = PLAIN.model_copy(update={"components": True})
    assert set(np.unique(components(stored, NM, config))) == {0, 1, 2}
    small = config.model_copy(update={"min_size_um3": 2 * 512e-9})
    assert int((components(stored, NM, small) > 0).sum()) == 9


def test_nothing_predicted_is_nothing_found() -> None:
    nothing = np.zeros((3, 4, 5, 6), np.uint8)
    assert not instances(nothing, NM, PLAIN).any()
    assert not components(nothing, NM, PLAIN).any()
