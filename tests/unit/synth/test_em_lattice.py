import numpy as np
import pytest

from neuropil.synth.em_config import EMPhantomConfig
from neuropil.synth.em_lattice import STEPS, is_glia, patch

CONFIG = EMPhantomConfig(seed=12)


@pytest.fixture(scope="module")
def region():
    return patch(CONFIG, np.full(3, -20), np.full(3, 20))


def test_a_part_equals_the_whole(region):
    low, high = np.array([-3, 2, -9]), np.array([6, 14, 1])
    part = patch(CONFIG, low, high)
    inner = tuple(slice(a + 20, b + 20) for a, b in zip(low, high, strict=True))
    for name in region._fields[1:]:
        np.testing.assert_array_equal(getattr(part, name), getattr(region, name)[inner], err_msg=name)


def test_every_site_is_owned_and_linked_to_its_parent(region):
    assert (region.owner > 0).all()
    for z, y, x in np.argwhere(region.owner[1:-1, 1:-1, 1:-1]) + 1:
        step = STEPS[region.parent[z, y, x]]
        up = (z + step[0], y + step[1], x + step[2])
        assert region.owner[up] == region.owner[z, y, x]
        lower = np.minimum((z, y, x), up)
        assert region.link_DHWC[(*lower, int(np.flatnonzero(step)[0]))]


def test_parents_lead_to_a_trunk_within_ten_steps(region):
    for site in np.argwhere(region.claimed[10:-10, 10:-10, 10:-10] > 0)[::7] + 10:
        here, steps = tuple(site), 0
        while region.claimed[here] > 0:
            here = tuple(np.array(here) + STEPS[region.parent[here]])
            steps += 1
        assert steps <= 10


def test_trunks_run_through_and_sizes_are_heavy_tailed(region):
    trunk = region.claimed == 0
    for axis, code in enumerate((1, 2, 3)):
        lines = np.where(trunk & (region.owner % 4 == code), region.owner, 0)
        first = np.take(lines, 0, axis=axis)
        assert (np.take(lines, -1, axis=axis) == first).all()
        assert (first > 0).any()
    sizes = np.bincount(np.unique(region.owner, return_inverse=True)[1].ravel())
    assert np.percentile(sizes, 95) > 3 * np.median(sizes)


def test_glia_and_mitochondria_follow_their_chances(region):
    ids = np.unique(region.owner)
    share = np.mean([is_glia(CONFIG.seed, 0.06, int(i)) for i in ids])
    assert 0.02 < share < 0.12
    assert not any(is_glia(CONFIG.seed, 0.0, int(i)) for i in ids)
    with_mito = region.mito_DHWC.max(axis=-1) > 0
    assert with_mito.any()
    glial = np.array([is_glia(CONFIG.seed, CONFIG.glia, int(i)) for i in region.owner[with_mito]])
    assert not glial.any()
