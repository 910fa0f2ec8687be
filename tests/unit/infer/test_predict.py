import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.unit.infer.fakes import (
    Identity,
    SmallNet,
    TrueAffinities,
    as_given,
    image_of,
    output_for,
    settings,
)
from torch import nn

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.errors import InputError
from neuropil.infer.columns import memory_estimate
from neuropil.infer.predict import predict_volume, volume_plan
from neuropil.volume import Volume

LONG = (*NEAREST, (-2, 0, 0), (0, -4, 0), (0, 0, 3))


def predict(net, image, **changes):
    extra = {k: changes.pop(k) for k in ("out", "progress") if k in changes}
    offsets = changes.pop("offsets", NEAREST)
    return predict_volume(net, image, offsets=offsets, normalise=as_given, settings=settings(**changes), **extra)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (8, 12, 12), (9, 13, 40), (30, 31, 5), (21, 50, 33)])
def test_an_identity_network_returns_the_image_everywhere(shape):
    data = noise(shape)
    got = predict(Identity(), image_of(data))
    assert got.dtype == np.uint8
    assert got.shape == (3, *shape)
    assert (got == data).all()


@pytest.mark.parametrize("overlap", [(0, 0, 0), (1, 1, 1), (4, 6, 11)])
def test_no_seams_whatever_the_overlap(overlap):
    data = noise((20, 40, 30))
    assert (predict(Identity(), image_of(data), overlap=overlap) == data).all()


@pytest.mark.parametrize("value", [0, 100, 255])
@pytest.mark.parametrize("tta", ["none", "flips", "full"])
def test_constants_stay_constant(value, tta):
    assert (predict(Identity(), image_of(np.full((20, 30, 5), value, np.uint8)), tta=tta) == value).all()


@pytest.mark.parametrize("tta", ["none", "flips", "full"])
@pytest.mark.parametrize("voxel_size", [(40.0, 4.0, 4.0), (8.0, 8.0, 8.0)])
def test_edges_that_leave_a_tile_are_taken_from_the_tile_that_holds_them(tta, voxel_size):
    labels = np.kron(noise((7, 10, 9)) % 4, np.ones((3, 3, 3), np.uint8))
    image = image_of(labels, voxel_size)
    sizes = {"tile": (12, 12, 12), "overlap": (6, 6, 6), "multiple_of": (4, 4, 4)}
    got = predict(TrueAffinities(LONG), image, offsets=LONG, tta=tta, **sizes)
    want, valid = affinities_from_labels(labels, LONG)
    assert (got[valid] == 255 * want[valid]).all()


def test_blocks_memory_and_batches_do_not_change_one_bit():
    image = image_of(noise((21, 60, 45)), start=(3, -5, 7))
    whole = predict(SmallNet(), image)
    assert whole.std() > 5
    assert (predict(SmallNet(), image) == whole).all()
    for block in [(4, 8, 8), (5, 60, 45), (64, 16, 24), (7, 9, 45)]:
        for memory in (2**30, 260_000):
            out = output_for(image, 3)
            changes = {"block": block, "memory_bytes": memory if block[1] < 20 else 2**30}
            assert predict(SmallNet(), image, out=out, **changes) is out
            assert (out.array == whole).all(), (block, memory)
    batched = predict(SmallNet(), image, batch=3)
    narrow = predict(SmallNet(), image, batch=3, memory_bytes=400_000, block=(4, 8, 8))
    assert (batched == narrow).all()


def test_each_tile_is_computed_once_where_a_section_fits():
    image, net = image_of(noise((40, 60, 45))), Identity()
    predict(net, image, out=output_for(image, 3))
    assert net.calls == len(volume_plan(image, settings()))


def test_progress_counts_the_tiles_of_all_columns():
    image, calls, net = image_of(noise((21, 60, 45))), [], Identity()
    predict(net, image, progress=lambda done, total: calls.append((done, total)), memory_bytes=260_000, block=(4, 8, 8))
    total = calls[-1][1]
    assert calls == [(i + 1, total) for i in range(total)]
    assert net.calls == total > len(volume_plan(image, settings()))


class Procedural:
    """A deep image that is made when read: nothing of the volume is ever in memory."""

    dtype, shape = np.dtype(np.uint8), (4000, 48, 48)

    def __getitem__(self, key):
        z, y, x = (np.arange(k.start, k.stop) for k in key)
        return ((z[:, None, None] * 3 + y[:, None] * 5 + x) % 251).astype(np.uint8)


class Discarding:
    """An output that checks what it gets and keeps nothing."""

    dtype, shape, writable, write_unit = np.dtype(np.uint8), (3, *Procedural.shape), True, (32, 16, 16)

    def __init__(self):
        self.voxels = 0

    def __setitem__(self, key, data):
        assert (data == Procedural()[key[1:]]).all()
        self.voxels += data[0].size

    def __getitem__(self, key):
        raise AssertionError("an output is not read")


class Copy(nn.Module):
    def forward(self, x_BCZYX):
        return torch.logit((x_BCZYX + 1e-4) / 256 + 0 * x_BCZYX, eps=1e-9).expand(-1, 3, -1, -1, -1)


def test_memory_is_bounded_by_blocks_not_by_the_volume():
    image = Volume(Procedural(), (8, 8, 8), axes="zyx", kind="image")
    sink = Discarding()
    out = Volume(sink, (8, 8, 8), axes="czyx", kind="affinities")
    sizes = {"tile": (64, 48, 48), "overlap": (8, 8, 8), "multiple_of": (8, 8, 8), "block": (32, 16, 16)}
    want = memory_estimate(volume_plan(image, settings(**sizes)), 3, image.box, (32, 16, 16), 1, 1)
    live, peak = [], SimpleNamespace(rows=0)

    class Counting(Identity):
        def forward(self, x_BCZYX):
            live.append(tracemalloc.get_traced_memory()[0])
            return super().forward(x_BCZYX)

    tracemalloc.start()
    try:
        predict(Counting(), image, out=out, memory_bytes=want, **sizes)
        _, peak.rows = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.voxels == np.prod(Procedural.shape)
    # numpy's share of the buffers (torch's are not traced) stays below the estimate for all, a fraction of the volume
    assert peak.rows < want < 3 * np.prod(Procedural.shape) / 2
    assert max(live[len(live) // 2 :]) < 1.5 * max(live[2 : len(live) // 2]) + 2**20


def test_training_mode_and_parameters_are_left_as_they_were():
    net = SmallNet().train()
    before = [p.clone() for p in net.parameters()]
    modes = []
    net.body[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    predict(net, image_of(noise((9, 13, 14))))
    assert net.training
    assert modes
    assert not any(modes)
    after = list(net.parameters())
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(before, after, strict=True))
    with pytest.raises(InputError):
        predict(net, image_of(np.full((9, 13, 14), np.nan, np.float32)))
    assert net.training


def test_bf16_is_close_to_fp32_and_repeats():
    image = image_of(noise((9, 26, 27)))
    exact, fast = predict(SmallNet(), image), predict(SmallNet(), image, precision="bf16")
    assert (fast == predict(SmallNet(), image, precision="bf16")).all()
    difference = np.abs(exact.astype(int) - fast)
    assert difference.any()
    assert difference.max() < 10


@pytest.mark.parametrize("tta", ["flips", "full"])
def test_averaging_makes_the_answer_the_same_for_the_mirrored_image(tta):
    # nearest edges of the mirrored image are the same edges, kept at the other end
    data = noise((8, 12, 12))
    here = predict(SmallNet(), image_of(data), tta=tta).astype(int)
    there = predict(SmallNet(), image_of(np.ascontiguousarray(data[:, ::-1])), tta=tta).astype(int)
    assert np.abs(here[1][:, 1:] - there[1][:, 1:][:, ::-1]).max() <= 1
    assert np.abs(here[2][:, :, 1:] - there[2][:, ::-1][:, :, 1:]).max() <= 1
    plain = predict(SmallNet(), image_of(data)).astype(int)
    assert np.abs(here[2][:, :, 1:] - plain[2][:, :, 1:]).max() > 1


def test_a_network_with_other_channels_is_refused():
    with pytest.raises(InputError, match="one channel for each of the 3 offsets"):
        predict(Identity(2), image_of(noise((4, 4, 4))))


def test_labels_and_channels_are_refused_as_images():
    labels = Volume(np.ones((4, 5, 6), np.uint32), (8, 8, 8), kind="labels")
    with pytest.raises(InputError, match="holds labels"):
        predict(Identity(), labels)
    coloured = Volume(np.ones((3, 4, 5, 6), np.uint8), (8, 8, 8), axes="czyx", kind="image")
    with pytest.raises(InputError, match="axes 'zyx'"):
        predict(Identity(), coloured)


@pytest.mark.parametrize("wrong", ["channels", "place", "dtype", "voxels"])
def test_outputs_that_do_not_fit_are_refused(wrong):
    image = image_of(noise((4, 5, 6)))
    array = np.zeros((2 if wrong == "channels" else 3, 4, 5, 6), np.uint16 if wrong == "dtype" else np.uint8)
    offset = (40, 0, 0) if wrong == "place" else (0, 0, 0)
    size = (40.0, 8.0, 8.0) if wrong == "voxels" else image.voxel_size
    out = Volume(array, size, offset, "czyx", "affinities")
    with pytest.raises(InputError, match="box"):
        predict(Identity(), image, out=out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"precision": "int4"}, "bf16 or fp32"), ({"batch": 0}, "at least one"), ({"block": (0, 1, 1)}, "positive")],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)
