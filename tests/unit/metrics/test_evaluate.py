import tracemalloc

import numpy as np
import pytest

from neuropil.errors import ConfigError, GeometryError, InputError
from neuropil.metrics.border import border_mask
from neuropil.metrics.evaluate import evaluate_arrays, evaluate_skeletons, evaluate_volumes, volume_contingency
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import scores
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume

VOXEL = (40.0, 4.0, 4.0)


@pytest.fixture
def pair(rng):
    truth = np.kron(rng.integers(0, 9, (3, 4, 4)), np.ones((2, 8, 9), np.uint32))
    pred = np.where(rng.random(truth.shape) < 0.1, 0, np.roll(truth, 3, axis=2)).astype(np.uint32)
    return truth.astype(np.uint64), pred


def labels(array, **kwargs):
    return Volume(array, VOXEL, kind="labels", **kwargs)


@pytest.mark.parametrize("border", [None, 0, 4, 9.5])
@pytest.mark.parametrize("block", [(2, 16, 16), (1, 5, 7), (64, 512, 512)])
def test_blocks_score_as_the_whole(pair, border, block):
    truth, pred = pair
    whole = evaluate_arrays(truth, pred, VOXEL, ignore_border_nm=border, convention="cremi")
    blocks = evaluate_volumes(
        labels(truth), labels(pred), ignore_border_nm=border, convention="cremi", block_shape=block
    )
    assert blocks == whole


def test_the_border_is_left_out(pair):
    truth, pred = pair
    got = evaluate_arrays(truth, pred, VOXEL, ignore_border_nm=8, convention="neuropil")
    valid = ~border_mask(truth, VOXEL, 8)
    assert got == scores(contingency(truth, pred, valid=valid), convention="neuropil")
    assert got["voxels_compared"] == (valid & (truth > 0)).sum()
    assert got["voi_sum"] < evaluate_arrays(truth, pred, VOXEL, ignore_border_nm=None, convention="neuropil")["voi_sum"]


def test_a_padded_prediction_is_cut_to_the_truth(pair):
    truth, pred = pair
    padded = np.pad(pred, ((1, 2), (3, 4), (5, 6)), constant_values=77)
    placed = labels(truth, offset=(40.0, 12.0, 20.0))
    got = volume_contingency(placed, labels(padded), ignore_border_nm=None, block_shape=(4, 16, 16))
    assert scores(got, convention="neuropil") == scores(contingency(truth, pred), convention="neuropil")


@pytest.mark.parametrize("change", ["smaller", "larger", "elsewhere"])
def test_volumes_of_different_boxes_are_refused(pair, change):
    truth, pred = pair
    other = {
        "smaller": labels(pred[:-1], name="pred.h5"),
        "larger": labels(np.pad(pred, 1), name="pred.h5"),
        "elsewhere": labels(pred, offset=(40.0, 0.0, 0.0), name="pred.h5"),
    }[change]
    with pytest.raises(GeometryError, match=r"(?s)pred\.h5.*fix"):
        evaluate_volumes(labels(truth), other, ignore_border_nm=None, convention="neuropil", block_shape=(4, 16, 16))


def test_voxel_sizes_must_agree(pair):
    truth, pred = pair
    with pytest.raises(GeometryError, match="voxel size"):
        volume_contingency(
            labels(truth), Volume(pred, (50, 4, 4), kind="labels"), ignore_border_nm=None, block_shape=(4, 16, 16)
        )


def test_an_image_or_affinities_are_not_labels(pair):
    truth, pred = pair
    image = Volume(pred.astype(np.float32), VOXEL, kind="image", name="raw.h5")
    with pytest.raises(InputError, match=r"raw\.h5"):
        volume_contingency(labels(truth), image, ignore_border_nm=None, block_shape=(4, 16, 16))
    channels = Volume(np.stack([pred, pred]), VOXEL, axes="czyx", kind="labels", name="aff.zarr")
    with pytest.raises(GeometryError, match=r"aff\.zarr"):
        volume_contingency(labels(truth), channels, ignore_border_nm=None, block_shape=(4, 16, 16))


@pytest.mark.parametrize("distance", [-5, float("nan"), float("inf")])
def test_the_border_distance_must_be_a_length(pair, distance):
    truth, pred = pair
    with pytest.raises(InputError, match="border distance"):
        evaluate_volumes(
            labels(truth), labels(pred), ignore_border_nm=distance, convention="neuropil", block_shape=(4, 16, 16)
        )
    with pytest.raises(InputError, match="border distance"):
        evaluate_arrays(truth, pred, VOXEL, ignore_border_nm=distance, convention="neuropil")


def test_a_border_that_swallows_everything_is_explained(pair):
    truth, pred = pair
    with pytest.raises(InputError, match=r"(?s)no voxel left.*--ignore-border-nm"):
        evaluate_arrays(truth, pred, VOXEL, ignore_border_nm=1000, convention="neuropil")


def test_an_unknown_convention_is_refused_before_reading():
    class Unread:
        shape, dtype = (4, 4, 4), np.dtype(np.uint64)

        def __getitem__(self, key):
            raise AssertionError("read")

    volume = labels(Unread())
    with pytest.raises(ConfigError, match="convention"):
        evaluate_volumes(volume, volume, ignore_border_nm=None, convention="mine", block_shape=(4, 4, 4))


def test_memory_is_that_of_a_block_not_of_the_volume():
    class Endless:
        """256³ labels (128 MiB) that exist only where they are read."""

        shape, dtype = (256, 256, 256), np.dtype(np.uint64)

        def __getitem__(self, key):
            z, y, x = (np.arange(k.start, k.stop, dtype=np.uint64) // 32 for k in key)
            return 1 + z[:, None, None] * 64 + y[None, :, None] * 8 + x[None, None, :]

    volume = labels(Endless())
    small = labels(np.ones((2, 64, 64), np.uint64))
    evaluate_volumes(small, small, ignore_border_nm=8, convention="neuropil", block_shape=(2, 64, 64))  # compile
    tracemalloc.start()
    got = evaluate_volumes(volume, volume, ignore_border_nm=8, convention="neuropil", block_shape=(32, 128, 128))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got["num_truth"] == 512
    assert got["voi_sum"] == 0
    assert peak < 32 * 2**20


def test_run_length_of_a_split_and_of_a_whole_path():
    # 12 nodes 4 nm apart along x: 44 nm of cable; cut after the sixth node into runs of 20 nm around a 4 nm edge
    nodes = np.stack([np.full(12, 60.0), np.full(12, 10.0), 4 * np.arange(12) + 2.0], axis=1)
    path = Skeleton(nodes, np.zeros(12), np.arange(12) - 1, np.zeros(12, int))
    whole, cut = np.full((3, 5, 12), 7, np.uint32), np.full((3, 5, 12), 7, np.uint32)
    cut[:, :, 6:] = 8
    got = evaluate_skeletons(labels(whole), [path], merge_tolerance_nm=0.0)
    assert (got["erl_nm"], got["nerl"], got["erl_splits"], got["num_skeletons"]) == (44, 1, 0, 1)
    got = evaluate_skeletons(labels(cut), [path], merge_tolerance_nm=0.0)
    assert got["erl_nm"] == pytest.approx(2 * 20**2 / 44)
    assert (got["erl_splits"], got["path_length_nm"]) == (1, 44)
