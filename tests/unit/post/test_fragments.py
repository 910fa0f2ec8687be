import numpy as np
import pytest

from neuropil.affinities import NEAREST, affinities_from_labels
from neuropil.config import FragmentsConfig
from neuropil.errors import InputError
from neuropil.post import fragments as frag

VOXEL = (8.0, 8.0, 8.0)
CONFIG = FragmentsConfig(radius_nm=64, link=0.1, background=0.002)


def _two(shape=(8, 16, 16)):
    labels = np.ones(shape, np.uint32)
    labels[:, :, 8:] = 2
    return labels


def test_no_link_crosses_a_cut_face():
    labels = _two()
    found = frag.fragments(affinities_from_labels(labels, NEAREST)[0] * np.uint8(255), NEAREST, VOXEL, CONFIG)
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.uint64


def test_background_is_zero_and_ids_follow_the_first_voxel():
    labels = _two()
    labels[:, 4:6] = 0
    labels[:, 6:][labels[:, 6:] > 0] += 2
    aff = affinities_from_labels(labels, NEAREST)[0].astype(np.float32)
    found = frag.fragments(aff, NEAREST, VOXEL, CONFIG)
    assert ((found == 0) == (labels == 0)).all()
    _, first = np.unique(found[found > 0], return_index=True)
    assert (np.diff(first) > 0).all()


def test_a_voxel_without_any_open_edge_still_joins_a_neighbour():
    # wide predicted membranes are hopeless all through: they must not become one fragment a voxel
    rng = np.random.default_rng(0)
    aff = np.full((3, 8, 24, 24), 250, np.uint8)
    aff[:, :, :, 9:15] = rng.integers(1, 12, (3, 8, 24, 6))
    assert frag.fragments(aff, NEAREST, VOXEL, CONFIG).max() < 10


def test_sectionwise_fragments_stay_in_their_section():
    aff = np.full((3, 5, 12, 12), 255, np.uint8)
    config = CONFIG.model_copy(update={"sectionwise": "auto"})
    found = frag.fragments(aff, NEAREST, (40.0, 4.0, 4.0), config)
    assert [np.unique(s).tolist() for s in found] == [[1], [2], [3], [4], [5]]
    assert frag.fragments(aff, NEAREST, VOXEL, config).max() == 1


def test_either_sign_of_the_offsets_gives_the_same_fragments():
    rng = np.random.default_rng(3)
    aff = rng.integers(0, 256, (3, 9, 14, 15)).astype(np.uint8)
    positive = tuple((-z, -y, -x) for z, y, x in NEAREST)
    moved = np.zeros_like(aff)
    moved[0, :-1], moved[1, :, :-1], moved[2, :, :, :-1] = aff[0, 1:], aff[1, :, 1:], aff[2, :, :, 1:]
    one, other = (frag.fragments(a, o, VOXEL, CONFIG) for a, o in ((aff, NEAREST), (moved, positive)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("voxel", [VOXEL, (40.0, 4.0, 4.0)])
def test_watershed_separates_blocks(voxel):
    config = FragmentsConfig(method="watershed", radius_nm=64)
    aff = np.full((3, 4, 24, 40), 250, np.uint8)
    aff[:, :, :, 19:21] = 5
    found = frag.fragments(aff, NEAREST, voxel, config)
    assert not set(np.unique(found[..., :18])) & set(np.unique(found[..., 23:]))
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("aff", "message"),
    [
        (np.zeros((3, 4, 4), np.uint8), "affinities of shape"),
        (np.zeros((2, 4, 4, 4), np.uint8), "affinities of shape"),
        (np.zeros((3, 4, 4, 4), np.int32), "type int32"),
        (np.full((3, 4, 4, 4), 1.5, np.float32), "float affinities"),
        (np.full((3, 4, 4, 4), np.nan, np.float32), "float affinities"),
    ],
)
def test_unusable_affinities(aff, message):
    with pytest.raises(InputError, match=message):
        frag.fragments(aff, NEAREST, VOXEL, CONFIG)


def test_too_many_voxels_at_once():
    huge = np.broadcast_to(np.uint8(0), (3, 2**11, 2**10, 2**10))
    with pytest.raises(InputError, match="block by block"):
        frag.label_fragments(huge, VOXEL, CONFIG)
