"""Overlap scores against scikit-image and the written formulas, on random and on awkward label volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information

from neuropil.errors import InputError
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import object_voi, rand, voi

shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)


@st.composite
def pairs(draw, low=0, high=6):
    """Two label volumes of one shape, either noise or blocks."""
    shape, scale = draw(shapes), draw(st.integers(1, 3))
    ids = st.integers(low, high)
    truth, pred = (draw(hnp.arrays(np.int64, shape, elements=ids)) for _ in range(2))
    return tuple(np.kron(a, np.ones((1, scale, scale), np.int64)) for a in (truth, pred))


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_voi_is_that_of_scikit_image(pair):
    truth, pred = pair
    split, merge = variation_of_information(truth, pred)
    got = voi(contingency(truth, pred), convention="skimage")
    assert (got["voi_split"], got["voi_merge"]) == pytest.approx((split, merge), abs=1e-10)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_voi_without_background_is_that_of_scikit_image(pair):
    truth, pred = pair
    inside = truth > 0
    table = contingency(truth, pred)
    if not inside.any():
        with pytest.raises(InputError):
            voi(table, convention="neuropil")
        return
    split, merge = variation_of_information(truth[inside], pred[inside])
    got = voi(table, convention="neuropil")
    assert (got["voi_split"], got["voi_merge"]) == pytest.approx((split, merge), abs=1e-10)


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_arand_is_that_of_scikit_image(pair):
    truth, pred = pair
    inside = truth > 0
    if len(np.unique(truth[inside])) in (0, inside.sum()) or len(np.unique(pred[inside])) == inside.sum():
        return  # no pair of voxels to judge: scikit-image divides by zero
    error, precision, recall = adapted_rand_error(truth, pred)
    got = rand(contingency(truth, pred), convention="skimage")
    assert got["arand"] == pytest.approx(error, abs=1e-10)
    # scikit-image 0.26 gives the two in the other order than its documentation says: its first is Σc²/Σa²
    assert (got["rand_recall"], got["rand_precision"]) == pytest.approx((precision, recall), abs=1e-10)


@settings(max_examples=100, deadline=None)
@given(pairs(low=1))
def test_rand_against_the_formula(pair):
    truth, pred = pair
    matrix = contingency_table(truth, pred).toarray()
    both, a, b = (matrix**2).sum(), (matrix.sum(axis=1) ** 2).sum(), (matrix.sum(axis=0) ** 2).sum()
    got = rand(contingency(truth, pred), convention="neuropil")
    assert got["rand_precision"] == pytest.approx(both / b)
    assert got["rand_recall"] == pytest.approx(both / a)
    assert got["arand"] == pytest.approx(1 - 2 * (both / a) * (both / b) / (both / a + both / b), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int64, 24, elements=st.integers(1, 4)), hnp.arrays(np.int64, 24, elements=st.integers(1, 4)))
def test_rand_index_counts_pairs_that_agree(truth, pred):
    agree = [(truth[i] == truth[j]) == (pred[i] == pred[j]) for i in range(24) for j in range(i)]
    got = rand(contingency(truth, pred), convention="skimage")
    assert got["rand_index"] == pytest.approx(np.mean(agree))


@settings(max_examples=60, deadline=None)
@given(pairs(low=1))
def test_swapping_the_volumes_swaps_split_and_merge(pair):
    truth, pred = pair
    there = object_voi(contingency(truth, pred), convention="neuropil")
    back = object_voi(contingency(pred, truth), convention="neuropil")
    assert there.split_bits == pytest.approx(back.merge_bits, abs=1e-12)
    assert there.merge_bits == pytest.approx(back.split_bits, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(pairs(low=1))
def test_each_object_against_its_own_entropy(pair):
    truth, pred = pair
    result = object_voi(contingency(truth, pred), convention="neuropil")
    for own, bits in zip(result.truth_ids, result.split_bits, strict=True):
        share = np.unique(pred[truth == own], return_counts=True)[1] / (truth == own).sum()
        assert bits == pytest.approx((truth == own).mean() * -(share * np.log2(share)).sum(), abs=1e-12)
