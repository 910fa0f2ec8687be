"""Organelle targets against brute force, in step with every change of place, the same for a crop as for the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from neuropil.affinities import NEAREST
from neuropil.config import AugmentConfig, Config, DataConfig
from neuropil.data.organelles import ForegroundTargets, OrganelleTargets, contour, signed_distance_nm
from neuropil.data.sampling import Sampler, prepare
from neuropil.volume import Volume

SIZES = [(8.0, 8.0, 8.0), (40.0, 8.0, 5.0), (10.0, 20.0, 8.0)]
STILL = AugmentConfig().still()


def some_labels(seed: int = 0, shape: tuple[int, int, int] = (8, 10, 12)) -> npt.NDArray[np.uint32]:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 3, [-(-n // 3) for n in shape])
    return np.kron(small, np.ones((3, 3, 3), np.uint32))[: shape[0], : shape[1], : shape[2]].astype(np.uint32)


def distance_by_hand(labels: npt.NDArray[Any], size: tuple[float, ...], reach: float) -> npt.NDArray[np.float64]:
    out = np.zeros(labels.shape)
    for p in np.ndindex(labels.shape):
        own = labels[p]
        others = np.argwhere(labels != own if own else labels > 0)
        nearest = np.sqrt((((others - p) * size) ** 2).sum(1)).min(initial=np.inf)
        out[p] = min(nearest, reach) * (1 if own else -1)
    return out


@pytest.mark.parametrize("size", SIZES)
def test_distance_is_that_of_brute_force(size: tuple[float, float, float]) -> None:
    labels = some_labels()
    got, known = signed_distance_nm(labels, np.ones(labels.shape, bool), size, 60.0)
    np.testing.assert_allclose(got, distance_by_hand(labels, size, 60.0), rtol=1e-5)
    assert known.all()


def test_a_distance_is_known_only_if_it_would_be_the_same_whatever_was_not_annotated() -> None:
    truth = some_labels(1)
    rng = np.random.default_rng(1)
    valid = rng.random(truth.shape) > 0.03
    got, known = signed_distance_nm(np.where(valid, truth, 0), valid, (8, 8, 8), 30.0)
    assert 0.1 < known.mean() < 0.95
    for fill in (0, 1, 2, 9):
        wanted = distance_by_hand(np.where(valid, truth, fill), (8, 8, 8), 30.0)
        np.testing.assert_allclose(got[known], wanted[known], rtol=1e-5)


def contour_by_hand(labels: npt.NDArray[Any], across: bool) -> npt.NDArray[np.bool_]:
    out = np.zeros(labels.shape, bool)
    for z, y, x in np.ndindex(labels.shape):
        own = labels[z, y, x]
        for dz, dy, dx in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            q = (z + dz, y + dy, x + dx)
            if any(not 0 <= a < n for a, n in zip(q, labels.shape, strict=True)) or labels[q] == own:
                continue
            out[z, y, x] |= bool(across and own) if dz else True
    return out


@pytest.mark.parametrize("across", [True, False])
def test_contour_is_that_of_brute_force(across: bool) -> None:
    labels = some_labels(2)
    found, known = contour(labels, np.ones(labels.shape, bool), across=across)
    assert (found == contour_by_hand(labels, across)).all()
    assert known.all()


def test_contour_is_two_thick_in_the_section_and_one_across() -> None:
    labels = np.zeros((6, 8, 8), np.uint32)
    labels[2:5, 2:6, 2:6] = 7
    found, _ = contour(labels, np.ones(labels.shape, bool), across=True)
    assert found[3, 3].tolist() == [False, True, True, False, False, True, True, False]
    assert found[:, 3, 3].tolist() == [False, False, True, False, True, False]


def test_contour_beside_unannotated_voxels_is_unknown_unless_found() -> None:
    labels = np.zeros((1, 1, 6), np.uint32)
    labels[0, 0, :3] = 1
    valid = np.array([[[True, True, True, True, True, False]]])
    found, known = contour(labels, valid, across=True)
    assert found[0, 0].tolist() == [False, False, True, True, False, False]
    assert known[0, 0].tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize("size", [(8.0, 8.0, 8.0), (40.0, 8.0, 8.0)])
def test_a_crop_has_the_targets_of_the_whole(size: tuple[float, float, float]) -> None:
    labels = some_labels(3, (30, 36, 36))
    targets = OrganelleTargets(size, 20.0, 40.0, NEAREST)
    whole = targets(labels, np.ones(labels.shape, bool))
    (za, zb), (ya, yb), (xa, xb) = targets.context
    assert (za, zb) == ((5, 5) if size[0] == 8 else (1, 1))
    z, y, x = (slice(4, 8), slice(3, 20), slice(6, 17))
    part = labels[z.start : z.stop + za + zb, y.start : y.stop + ya + yb, x.start : x.stop + xa + xb]
    crop = targets(part, np.ones(part.shape, bool))
    assert crop["targets"].shape == (6, 4, 17, 11)
    assert crop["targets"].dtype == np.float32
    np.testing.assert_allclose(crop["targets"], whole["targets"][:, z, y, x], atol=1e-6)
    assert crop["valid"].all()
    assert set(np.unique(crop["targets"][:2])) == {0, 1}
    assert -1 < crop["targets"][2].min() < 0 < crop["targets"][2].max() < 1


@pytest.mark.parametrize("size", [(8.0, 8.0, 8.0), (40.0, 8.0, 8.0)])
def test_targets_are_made_after_flips_and_exchanged_axes(size: tuple[float, float, float]) -> None:
    """The image holds the ids: from what the sample shows, its middle must have the targets that it is given."""
    ids = some_labels(4, (40, 40, 40)).astype(np.uint8)
    changes = STILL.model_copy(update={"flip": True, "rotate90": True})
    config = DataConfig(augment=changes, normalise="uint8", min_labelled=0)
    targets = OrganelleTargets(size, 12.0, 24.0, ())
    pair = (Volume(ids, size, kind="image"), Volume(ids.astype(np.uint64), size, kind="labels"))
    sampler = Sampler(prepare([pair], config), (14, 16, 16), targets, config, 0)
    seen_of = set()
    for i in range(6):
        sample = sampler(i)
        seen = np.round(sample["image"][0] * 255).astype(np.uint32)
        assert (sample["targets"][0] == (seen > 0)).all()
        again = targets(seen, np.ones(seen.shape, bool))["targets"]
        z, y, x = (a for a, _ in targets.context)
        inner = (slice(None), slice(z, -z), slice(y, -y), slice(x, -x))
        np.testing.assert_allclose(sample["targets"][inner], again, atol=1e-6)
        seen_of.add(seen.tobytes())
    assert len(seen_of) == 6


def test_background_alone_is_far_outside() -> None:
    nothing = np.zeros((6, 8, 8), np.uint32)
    targets = OrganelleTargets((40, 20, 20), 20.0, 40.0, ())
    got = targets(nothing, np.ones(nothing.shape, bool))
    assert not got["targets"][:2].any()
    np.testing.assert_allclose(got["targets"][2], np.tanh(-2.0), rtol=1e-6)


def test_foreground_targets_are_what_is_labelled() -> None:
    labels = some_labels(5)
    valid = np.random.default_rng(0).random(labels.shape) > 0.2
    got = ForegroundTargets(((1, 2), (0, 0), (3, 0)))(labels, valid)
    assert (got["targets"][0] == (labels > 0)[1:-2, :, 3:]).all()
    assert (got["valid"][0] == valid[1:-2, :, 3:]).all()


def test_settings_reach_the_targets() -> None:
    config = Config.model_validate({"organelles": {"sigma_nm": 30.0, "reach": 1.5}})
    targets = OrganelleTargets.of(config, (8, 8, 8), ())
    assert (targets.sigma_nm, targets.reach_nm) == (30.0, 45.0)
    assert targets.context == ((6, 6),) * 3


@pytest.mark.parametrize("size", SIZES)
def test_of_a_single_section_everything_is_known_in_the_plane(size: tuple[float, float, float]) -> None:
    config = Config.model_validate({"task": "mitochondria", "model": {"flat": True}, "organelles": {"sigma_nm": 20.0}})
    targets = OrganelleTargets.of(config, size, ())
    section = some_labels(2, (1, 40, 50))
    # what lies before and behind is no part of the image, what lies around it is
    pads = [(0, 0), *targets.context[1:]]
    wide = np.pad(section, pads, mode="reflect")
    placed, known = (np.pad(a, [targets.context[0], (0, 0), (0, 0)]) for a in (wide, np.ones(wide.shape, bool)))
    made = targets(placed, known)
    assert made["valid"].all()
    wanted = np.tanh(distance_by_hand(wide, (1e6, *size[1:]), 40.0) / 20.0)[:, *(slice(a, -b) for a, b in pads[1:])]
    np.testing.assert_allclose(made["targets"][2], wanted, atol=1e-5)
    assert (made["targets"][1] == contour_by_hand(wide, False)[:, *(slice(a, -b) for a, b in pads[1:])]).all()
