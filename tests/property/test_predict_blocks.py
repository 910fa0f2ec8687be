"""A prediction does not depend on how it is cut into blocks, columns and batches; averaging views moves no edge."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.unit.infer.fakes import SmallNet, TrueAffinities, as_given, image_of, output_for
from tests.unit.infer.fakes import settings as predict_settings

from neuropil.affinities import affinities_from_labels
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.infer.columns import memory_estimate, plan_columns
from neuropil.infer.predict import predict_volume, volume_plan

NET = SmallNet()
extents = st.tuples(*(st.integers(1, 26),) * 3)
starts = st.tuples(*(st.integers(-30, 30),) * 3)
blocks = st.tuples(st.integers(1, 8), st.integers(4, 14), st.integers(4, 14))
steps = st.tuples(*(st.integers(-3, 3),) * 3).filter(any)


@settings(max_examples=25, deadline=None)
@given(extents, starts, blocks, st.integers(0, 2**16), st.sampled_from(["none", "flips"]))
def test_blocks_and_memory_do_not_change_one_bit(extent, start, block, seed, tta):
    torch.set_num_threads(1)
    data = np.random.default_rng(seed).integers(0, 256, extent, np.uint8)
    image = image_of(data, start=start)
    chosen = {"tile": (6, 8, 8), "overlap": (2, 3, 3), "multiple_of": (2, 2, 2), "tta": tta}
    common = {"offsets": ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), "normalise": as_given}
    whole = predict_volume(NET, image, settings=predict_settings(**chosen), **common)
    out = output_for(image, 3)
    chosen |= {"block": block}
    plan = volume_plan(image, predict_settings(**chosen))
    one_block = image.box.intersected(
        Box(start, tuple(a + b for a, b in zip(start, (99, *block[1:]), strict=True)), image.voxel_size)
    )
    memory = memory_estimate(plan, 3, one_block, block, 1, 1)
    while True:  # up to the least memory that is enough
        try:
            columns = plan_columns(plan, 3, block, batch=1, itemsize=1, memory_bytes=memory)
            break
        except InputError:
            memory = memory * 21 // 20
    predict_volume(NET, image, settings=predict_settings(**chosen, memory_bytes=memory), out=out, **common)
    event(f"{min(len(columns), 5)} columns")
    assert (out.array == whole).all()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*(st.integers(2, 20),) * 3),
    st.lists(steps, min_size=1, max_size=4, unique=True),
    st.sampled_from([(8.0, 8.0, 8.0), (40.0, 4.0, 4.0), (40.0, 4.0, 6.0)]),
    st.sampled_from(["flips", "full"]),
    st.integers(0, 2**16),
)
def test_averaged_views_of_a_perfect_network_are_perfect(extent, offsets, voxel_size, tta, seed):
    torch.set_num_threads(1)
    labels = np.random.default_rng(seed).integers(0, 3, extent).astype(np.uint8)
    image = image_of(labels, voxel_size)
    common = {"offsets": tuple(offsets), "normalise": as_given}
    chosen = {"tile": (12, 12, 12), "overlap": (6, 6, 6), "multiple_of": (1, 1, 1)}
    net = TrueAffinities(tuple(offsets))
    plain = predict_volume(net, image, settings=predict_settings(**chosen), **common)
    averaged = predict_volume(net, image, settings=predict_settings(**chosen, tta=tta), **common)
    want, valid = affinities_from_labels(labels, tuple(offsets))
    assert (averaged[valid] == plain[valid]).all()
    assert (averaged[valid] == 255 * want[valid]).all()
