"""Scales: made on the way they hold the cells of the world's grid; stored ones are found and used."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.io.pyramid import downsampled
from neuropil.view.scales import Locked, coarse_box, locked, scales_of, stored_scales
from neuropil.volume import Volume, open_volume


def test_the_finest_scale_is_the_volume(image):
    first = scales_of(image, [])[0]
    assert (first.factor, first.box) == ((1, 1, 1), image.box)
    np.testing.assert_array_equal(first.read(image.box), image.numpy())


def test_coarse_voxels_are_means_of_the_cells_of_the_world(image):
    scale = scales_of(image, [])[1]
    assert scale.factor == (1, 1, 2)  # the finest axis first
    read = scale.read(scale.box)
    whole = image.numpy().astype(float)
    np.testing.assert_allclose(read[:, :, 3], whole[:, :, 6:8].mean(axis=-1), atol=0.5)
    assert scale.box.start == (3, 10, 5)


def test_a_first_cell_that_is_cut_uses_the_voxels_it_has():
    odd = Volume(np.arange(1, 301, dtype=np.uint16).reshape(1, 1, 300), (4, 4, 4), (0, 0, 4), kind="image")
    scale = scales_of(odd, [])[1]
    assert (scale.box.start[2], scale.box.stop[2]) == (0, 151)
    values = scale.read(scale.box)[0, 0]
    assert (values[0], values[1], values[-1]) == (1, 2, 300)


def test_ids_are_never_mixed(labels):
    ids = set(np.unique(labels.numpy()))
    for scale in scales_of(labels, []):
        assert set(np.unique(scale.read(scale.box))) <= ids


@pytest.mark.parametrize("name", ["a.zarr", "a.precomputed"])
def test_stored_scales_are_read_and_hold_what_is_made_on_the_way(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 255, (100, 100, 100), dtype=np.uint8)
    save_volume(Volume(values, (8, 8, 8), kind="image"), tmp_path / name)
    volume = open_volume(tmp_path / name)
    stored = stored_scales(volume)
    assert stored
    assert len(scales_of(volume, stored)) >= len(scales_of(volume, []))
    held, made = scales_of(volume, stored)[1], scales_of(volume, [])[1]
    assert (held.factor, held.box, held.cell) == (made.factor, made.box, (1, 1, 1))
    np.testing.assert_array_equal(held.read(held.box), made.read(made.box))


def test_a_far_scale_is_made_of_the_one_before_it():
    ids = np.random.default_rng(3).integers(0, 9, (256, 256, 256), dtype=np.uint32)
    first, second = scales_of(Volume(ids, (8, 8, 8), kind="labels"), [])[1:3]
    assert (first.factor, second.factor) == ((2, 2, 2), (4, 4, 4))
    place = Box((3, 4, 5), (9, 9, 9), second.box.voxel_size)
    before = Box((6, 8, 10), (18, 18, 18), first.box.voxel_size)
    np.testing.assert_array_equal(second.read(place), downsampled(first.read(before), (2, 2, 2), "labels"))


def test_a_part_of_a_volume_has_no_stored_scales(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (100, 100, 100), dtype=np.uint8)
    save_volume(Volume(values, (8, 8, 8), kind="image"), tmp_path / "a.zarr")
    part = open_volume(f"{tmp_path / 'a.zarr'}[0:99]")
    assert all(scale.source.name == part.name for scale in scales_of(part, stored_scales(part)))


def test_scales_end_where_one_voxel_would_read_too_many():
    class Endless:
        shape, dtype = (10**6, 10**6, 10**6), np.dtype(np.uint8)

        def __getitem__(self, key):
            return np.zeros([k.stop - k.start for k in key], np.uint8)

    volume = Volume(Endless(), (8, 8, 8), kind="image")
    scales = scales_of(volume, [])
    assert max(np.prod(scale.cell) for scale in scales) == 64
    last = scales[-1]
    assert last.read(Box((5, 5, 5), (9, 9, 9), last.box.voxel_size)).shape == (4, 4, 4)


def test_coarse_box_covers(image):
    box = coarse_box(image.box, (2, 3, 4))
    assert all(c * f <= s for c, f, s in zip(box.start, (2, 3, 4), image.box.start, strict=True))
    assert all(c * f >= s for c, f, s in zip(box.stop, (2, 3, 4), image.box.stop, strict=True))


def test_one_thread_reads_at_a_time():
    inside, most = [], []

    class Slow:
        shape, dtype = (64, 4, 4), np.dtype(np.uint8)

        def __getitem__(self, key):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.005)
            inside.pop()
            return np.zeros([k.stop - k.start for k in key], np.uint8)

    volume = locked(Volume(Slow(), (1, 1, 1), kind="image"))
    assert isinstance(volume.array, Locked)
    threads = [threading.Thread(target=volume.numpy) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 6
    assert max(most) == 1
