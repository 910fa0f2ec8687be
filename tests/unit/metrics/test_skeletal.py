import numpy as np
import pytest

from neuropil.errors import GeometryError, InputError
from neuropil.metrics.skeletal import OUTSIDE, erl, sample_array, sample_volume
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume


def path(lengths, axis=2, start=(0.0, 0.0, 0.0)):
    nodes = np.tile(np.array(start, float), (len(lengths) + 1, 1))
    nodes[1:, axis] += np.cumsum(lengths)
    n = len(nodes)
    return Skeleton(nodes, np.ones(n), np.arange(n) - 1, np.zeros(n, int))


def ids(*values):
    return np.array(values, np.uint64)


def brute(skeletons, segments, tolerance, forbidden):
    """The definition, edge by edge."""
    covers = {}
    for s, (skeleton, seg) in enumerate(zip(skeletons, segments, strict=True)):
        edges = [(int(c), int(p)) for c, p in skeleton.edges if OUTSIDE not in (seg[c], seg[p])]
        for n in range(len(seg)):
            if int(seg[n]) in (0, OUTSIDE, OUTSIDE - 1):
                continue
            lengths = [np.linalg.norm(skeleton.nodes_nm[c] - skeleton.nodes_nm[p]) for c, p in edges if n in (c, p)]
            covers.setdefault(int(seg[n]), {}).setdefault(s, []).append(sum(lengths) / 2)
    merged = set()
    for g, per in covers.items():
        hit = [s for s, cable in per.items() if tolerance == 0 or sum(cable) > tolerance]
        if len(hit) > 1 or (hit and g in forbidden):
            merged.add(g)
    total, squares, ideal = 0.0, 0.0, 0.0
    for skeleton, seg in zip(skeletons, segments, strict=True):
        runs, own = {}, 0.0
        for c, p in skeleton.edges:
            if OUTSIDE in (seg[c], seg[p]):
                continue
            length = np.linalg.norm(skeleton.nodes_nm[c] - skeleton.nodes_nm[p])
            own += length
            if seg[c] == seg[p] and int(seg[c]) not in merged and int(seg[c]) not in (0, OUTSIDE - 1):
                runs[int(seg[c])] = runs.get(int(seg[c]), 0) + length
        total += own
        ideal += own**2
        squares += sum(r**2 for r in runs.values())
    return squares / total, ideal / total, merged


def test_perfect_split_and_merge_by_hand():
    two = [path([10, 10, 10]), path([30, 30])]
    perfect = erl(two, [ids(1, 1, 1, 1), ids(2, 2, 2)], merge_tolerance_nm=0)
    assert perfect.erl_nm == perfect.max_erl_nm == pytest.approx((30**2 + 60**2) / 90)
    assert perfect.nerl == 1
    assert (perfect.splits, perfect.merges) == (0, 0)
    split = erl(two, [ids(1, 1, 3, 3), ids(2, 2, 2)], merge_tolerance_nm=0)
    assert split.erl_nm == pytest.approx((10**2 + 10**2 + 60**2) / 90)
    assert (split.splits, split.merges) == (1, 0)
    first = split.skeletons[0]
    assert (first.length_nm, first.correct_nm, first.split_nm, first.segments) == (30, 20, 10, 2)
    assert first.erl_nm == pytest.approx(200 / 30)
    merge = erl(two, [ids(1, 1, 2, 2), ids(2, 2, 2)], merge_tolerance_nm=0)
    assert merge.erl_nm == pytest.approx(10**2 / 90)
    assert merge.merged_segments.tolist() == [2]
    assert merge.merges == 1
    assert merge.skeletons[1].merged_nm == 60
    assert merge.path_length_nm == 90


def test_a_segment_that_comes_back_is_one_run():
    got = erl([path([10, 10, 10, 10])], [ids(1, 1, 2, 1, 1)], merge_tolerance_nm=0)
    assert got.erl_nm == pytest.approx(20**2 / 40)


def test_omitted_cable_is_no_run():
    for nothing in (0, OUTSIDE - 1):
        got = erl([path([10, 10, 10])], [ids(1, 1, nothing, nothing)], merge_tolerance_nm=0)
        assert got.erl_nm == pytest.approx(10**2 / 30)
        assert got.skeletons[0].omitted_nm == 20
        assert got.splits == 0


def test_background_never_merges():
    got = erl([path([10, 10]), path([10, 10])], [ids(1, 1, 0), ids(2, 2, 0)], merge_tolerance_nm=0)
    assert got.merges == 0
    assert got.erl_nm == pytest.approx(2 * 10**2 / 40)


def test_cable_outside_is_left_out_of_everything():
    got = erl([path([10, 10, 10])], [ids(1, 1, OUTSIDE, OUTSIDE)], merge_tolerance_nm=0)
    assert (got.path_length_nm, got.nerl) == (10, 1)


def test_touching_a_segment_is_forgiven_up_to_the_tolerance():
    two, segments = [path([10] * 6), path([10] * 6)], [ids(1, 1, 1, 1, 1, 1, 2), ids(2, 2, 2, 2, 2, 2, 2)]
    assert erl(two, segments, merge_tolerance_nm=0).merges == 1
    assert erl(two, segments, merge_tolerance_nm=4.9).merges == 1  # the last node stands for 5 nm
    forgiven = erl(two, segments, merge_tolerance_nm=5)
    assert forgiven.merges == 0
    assert forgiven.erl_nm == pytest.approx((50**2 + 60**2) / 120)


def test_forbidden_segments_are_worth_nothing():
    two, segments = [path([10, 10]), path([10, 10])], [ids(1, 1, 1), ids(2, 2, 2)]
    got = erl(two, segments, merge_tolerance_nm=0, forbidden_segments=[2, 99])
    assert got.erl_nm == pytest.approx(20**2 / 40)
    assert got.merged_segments.tolist() == [2]
    assert got.merges == 1


@pytest.mark.parametrize("seed", range(12))
def test_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    skeletons, segments = [], []
    for _ in range(rng.integers(1, 6)):
        n = int(rng.integers(2, 25))
        parent = np.array([-1, *(rng.integers(0, i) for i in range(1, n))])
        skeletons.append(Skeleton(rng.random((n, 3)) * 100, np.ones(n), parent, np.zeros(n, int)))
        choices = ids(0, 1, 2, 3, 4, 5, 6, 7, OUTSIDE, OUTSIDE - 1)
        segments.append(rng.choice(choices, n, p=[0.05, *[0.12] * 7, 0.06, 0.05]))
    tolerance, forbidden = float(rng.choice([0, 30, 200])), {int(rng.integers(1, 8))}
    got = erl(skeletons, segments, merge_tolerance_nm=tolerance, forbidden_segments=forbidden)
    expected = brute(skeletons, segments, tolerance, forbidden)
    assert (got.erl_nm, got.max_erl_nm) == pytest.approx(expected[:2])
    assert set(got.merged_segments.tolist()) == expected[2]
    for runs in got.skeletons:
        parts = runs.correct_nm + runs.split_nm + runs.merged_nm + runs.omitted_nm
        assert parts == pytest.approx(runs.length_nm)


def test_scores_are_flat():
    got = erl([path([10, 10])], [ids(1, 1, 1)], merge_tolerance_nm=0).scores()
    assert got == {
        "erl_nm": 20,
        "nerl": 1,
        "erl_splits": 0,
        "erl_merges": 0,
        "erl_max_nm": 20,
        "path_length_nm": 20,
        "num_skeletons": 1,
    }


def test_a_node_takes_the_label_of_its_voxel():
    labels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    nodes = np.array([[0, 0, 0], [39.9, 0, 0], [40, 0, 0], [0, 4.0, 3.9], [79, 11, 15.9], [80, 0, 0], [-0.5, 0, 0]])
    skeleton = Skeleton(nodes, np.ones(7), np.full(7, -1), np.zeros(7, int))
    (got,) = sample_array(labels, (40, 4, 4), [skeleton], offset=(0, 0, 0))
    assert got.tolist() == [0, 0, 12, 4, 23, OUTSIDE, OUTSIDE]
    moved = Skeleton(nodes + np.array([400, 40, 80]), np.ones(7), np.full(7, -1), np.zeros(7, int))
    (got,) = sample_array(labels, (40, 4, 4), [moved], offset=(400, 40, 80))
    assert got.tolist() == [0, 0, 12, 4, 23, OUTSIDE, OUTSIDE]


@pytest.mark.parametrize("block", [(2, 3, 4), (100, 100, 100)])
def test_a_volume_is_sampled_as_its_array(rng, block):
    labels = rng.integers(0, 99, (9, 10, 11)).astype(np.uint64)
    offset = (-80.0, 40.0, 8.0)
    skeletons = [path([13.0] * 9, axis, (-60.0, 38.0, 10.0)) for axis in range(3)]
    volume = Volume(labels, (40, 4, 4), offset, kind="labels")
    got = sample_volume(volume, skeletons, block_shape=block)
    expected = sample_array(labels, (40, 4, 4), skeletons, offset=offset)
    assert [g.tolist() for g in got] == [e.tolist() for e in expected]
    assert any(OUTSIDE in g for g in got)
    assert any((g != OUTSIDE).any() for g in got)


def test_a_volume_without_nodes_in_it_is_not_read():
    class Unread:
        shape, dtype = (4, 4, 4), np.dtype(np.uint64)

        def __getitem__(self, key):
            raise AssertionError("read")

    volume = Volume(Unread(), (1, 1, 1), kind="labels")
    (got,) = sample_volume(volume, [path([1.0], start=(50, 50, 50))], block_shape=(2, 2, 2))
    assert got.tolist() == [OUTSIDE, OUTSIDE]
    assert sample_volume(volume, [], block_shape=(2, 2, 2)) == []


def test_bad_input_is_refused():
    one = [path([10, 10])]
    with pytest.raises(InputError, match="1 skeletons and ids for 2"):
        erl(one, [ids(1, 1, 1)] * 2, merge_tolerance_nm=0)
    with pytest.raises(InputError, match="3 nodes"):
        erl(one, [ids(1, 1)], merge_tolerance_nm=0)
    with pytest.raises(InputError, match="tolerance"):
        erl(one, [ids(1, 1, 1)], merge_tolerance_nm=-1)
    with pytest.raises(InputError, match="without cable"):
        erl(one, [ids(OUTSIDE, OUTSIDE, OUTSIDE)], merge_tolerance_nm=0)
    with pytest.raises(InputError, match="without cable"):
        erl([], [], merge_tolerance_nm=0)
    with pytest.raises(GeometryError, match="three axes"):
        sample_array(np.ones((3, 3), int), (1, 1, 1), one, offset=(0, 0, 0))
    with pytest.raises(InputError, match="float32"):
        sample_array(np.ones((3, 3, 3), np.float32), (1, 1, 1), one, offset=(0, 0, 0))
    image = Volume(np.ones((3, 3, 3), np.float32), (1, 1, 1), kind="image", name="raw.h5")
    with pytest.raises(InputError, match=r"raw\.h5"):
        sample_volume(image, one, block_shape=(2, 2, 2))
    channels = Volume(np.ones((2, 3, 3, 3), np.uint64), (1, 1, 1), axes="czyx", kind="labels", name="aff.h5")
    with pytest.raises(GeometryError, match=r"aff\.h5"):
        sample_volume(channels, one, block_shape=(2, 2, 2))
