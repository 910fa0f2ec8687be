"""A phantom is one thing, however it is asked for: any box, any block size, any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuropil.geometry import Box
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig

CASES = {
    "fib": EMPhantomConfig.fib_sem(seed=8),
    "sstem": EMPhantomConfig.sstem(seed=9, missing=0.1, dark=0.1, blurred=0.2, jitter_nm=12.0),
}
WHOLE = {"fib": ((-11, 30, -40), (29, 70, 9)), "sstem": ((-4, -30, 100), (8, 50, 190))}
ARRAYS = ("image", "neurons", "mitochondria")


@pytest.fixture(scope="module", params=CASES)
def whole(request):
    config = CASES[request.param]
    box = Box(*WHOLE[request.param], config.voxel_size)
    phantom = EMPhantom(config)
    return config, box, {name: getattr(phantom, name)(box) for name in ARRAYS}


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_box_is_a_crop_of_the_whole(whole, data):
    config, box, arrays = whole
    start, stop = [], []
    for low, high in zip(box.start, box.stop, strict=True):
        a = data.draw(st.integers(low, high - 1))
        start.append(a)
        stop.append(data.draw(st.integers(a + 1, min(high, a + 25))))
    part = Box(tuple(start), tuple(stop), config.voxel_size)
    phantom = EMPhantom(config)
    for name in data.draw(st.permutations(ARRAYS)):
        np.testing.assert_array_equal(getattr(phantom, name)(part), arrays[name][part.slices(box.start)])


@pytest.mark.parametrize("shape", [(7, 13, 32), (64, 64, 64)])
def test_blocks_in_any_order_make_the_whole(whole, shape):
    config, box, arrays = whole
    phantom = EMPhantom(config)
    out = {name: np.zeros_like(a) for name, a in arrays.items()}
    for block in reversed(list(box.blocks(shape))):
        for name in ARRAYS:
            out[name][block.write.slices(box.start)] = getattr(phantom, name)(block.write)
    for name in ARRAYS:
        np.testing.assert_array_equal(out[name], arrays[name])
