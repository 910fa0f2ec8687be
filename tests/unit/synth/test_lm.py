from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from neuropil.errors import GeometryError
from neuropil.geometry import Box
from neuropil.skeleton import Skeleton
from neuropil.synth import lm as module
from neuropil.synth.lm import LMPhantom
from neuropil.synth.lm_config import LMPhantomConfig
from neuropil.synth.lm_render import blurred, drawn, exposed, halo
from neuropil.synth.lm_stain import Cable

STACK = LMPhantomConfig.confocal(seed=1, shape=(32, 128, 128), cable_um=300.0)
CLEAN = {"noise": 0.0, "blur": 0.0, "gaps": 0.0, "crossings": 0.0, "haze": 0.0, "illumination": 0.0}
FLAT = LMPhantomConfig.projection(seed=2, shape=(1, 192, 192), cable_um=300.0)


@pytest.fixture(scope="module", params=[STACK, replace(STACK, neurons=3), FLAT], ids=["one", "three", "flat"])
def phantom(request):
    return LMPhantom(request.param)


@pytest.fixture(scope="module")
def image(phantom):
    return phantom.image(phantom.box)


@pytest.fixture(scope="module")
def neurons(phantom):
    return phantom.neurons(phantom.box)


def at(tree, voxel_size):
    return tuple(np.floor(tree.nodes_nm / voxel_size).astype(int).T)


def test_types_and_shapes(phantom, image, neurons):
    assert image.shape == neurons.shape == phantom.config.shape
    assert (image.dtype, neurons.dtype) == (np.uint8, np.uint64)
    assert len(phantom.skeletons()) == phantom.config.neurons
    assert set(np.unique(neurons)) <= set(range(phantom.config.neurons + len(phantom.fibres()) + 1))


def test_each_neuron_is_one_tree_rooted_in_its_soma(phantom):
    for tree in phantom.skeletons():
        assert (tree.parent < 0).sum() == 1
        assert (tree.parent[0], tree.kind[0]) == (-1, 1)
        assert (tree.kind[1:] != 1).all()
        assert tree.radius_nm[0] == 1000 * phantom.config.soma_um
        assert (tree.parent < np.arange(len(tree.parent))).all()
        assert tree.edge_lengths_nm().max() < 1000
        assert tree.length_nm() == pytest.approx(300_000, rel=0.1)
        children = np.bincount(tree.parent[1:])
        assert (children > 1).sum() >= 5  # it branches
        assert children.max() <= phantom.config.stems + 2


def test_trees_lie_in_the_box(phantom):
    extent = np.array(phantom.config.shape) * phantom.config.voxel_size
    for tree in phantom.skeletons() + phantom.fibres():
        assert (tree.nodes_nm >= 0).all()
        assert (tree.nodes_nm <= extent).all()


def test_every_node_is_in_its_neurons_voxels(phantom, neurons):
    for number, tree in enumerate(phantom.skeletons(), 1):
        thick = tree.radius_nm > 0.87 * max(phantom.config.voxel_size)  # the voxel's centre may be that far
        labels = neurons[at(tree, phantom.config.voxel_size)]
        assert (labels[thick] > 0).all()
        assert (labels[thick] == number).mean() > 0.85  # where neurites touch, the other may be nearer


def test_truth_lies_on_bright_voxels(phantom, image, neurons):
    dark = np.median(image[neurons == 0])
    spread = image[neurons == 0].astype(float).std()
    for tree in phantom.skeletons():
        seen = image[at(tree, phantom.config.voxel_size)].astype(float)
        assert np.median(seen) > dark + 2 * spread
        assert (seen > dark).mean() > 0.85


def test_a_shifted_truth_lies_on_darker_voxels(phantom, image):
    for tree in phantom.skeletons():
        voxel = tree.nodes_nm / phantom.config.voxel_size - 0.5
        here = map_coordinates(image.astype(float), voxel.T, order=1, mode="nearest").mean()
        for shift in ([0, 4, 0], [0, 0, -4]):
            assert map_coordinates(image.astype(float), (voxel + shift).T, order=1, mode="nearest").mean() < 0.8 * here


def test_neurites_never_thicken_on_their_way_and_taper(phantom):
    for tree in phantom.skeletons():
        child, parent = tree.edges.T
        assert (tree.radius_nm[child] <= tree.radius_nm[parent] + 1e-9).all()
        assert tree.radius_nm.min() == 1000 * phantom.config.twig_um
        assert tree.radius_nm[tree.parent == 0].max() == 1000 * phantom.config.stem_um


def test_same_seed_same_voxels_other_seed_other_neuron(phantom, image):
    np.testing.assert_array_equal(LMPhantom(phantom.config).image(phantom.box), image)
    other = LMPhantom(replace(phantom.config, seed=77)).skeletons()[0]
    assert np.linalg.norm(other.nodes_nm[0] - phantom.skeletons()[0].nodes_nm[0]) > 100


@pytest.mark.parametrize("block", [(7, 50, 33), (32, 128, 128)])
def test_same_volume_whatever_the_blocks(phantom, image, neurons, monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    np.testing.assert_array_equal(phantom.image(phantom.box), image)
    np.testing.assert_array_equal(phantom.neurons(phantom.box), neurons)


def test_a_crop_is_a_slice(phantom, image, neurons):
    depth = image.shape[0]
    crop = Box((depth // 3, 11, 40), (depth // 3 + max(1, depth // 2), 90, 101), phantom.config.voxel_size)
    np.testing.assert_array_equal(phantom.image(crop), image[crop.slices()])
    np.testing.assert_array_equal(phantom.neurons(crop), neurons[crop.slices()])


def test_knobs_and_optics_leave_the_neurons_alone():
    trees = [
        LMPhantom(c).skeletons()[0] for c in (STACK, STACK.graded(0.0), STACK.graded(1.0), replace(STACK, haze=1.0))
    ]
    for tree in trees[1:]:
        np.testing.assert_array_equal(tree.nodes_nm, trees[0].nodes_nm)


def contrast_to_noise(config):
    phantom = LMPhantom(config)
    image, inside = (
        phantom.image(phantom.box).astype(float),
        LMPhantom(replace(config, crossings=0.0)).neurons(phantom.box) > 0,
    )
    far = phantom.neurons(phantom.box) == 0
    return (image[inside].mean() - image[far].mean()) / image[far].std()


def graded(knob, value):
    config = replace(STACK, **CLEAN)
    return config.graded(value) if knob == "all" else replace(config, **{knob: value})


@pytest.mark.parametrize("knob", ["all", "noise", "blur"])
def test_contrast_to_noise_falls_as_it_gets_harder(knob):
    found = [contrast_to_noise(graded(knob, value)) for value in (0.0, 0.33, 0.66, 1.0)]
    assert (np.diff(found) < 0).all(), found
    assert found[-1] < 0.95 * found[0]


def graded_gaps(gaps):
    return replace(STACK, **(CLEAN | {"gaps": gaps}), stem_um=0.6, twig_um=0.6)


def test_gaps_leave_more_and_more_cable_in_the_dark():
    seen = {}
    for gaps in (0.0, 0.4, 1.0):
        phantom = LMPhantom(graded_gaps(gaps))
        seen[gaps] = phantom.image(phantom.box)[at(phantom.skeletons()[0], STACK.voxel_size)] - 6.0
    broken = [(seen[gaps] < 0.4 * seen[0.0]).mean() for gaps in (0.4, 1.0)]
    assert 0.01 < broken[0] < 0.5 * broken[1] < 0.25, broken


def test_crossing_fibres_touch_a_neuron_and_leave_the_field():
    phantom = LMPhantom(replace(STACK, crossings=1.0))
    (tree,) = phantom.skeletons()
    extent = np.array(STACK.shape) * STACK.voxel_size
    assert len(phantom.fibres()) == 14 > len(LMPhantom(replace(STACK, crossings=0.3)).fibres()) > 0
    assert LMPhantom(replace(STACK, crossings=0.0)).fibres() == []
    for fibre in phantom.fibres():
        apart, nearest = cKDTree(tree.nodes_nm).query(fibre.nodes_nm)
        assert (apart <= fibre.radius_nm + tree.radius_nm[nearest] + 500).any()
        for end in (0, -1):
            assert min(fibre.nodes_nm[end].min(), (extent - fibre.nodes_nm[end]).min()) < 501


def test_a_flat_phantom_is_drawn_in_its_plane():
    phantom = LMPhantom(FLAT)
    for tree in phantom.skeletons() + phantom.fibres():
        assert (tree.nodes_nm[:, 0] == 150).all()
        assert np.ptp(tree.nodes_nm[:, 1:], axis=0).min() > 1000


def test_tortuosity_bends_neurites():
    def straightness(value):
        tree = LMPhantom(replace(STACK, tortuosity=value)).skeletons()[0]
        node = np.arange(60, len(tree.parent))
        back = node
        for _ in range(20):
            back = np.where(back > 0, tree.parent[back], 0)
        return (np.linalg.norm(tree.nodes_nm[node] - tree.nodes_nm[back], axis=1) / (20 * 500)).mean()

    assert straightness(0.0) > straightness(0.5) > straightness(1.0)


def tube(radius_nm, ends):
    end = np.array(ends, float)[None]
    return Cable(end, np.array([radius_nm], float), np.ones((1, 2)), np.array([5]))


def test_a_cone_is_drawn_with_its_radii():
    box = Box((0, 0, 0), (16, 40, 60), (400.0, 200.0, 200.0))
    share, owner = drawn(tube((2000, 800), [[3200, 4000, 1000], [3200, 4000, 11_000]]), box)
    for x, radius in ((10, 1880), (30, 1400), (50, 910)):  # at (x + 0.5) * 200 nm, 1200 nm lost over 10 µm
        radius = 2000 - 1200 * ((x + 0.5) * 200 - 1000) / 10_000
        area = share[:, :, x].sum() * 400 * 200
        assert np.sqrt(area / np.pi) == pytest.approx(radius, rel=0.03)
    assert set(np.unique(owner)) == {0, 5}
    assert ((share > 0.5) == (owner > 0)).mean() > 0.99


def test_voxels_are_shared_as_brute_force_says():
    rng = np.random.default_rng(3)
    box = Box((-2, 3, 1), (5, 12, 13), (300.0, 100.0, 150.0))
    ends = rng.uniform([-600, 300, 150], [1500, 1200, 1950], (2, 3))
    cable = tube((260, 120), ends)
    share, owner = drawn(cable, box)
    axis = ends[1] - ends[0]
    for z, y, x in np.ndindex(box.shape):
        corner = (np.array(box.start) + np.array([z, y, x])) * box.voxel_size
        places = corner + (np.stack(np.indices((3, 3, 3)), -1).reshape(-1, 3) + 0.5) / 3 * box.voxel_size
        t = np.clip((places - ends[0]) @ axis / (axis @ axis), 0, 1)
        inside = np.linalg.norm(places - ends[0] - t[:, None] * axis, axis=1) <= 260 - 140 * t
        assert share[z, y, x] == pytest.approx(inside.mean())
        assert (owner[z, y, x] == 5) == inside[13]


def test_light_is_kept_by_the_optics_and_spread_more_along_z():
    config = replace(STACK, blur=0.5)
    light = np.zeros(tuple(2 * h + 25 for h in halo(config)), np.float32)
    light[tuple(n // 2 for n in light.shape)] = 1000
    seen = blurred(config, light)
    assert seen.shape == (25, 25, 25)
    assert seen.sum() == pytest.approx(1000, rel=0.05)
    spread = [
        np.sqrt((seen.sum(axis=tuple({0, 1, 2} - {a})) * (np.arange(25) - 12) ** 2).sum() / seen.sum())
        for a in range(3)
    ]
    assert spread[0] * 600 > 1.5 * spread[1] * 300
    assert spread[1] == pytest.approx(spread[2], rel=1e-3)


@pytest.mark.parametrize("light", [0.02, 0.3])
def test_photons_are_poisson_and_reading_adds_noise(light):
    config = replace(STACK, **CLEAN, saturation=4.0)
    config = replace(config, noise=0.5)
    flat = np.full((16, 64, 64), light, np.float32)
    grey = exposed(config, flat, Box((0, 0, 0), flat.shape, config.voxel_size)).astype(float)
    photons, per_photon = 100.0, 249 / (100.0 * 4.0)
    expected = photons * (light + 0.01)
    assert grey.mean() == pytest.approx(6 + per_photon * expected, rel=0.01)
    assert grey.std() == pytest.approx(np.sqrt(per_photon**2 * (expected + 1.0) + 1 / 12), rel=0.03)
    again = exposed(config, flat[3:5, 8:, :9], Box((3, 8, 0), (5, 64, 9), config.voxel_size))
    np.testing.assert_array_equal(again, grey[3:5, 8:, :9])


def test_answers_are_the_callers_to_change():
    phantom = LMPhantom(STACK)
    phantom.skeletons().clear()
    assert len(phantom.skeletons()) == 1
    assert isinstance(phantom.skeletons()[0], Skeleton)


def test_a_box_of_another_voxel_size_is_refused():
    other = Box((0, 0, 0), (4, 4, 4), (40.0, 4.0, 4.0))
    for ask in (LMPhantom(STACK).image, LMPhantom(STACK).neurons):
        with pytest.raises(GeometryError, match="voxel size"):
            ask(other)
