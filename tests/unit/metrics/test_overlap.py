from collections import Counter

import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.metrics.overlap import Contingency, PairCounter, contingency


def brute(truth, pred, valid=None):
    keep = np.ones(truth.shape, bool) if valid is None else valid
    return Counter(zip(truth[keep].tolist(), pred[keep].tolist(), strict=True))


def as_dict(table):
    return {(int(t), int(p)): int(v) for t, p, v in zip(table.truth, table.pred, table.voxels, strict=True)}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64, bool])
def test_pairs_are_counted_for_every_integer_type(rng, dtype):
    high = 2 if dtype is bool else 9
    truth, pred = (rng.integers(0, high, (5, 6, 7)).astype(dtype) for _ in range(2))
    table = contingency(truth, pred)
    assert as_dict(table) == brute(truth.astype(int), pred.astype(int))
    assert table.truth.dtype == np.uint64


def test_ids_above_63_bits_are_kept():
    top = np.array([2**64 - 1, 2**64 - 2, 2**63], np.uint64)
    table = contingency(top, np.arange(3, dtype=np.uint64))
    assert table.truth.tolist() == [2**63, 2**64 - 2, 2**64 - 1]


def test_pairs_are_sorted_by_truth_then_prediction(rng):
    table = contingency(rng.integers(0, 30, 4000), rng.integers(0, 30, 4000))
    pairs = list(as_dict(table))
    assert pairs == sorted(pairs)
    assert len(pairs) == len(set(pairs))


def test_many_pairs_make_the_table_grow(rng):
    truth = rng.integers(0, 2**64, 30_000, np.uint64)
    table = contingency(truth, truth[::-1])
    assert len(table.voxels) == 30_000
    assert table.total == 30_000


def test_only_valid_voxels_count(rng):
    truth, pred = rng.integers(0, 4, (2, 6, 6, 6))
    valid = rng.random((6, 6, 6)) < 0.5
    table = contingency(truth, pred, valid=valid)
    assert as_dict(table) == brute(truth, pred, valid)
    assert table.excluded == (~valid).sum()
    assert contingency(truth, pred, valid=np.zeros_like(valid)).total == 0


def test_views_of_any_layout_give_the_same_table(rng):
    truth, pred = rng.integers(0, 4, (2, 8, 9, 10))
    expected = as_dict(contingency(truth, pred))
    assert as_dict(contingency(truth.T, pred.T)) == expected
    assert as_dict(contingency(truth[::-1, :, ::-1], pred[::-1, :, ::-1])) == expected
    assert as_dict(contingency(np.asfortranarray(truth), pred)) == expected


def test_blocks_add_up_to_the_whole(rng):
    truth, pred = rng.integers(0, 6, (2, 9, 8, 7))
    counter = PairCounter()
    for z in range(0, 9, 2):
        counter.add(truth[z : z + 2], pred[z : z + 2])
    whole = contingency(truth, pred)
    assert as_dict(counter.table()) == as_dict(whole)
    merged = contingency(truth[:4], pred[:4]).merged(contingency(truth[4:], pred[4:]))
    assert as_dict(merged) == as_dict(whole)
    assert list(as_dict(merged)) == list(as_dict(whole))


def test_arrays_larger_than_a_slab(monkeypatch, rng):
    truth, pred = rng.integers(0, 6, (2, 9, 8, 7))
    expected = as_dict(contingency(truth, pred))
    monkeypatch.setattr("neuropil.metrics.overlap._SLAB_VOXELS", 60)
    assert as_dict(contingency(truth, pred)) == expected


def test_marginals(rng):
    truth, pred = rng.integers(0, 6, (2, 500))
    table = contingency(truth, pred)
    for labels, (ids, voxels, index), column in (
        (truth, table.truth_objects, table.truth),
        (pred, table.pred_objects, table.pred),
    ):
        unique, counts = np.unique(labels, return_counts=True)
        assert ids.tolist() == unique.tolist()
        assert voxels.tolist() == counts.tolist()
        assert (ids[index] == column).all()


def test_without_and_relabelled():
    table = contingency(np.array([0, 1, 1, 2, 2]), np.array([5, 5, 6, 6, 7]))
    less = table.without(truth=(0, 99), pred=(7,))
    assert as_dict(less) == {(1, 5): 1, (1, 6): 1, (2, 6): 1}
    assert less.excluded == 2
    assert table.without(truth=(98,), pred=()) is table
    assert as_dict(table.relabelled(pred=(6, 7), to=0)) == {(0, 5): 1, (1, 5): 1, (1, 0): 1, (2, 0): 2}


def test_empty_arrays_give_an_empty_table():
    table = contingency(np.zeros((0, 3, 3), int), np.zeros((0, 3, 3), int))
    assert isinstance(table, Contingency)
    assert table.total == 0
    assert len(table.merged(table).voxels) == 0


def test_a_negative_label_is_refused():
    with pytest.raises(InputError, match=r"negative predicted labels \(-3\)"):
        contingency(np.array([1, 1]), np.array([1, -3]))


def test_an_image_is_not_labels():
    with pytest.raises(InputError, match="truth labels of type float32"):
        contingency(np.ones(3, np.float32), np.ones(3, int))


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match="shape"):
        contingency(np.ones((2, 3), int), np.ones((3, 2), int))
    with pytest.raises(GeometryError, match="mask"):
        contingency(np.ones((2, 3), int), np.ones((2, 3), int), valid=np.ones(6, bool))
    with pytest.raises(GeometryError, match="mask"):
        contingency(np.ones(6, int), np.ones(6, int), valid=np.ones(6, np.uint8))
    with pytest.raises(GeometryError, match="axis"):
        contingency(np.array(1), np.array(1))
