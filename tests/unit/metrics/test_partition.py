import numpy as np
import pytest

from neuropil.errors import ConfigError, InputError
from neuropil.metrics.overlap import contingency
from neuropil.metrics.partition import CONVENTIONS, object_voi, rand, scores, voi

MAX = 2**64 - 1


def cube():
    return np.ones((4, 4, 4), np.uint64)


@pytest.fixture
def halved():
    """One truth object, cut into 1 and 2."""
    pred = cube()
    pred[:2] = 2
    return contingency(cube(), pred)


@pytest.fixture
def holed():
    """One truth object; one section of four has no prediction."""
    pred = cube()
    pred[0] = 0
    return contingency(cube(), pred)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_golden_voi_of_a_halved_object(halved, convention):
    assert voi(halved, convention=convention) == {"voi_split": 1.0, "voi_merge": 0.0, "voi_sum": 1.0}


@pytest.mark.parametrize("convention", ["neuropil", "cremi", "skimage"])
def test_golden_voi_of_a_holed_object(holed, convention):
    got = voi(holed, convention=convention)
    assert got["voi_split"] == pytest.approx(0.8113, abs=5e-5)
    assert got["voi_merge"] == 0


def test_golden_arand(halved, holed):
    assert rand(halved, convention="skimage")["arand"] == pytest.approx(0.3404, abs=5e-5)
    assert rand(holed, convention="skimage")["arand"] == pytest.approx(0.2353, abs=5e-5)
    assert rand(holed, convention="cremi")["arand"] == pytest.approx(0.28, abs=2e-3)
    assert rand(halved, convention="neuropil")["arand"] == pytest.approx(1 / 3)


def test_singletons_by_hand(holed):
    # 48 voxels in one object, 16 alone: Σc² = Σb² = 48² + 16, Σa² = 64²
    pairs = 48**2 + 16
    got = rand(holed, convention="snemi")
    assert got["arand"] == pytest.approx(1 - 2 * pairs / (64**2 + pairs))
    assert got["rand_precision"] == 1
    # the same, had each of the 16 voxels been given its own id
    alone = cube()
    alone[0] = np.arange(100, 116).reshape(4, 4)
    assert voi(holed, convention="snemi") == pytest.approx(voi(contingency(cube(), alone), convention="neuropil"))
    assert got == pytest.approx(rand(contingency(cube(), alone), convention="neuropil"))


def test_cremi_singletons_follow_the_written_formula(rng):
    truth, pred = rng.integers(0, 4, (2, 1000))
    table = contingency(truth, pred)
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (truth, pred), 1)  # truth 0 is an object here
    single = matrix[:, 0].sum() / 1000
    both = (matrix[:, 1:] ** 2).sum() + single
    in_pred = (matrix[:, 1:].sum(axis=0) ** 2).sum() + single
    in_truth = (matrix.sum(axis=1) ** 2).sum()
    assert rand(table, convention="cremi")["arand"] == pytest.approx(1 - 2 * both / (in_pred + in_truth))


def test_a_split_is_not_a_merge():
    truth = np.repeat([1, 2], 50)
    split = voi(contingency(truth, np.arange(100) // 25 + 1), convention="neuropil")
    merge = voi(contingency(truth, np.ones(100, int)), convention="neuropil")
    assert (split["voi_split"], split["voi_merge"]) == (1, 0)
    assert (merge["voi_split"], merge["voi_merge"]) == (0, 1)
    split = rand(contingency(truth, np.arange(100) // 25 + 1), convention="neuropil")
    merge = rand(contingency(truth, np.ones(100, int)), convention="neuropil")
    assert (split["rand_precision"], split["rand_recall"]) == (1, 0.5)
    assert (merge["rand_precision"], merge["rand_recall"]) == (0.5, 1)


def test_what_counts_as_background():
    truth = np.array([0, 0, MAX, MAX - 1, 1, 1, 2, 2], np.uint64)
    pred = np.array([5, 6, 7, 8, 1, 1, MAX, 0], np.uint64)
    table = contingency(truth, pred)
    ours = scores(table, convention="neuropil")
    assert (ours["num_truth"], ours["num_pred"]) == (2, 1)
    assert (ours["voxels_compared"], ours["voxels_ignored"]) == (4, 4)
    assert ours["unassigned"] == 0.5
    assert (ours["voi_split"], ours["voi_merge"]) == (0, 0)  # MAX and 0 are one unassigned object
    cremi = scores(table, convention="cremi")
    assert cremi["voxels_compared"] == 6  # truth 0 is an object
    assert cremi["voi_split"] > 0
    assert scores(table, convention="skimage")["voxels_compared"] == 8
    assert scores(table, convention="assigned")["voxels_compared"] == 2


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_ids_mean_nothing(rng, convention):
    truth, pred = rng.integers(0, 5, (2, 300))
    new = np.concatenate([[0], rng.permutation(10_000)[:4] + 1])
    before = scores(contingency(truth, pred), convention=convention)
    after = scores(contingency(new[truth], new[pred]), convention=convention)
    assert after == pytest.approx(before)


def test_scores_hold_everything(halved):
    got = scores(halved, convention="neuropil")
    assert set(got) == {
        "voi_split",
        "voi_merge",
        "voi_sum",
        "arand",
        "rand_precision",
        "rand_recall",
        "rand_index",
        "cremi_score",
        "num_truth",
        "num_pred",
        "voxels_compared",
        "voxels_ignored",
        "unassigned",
    }
    assert got["cremi_score"] == pytest.approx(np.sqrt(1 / 3))
    assert got["rand_index"] == pytest.approx(0.5)
    assert all(type(v) in (int, float) for v in got.values())


def test_perfect_is_exactly_zero(rng):
    truth = rng.integers(1, 50, 10_000)
    got = scores(contingency(truth, truth + 100), convention="neuropil")
    assert [got[k] for k in ("voi_split", "voi_merge", "arand", "cremi_score")] == [0, 0, 0, 0]
    assert got["rand_index"] == 1


def test_single_voxels_are_perfect_without_self_pairs():
    got = rand(contingency(np.array([1, 2, 3]), np.array([1, 2, 3])), convention="skimage")
    assert got == {"arand": 0.0, "rand_precision": 1.0, "rand_recall": 1.0, "rand_index": 1.0}
    assert rand(contingency(np.array([1]), np.array([1])), convention="skimage")["rand_index"] == 1


def test_objects_sum_to_the_whole_and_name_the_culprits():
    truth = np.array([1] * 60 + [2] * 30 + [3] * 10)
    pred = np.array([11] * 20 + [12] * 40 + [20] * 30 + [20] * 10)
    result = object_voi(contingency(truth, pred), convention="neuropil")
    assert result.scores() == pytest.approx(voi(contingency(truth, pred), convention="neuropil"))
    split = result.worst_splits(10)
    assert [(w.id, w.voxels, w.partners) for w in split] == [(1, 60, ((12, 40), (11, 20)))]
    assert split[0].bits == pytest.approx(0.2 * np.log2(3) + 0.4 * np.log2(1.5))
    merge = result.worst_merges(10)
    assert [(w.id, w.voxels, w.partners) for w in merge] == [(20, 40, ((2, 30), (3, 10)))]
    assert merge[0].bits == pytest.approx(0.3 * np.log2(4 / 3) + 0.1 * np.log2(4))


def test_the_worst_come_first_and_background_is_nobody(rng):
    truth, pred = rng.integers(0, 12, (2, 5000))
    result = object_voi(contingency(truth, pred), convention="skimage")
    for worst in (result.worst_splits(5), result.worst_merges(5)):
        assert len(worst) == 5
        assert 0 not in [w.id for w in worst]
        assert [w.bits for w in worst] == sorted((w.bits for w in worst), reverse=True)


@pytest.mark.parametrize("score", [voi, rand, object_voi, scores])
def test_nothing_to_compare_is_an_error(score):
    with pytest.raises(InputError, match="no voxel left"):
        score(contingency(np.zeros(5, int), np.ones(5, int)), convention="neuropil")


@pytest.mark.parametrize("score", [voi, rand, object_voi, scores])
def test_an_unknown_convention_names_the_known(halved, score):
    with pytest.raises(ConfigError, match=r"(?s)'snemi3d'.*snemi, cremi"):
        score(halved, convention="snemi3d")


def test_rounding_in_huge_volumes_never_makes_a_negative_error():
    ids = np.arange(1, 2001)
    table = contingency(ids, ids[::-1])
    huge = type(table)(table.truth, table.pred, np.arange(1, 2001) ** 3 + 10**9, 0)
    got = scores(huge, convention="neuropil")
    assert got["arand"] == pytest.approx(0, abs=1e-12)
    assert got["arand"] >= 0
    assert got["rand_index"] <= 1
    assert got["cremi_score"] == 0


def test_huge_volumes_do_not_overflow():
    table = contingency(np.array([1, 2]), np.array([1, 1]))
    huge = type(table)(table.truth, table.pred, np.array([4 * 10**12, 4 * 10**12]), 0)
    assert rand(huge, convention="skimage")["arand"] == pytest.approx(1 / 3)
    assert voi(huge, convention="neuropil")["voi_merge"] == pytest.approx(1)
