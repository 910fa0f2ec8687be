"""Links of blocks with a halo are the links of the whole volume, whatever the block."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from neuropil.config import FragmentsConfig
from neuropil.post import ascent, fragments

SHAPE = (30, 44, 46)
CASES = {
    "isotropic": ((8.0, 8.0, 8.0), FragmentsConfig(radius_nm=16, sigma_nm=6, link=0.1, background=0.002)),
    "anisotropic": ((20.0, 8.0, 8.0), FragmentsConfig(radius_nm=60, sigma_nm=9, link=0.0, worst_edge=0.3)),
    "sections": ((40.0, 4.6, 4.6), FragmentsConfig(radius_nm=30, sigma_nm=5, link=0.1)),
}


def _edges():
    rng = np.random.default_rng(5)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 1.5) for _ in range(3)])
    return np.clip(150 + 800 * smooth, 0, 255).astype(np.uint8)


EDGES = _edges()
WHOLE = {name: fragments.links(EDGES, *case) for name, case in CASES.items()}


@st.composite
def blocks(draw):
    bounds = []
    for n in SHAPE:
        start = draw(st.integers(0, n - 1))
        bounds.append((start, draw(st.integers(start + 1, n))))
    return bounds


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=30, deadline=None)
@example(block=[(0, 1), (0, 6), (0, 1)])  # open along z only: was taken for shut in
@given(block=blocks())
def test_links_of_a_block_are_those_of_the_whole(name, block):
    voxel, config = CASES[name]
    halo = fragments.halo(voxel, config)
    read = tuple(slice(max(0, a - h), min(n, b + h)) for (a, b), h, n in zip(block, halo, SHAPE, strict=True))
    write = tuple(slice(a, b) for a, b in block)
    inner = tuple(slice(a - r.start, b - r.start) for (a, b), r in zip(block, read, strict=True))
    part = fragments.links(np.ascontiguousarray(EDGES[(slice(None), *read)]), voxel, config)
    np.testing.assert_array_equal(part.code_ZYX[inner], WHOLE[name].code_ZYX[write])
    np.testing.assert_array_equal(part.core_ZYX[inner], WHOLE[name].core_ZYX[write])


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_not_trivial(name):
    codes = WHOLE[name].code_ZYX
    assert len(np.unique(codes)) > 8
    assert 1 < (codes == ascent.SELF).sum() < codes.size / 4
    if name == "isotropic":
        assert WHOLE[name].core_ZYX.any()


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=10, deadline=None)
@given(block=blocks())
def test_chosen_voxels_get_the_links_of_all(name, block):
    voxel, config = CASES[name]
    inner = tuple(slice(a, b) for a, b in block)
    part = fragments.links(EDGES, voxel, config, inner)
    np.testing.assert_array_equal(part.code_ZYX, WHOLE[name].code_ZYX[inner])
    np.testing.assert_array_equal(part.core_ZYX, WHOLE[name].core_ZYX[inner])
