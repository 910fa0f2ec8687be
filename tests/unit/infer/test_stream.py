import threading

import numpy as np
import pytest
import torch
from tests.unit.infer.fakes import as_given, image_of, output_for

from neuropil.affinities import NEAREST
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.infer.stream import BlockWriter, as_uint8, read_ahead, read_reflected, reflected_index, tile_batches
from neuropil.infer.tiles import plan_tiles


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_reflection_is_numpys(n):
    want = np.pad(np.arange(n), 15, mode="reflect")
    assert (reflected_index(5 - 15, 5 + n + 15, 5, 5 + n) - 5 == want).all()


def test_reading_beyond_the_volume_is_padding():
    data = np.random.default_rng(0).integers(0, 255, (4, 5, 6), np.uint8)
    image = image_of(data, start=(3, -2, 0))
    got = read_reflected(image, image.box.grown((3, 4, 9)))
    assert (got == np.pad(data, [(3, 3), (4, 4), (9, 9)], mode="reflect")).all()
    inner = read_reflected(image, image.box.grown((-1, -1, -1)))
    assert (inner == data[1:-1, 1:-1, 1:-1]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        read_reflected(image_of(data), Box((0, 0, 0), (4, 5, 6), (40, 4, 4)))


def test_batches_are_filled_and_hold_every_tile_once_in_order():
    data = np.random.default_rng(0).integers(0, 255, (20, 30, 30), np.uint8)
    image = image_of(data)
    plan = plan_tiles(image.box, (8, 12, 12), (2, 4, 4), (1, 1, 1))
    batches = list(tile_batches(image, plan, image.box, 5, as_given))
    assert len(plan) % 5 != 0
    assert all(x.shape == (5, 1, *plan.tile) and x.dtype == np.float32 for _, x in batches)
    seen = [index for indices, _ in batches for index in indices]
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen) == len(plan)
    indices, x = batches[0]
    assert (x[1, 0] == read_reflected(image, plan.tile_box(indices[1]))).all()


def test_reading_ahead_keeps_order_and_raises_in_the_caller():
    def items():
        yield threading.get_ident()
        yield 2
        raise InputError("broken")

    got = read_ahead(items())
    assert next(got) != threading.get_ident()
    assert next(got) == 2
    with pytest.raises(InputError, match="broken"):
        next(got)


def test_probabilities_are_rounded_not_cut():
    levels = torch.arange(256).reshape(1, 16, 16, 1) / 255
    assert (as_uint8(levels + 0.4 / 255).ravel() == np.arange(256)).all()
    assert (as_uint8(levels - 0.4 / 255).ravel() == np.arange(256)).all()


def test_nan_of_the_network_is_refused():
    with pytest.raises(InputError, match="predicts NaN"):
        as_uint8(torch.tensor([0.5, float("nan")]).reshape(1, 1, 1, 2))


class Recorder:
    """Stands for an output; remembers the boxes written."""

    def __init__(self, volume, fail=False):
        self.box, self.shape, self.volume, self.fail, self.boxes = volume.box, volume.shape, volume, fail, []

    def write(self, box, data):
        if self.fail:
            raise OSError("no space left on device")
        self.boxes.append(box)
        self.volume.write(box, data)


def test_rows_of_any_depth_become_whole_blocks_from_the_first_voxel():
    image = image_of(np.zeros((11, 20, 20), np.uint8), start=(3, 5, -2))
    out = Recorder(output_for(image, 3))
    data = np.random.default_rng(0).integers(0, 255, (3, 11, 20, 20), np.uint8)
    with BlockWriter(out, image.box, (4, 8, 16)) as writer:
        for low, high in [(0, 1), (1, 3), (3, 9), (9, 11)]:
            writer.push(3 + low, data[:, low:high])
    assert (out.volume.array == data).all()
    assert sorted(out.boxes) == sorted(b.write for b in out.volume.blocks((4, 8, 16)))


def test_a_failed_write_is_raised():
    image = image_of(np.zeros((8, 8, 8), np.uint8))
    with (
        pytest.raises(OSError, match="no space"),
        BlockWriter(Recorder(output_for(image, 3), True), image.box, (8, 8, 8)) as writer,
    ):
        writer.push(0, np.zeros((len(NEAREST), 8, 8, 8), np.uint8))
