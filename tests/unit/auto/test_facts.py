"""Facts are those of the voxels: of phantoms whose truth is known, whatever their files are called."""

from __future__ import annotations

import numpy as np
import pytest

from neuropil.auto.facts import image_facts, label_facts, looked_at
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume

NM = (40.0, 4.0, 4.0)


def labels(values: np.ndarray) -> Volume:
    return Volume(values, NM, kind="labels")


def test_tissue_fills_the_range_and_dyes_do_not() -> None:
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=3, shape=(24, 48, 48)))
    tissue = image_facts([Volume(phantom.image(phantom.box), (8, 8, 8))])
    assert 0.35 < tissue.level < 0.7
    rng = np.random.default_rng(0)
    dyes = rng.poisson(8, (16, 40, 40)).astype(np.uint16)
    dyes[:, 20] = 400
    found = image_facts([Volume(dyes, NM)])
    assert found.level < 0.1
    assert found.anisotropy == 10
    assert found.shapes == ((16, 40, 40),)
    assert found.bytes == dyes.nbytes


def test_mostly_empty_images_have_a_level_and_flat_ones_are_refused() -> None:
    values = np.zeros((4, 40, 40), np.uint8)
    values[0, 0, :5] = 200
    assert image_facts([Volume(values, NM)]).level == 0
    with pytest.raises(InputError, match="one grey value only"):
        image_facts([Volume(np.full((4, 40, 40), 7, np.uint8), NM)])


def test_counts_of_a_drawn_volume() -> None:
    values = np.zeros((8, 40, 40), np.uint64)
    values[:, :, 4:8] = 5  # runs through
    values[2:5, 10:14, 20:24] = 9  # lies inside
    values[:, :, 30:] = 2**64 - 1  # not annotated
    found = label_facts([labels(values)])
    assert (found.truth, found.ids) == ("instances", 2)
    inside = 8 * 40 * 4 + 3 * 4 * 4
    assert found.labelled == pytest.approx(inside / values.size)
    assert found.annotated == pytest.approx(0.75)
    assert found.crossing == pytest.approx(8 * 40 * 4 / inside)
    assert found.voxels == inside
    assert found.regions == ((8, 40, 40),)


def test_one_id_is_a_mask_and_few_ids_in_many_pieces_are_classes() -> None:
    blobs = np.zeros((8, 64, 64), np.uint32)
    for y in range(0, 60, 12):
        for x in range(0, 60, 12):
            blobs[2:6, y : y + 6, x : x + 6] = 1
    assert label_facts([labels(blobs)]).truth == "mask"
    classes = blobs.copy()
    classes[:, :, 30:] *= 2
    assert label_facts([labels(classes)]).truth == "classes"


def test_labels_without_an_object_are_refused() -> None:
    with pytest.raises(InputError, match="without an object"):
        label_facts([labels(np.zeros((8, 16, 16), np.uint32))])


def test_little_is_looked_at_of_much() -> None:
    box = Box((0, 0, 0), (5000, 5000, 5000), NM)
    assert sum(b.size for b in looked_at(box)) <= 8 * 64 * 256 * 256
    assert all(box.contains(b) for b in looked_at(box))
    small = Box((3, 4, 5), (13, 14, 15), NM)
    assert [b.size for b in looked_at(small)] == [small.size]
