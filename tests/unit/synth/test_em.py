from dataclasses import replace

import cc3d
import numpy as np
import pytest

from neuropil.errors import GeometryError
from neuropil.geometry import Box
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig

FIB = EMPhantomConfig.fib_sem(seed=1, shape=(64, 128, 128))
SECTIONS = EMPhantomConfig.sstem(seed=2, shape=(16, 192, 192))
SMALL = Box((3, -20, 40), (9, 12, 71), (8.0, 8.0, 8.0))


@pytest.fixture(scope="module", params=[FIB, SECTIONS], ids=["fib", "sstem"])
def phantom(request):
    return EMPhantom(request.param)


@pytest.fixture(scope="module")
def arrays(phantom):
    return phantom.image(phantom.box), phantom.neurons(phantom.box), phantom.mitochondria(phantom.box)


@pytest.fixture(scope="module")
def dense(phantom):
    other = EMPhantom(replace(phantom.config, gap_label=None))
    return other.neurons(other.box)


def test_types_and_shapes(phantom, arrays):
    image, neurons, mitochondria = arrays
    assert image.shape == neurons.shape == mitochondria.shape == phantom.config.shape
    assert (image.dtype, neurons.dtype, mitochondria.dtype) == (np.uint8, np.uint64, np.uint64)


def test_same_seed_same_voxels_other_seed_other_voxels():
    one, two, other = (EMPhantom(EMPhantomConfig.fib_sem(seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.image(SMALL), two.image(SMALL))
    np.testing.assert_array_equal(one.neurons(SMALL), two.neurons(SMALL))
    assert (one.image(SMALL) != other.image(SMALL)).mean() > 0.8
    assert (one.neurons(SMALL) == other.neurons(SMALL)).mean() < 0.3


def test_shape_does_not_change_the_tissue():
    one, two = (EMPhantom(EMPhantomConfig.fib_sem(seed=1, shape=s)) for s in ((20, 20, 20), (300, 300, 300)))
    np.testing.assert_array_equal(one.image(SMALL), two.image(SMALL))


def test_answers_are_the_callers_to_change():
    phantom = EMPhantom(FIB)
    first = phantom.neurons(SMALL)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(phantom.neurons(SMALL), kept)


def test_a_box_of_another_voxel_size_is_refused():
    with pytest.raises(GeometryError, match="voxel size"):
        EMPhantom(FIB).image(Box((0, 0, 0), (4, 4, 4), (40.0, 4.0, 4.0)))


def test_packing_is_dense(arrays, dense):
    _, neurons, _ = arrays
    assert 0.04 < (neurons == 0).mean() < 0.16
    assert (dense > 0).all()
    inside = neurons > 0
    np.testing.assert_array_equal(neurons[inside], dense[inside])


def test_the_gap_lies_between_neurons_and_takes_any_label(phantom, arrays):
    labelled = EMPhantom(replace(phantom.config, gap_label=7)).neurons(phantom.box)
    np.testing.assert_array_equal(labelled == 7, arrays[1] == 0)


def test_many_neurons_of_very_different_size(dense):
    sizes = np.sort(np.unique(dense, return_counts=True)[1])[::-1]
    assert len(sizes) > 15
    assert sizes[0] > 0.06 * dense.size
    assert np.median(sizes) < 0.2 * sizes[0]


def test_neurons_are_in_one_piece(dense):
    # every neuron runs on for ever, so a component that does not touch the border is a piece that was cut off
    pieces = cc3d.connected_components(
        np.unique(dense, return_inverse=True)[1].reshape(dense.shape).astype(np.uint32) + 1
    )
    inner = np.ones(pieces.max() + 1, bool)
    for axis in range(3):
        for end in (0, -1):
            inner[np.unique(np.take(pieces, end, axis=axis))] = False
    stray = inner[pieces].mean()
    assert stray < 0.002


def test_mitochondria_lie_in_one_neuron_each_and_never_in_the_gap(arrays, dense):
    _, neurons, mitochondria = arrays
    inside = mitochondria > 0
    assert 0.02 < inside.mean() < 0.25
    assert (neurons[inside] > 0).all()
    pairs = np.unique(np.stack([mitochondria[inside], dense[inside]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    assert len(np.unique(pairs[0])) > 3


def test_membranes_are_dark_and_mitochondria_differ_from_cytoplasm(arrays, phantom):
    image, neurons, mitochondria = arrays
    if phantom.config.missing:
        kept = image.reshape(len(image), -1).max(axis=1) > 0
        image, neurons, mitochondria = image[kept], neurons[kept], mitochondria[kept]
    cytoplasm = image[(neurons > 0) & (mitochondria == 0)].mean()
    assert image[neurons == 0].mean() < cytoplasm - 35
    assert image[mitochondria > 0].mean() < cytoplasm - 25


def test_grey_histogram_uses_the_range_without_clipping(arrays):
    low, middle, high = np.percentile(arrays[0], [1, 50, 99])
    assert low < 80
    assert 110 < middle < 185
    assert high > 190
    assert (arrays[0] == 255).mean() < 0.01


def test_skeleton_nodes_lie_in_their_neurons(phantom, arrays, dense):
    voxel, total, length = np.array(phantom.config.voxel_size), 0, 0.0
    for neuron, skeleton in phantom.skeletons_by_neuron().items():
        at = tuple(np.floor(skeleton.nodes_nm / voxel).astype(int).T)
        assert (arrays[1][at] == neuron).all()
        total += len(skeleton.nodes_nm)
        length += skeleton.length_nm()
    extent = np.prod(voxel * phantom.config.shape)
    assert total > 100
    assert length / extent * phantom.config.spacing_nm**2 > 0.3  # cable through most of the tissue


def test_skeleton_edges_stay_in_their_neurons(phantom, dense):
    voxel, inside, total = np.array(phantom.config.voxel_size), 0, 0
    for neuron, skeleton in phantom.skeletons_by_neuron().items():
        child, parent = skeleton.edges.T
        middle = 0.5 * (skeleton.nodes_nm[child] + skeleton.nodes_nm[parent])
        inside += int((dense[tuple(np.floor(middle / voxel).astype(int).T)] == neuron).sum())
        total += len(middle)
    assert inside / total > 0.98


def test_one_skeleton_for_nearly_every_neuron(phantom, dense):
    skeletons = phantom.skeletons_by_neuron()
    assert set(skeletons) <= set(np.unique(dense).tolist())
    # a neuron that only grazes the box has its skeleton outside
    inset = [round(80 / v) for v in phantom.config.voxel_size]
    inner = dense[tuple(slice(n, -n) for n in inset)]
    deep, counts = np.unique(inner, return_counts=True)
    assert np.isin(deep[counts > 0.004 * inner.size], list(skeletons)).mean() > 0.9
    assert len(phantom.skeletons()) == len(skeletons)
    assert all((s.radius_nm > 0).all() for s in skeletons.values())


def test_texture_is_not_white_and_not_flat(phantom):
    image = EMPhantom(replace(phantom.config, missing=0.0, dark=0.0, blurred=0.0)).image(phantom.box)[0].astype(float)
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    radius = np.hypot(fy, fx)
    bands = [power[(radius > a) & (radius <= a + 0.1)].mean() for a in (0.02, 0.12, 0.25, 0.38)]
    assert bands[0] > 5 * bands[1] > 10 * bands[2] > 10 * bands[3]
