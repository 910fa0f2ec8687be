"""Labels to trees: one a segment, inside it, with its radius."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.tracing.phantoms import CONFIG, agreement, line, tubes

from neuropil.errors import InputError
from neuropil.tracing.skeletonize import segments, skeletons
from neuropil.volume import Volume


def _labels() -> tuple[Volume, dict[int, np.ndarray]]:
    paths = {7: line((8, 12, 5), (8, 20, 50), (8, 12, 90)), 2**40: line((20, 40, 5), (16, 36, 50), (20, 50, 90))}
    out = np.zeros((28, 60, 96), np.uint64)
    for label, path in paths.items():
        out[tubes(out.shape, [(path, 3.0)], noise=0).numpy() > 70] = label
    out[0, 0, :5] = 9
    return Volume(out, (1, 1, 1), (100, 0, 0), kind="labels", name="seg"), paths


def test_each_segment_gets_its_tree() -> None:
    labels, paths = _labels()
    wanted = segments(labels, CONFIG)
    assert [s.label for s in wanted] == [7, 2**40], "9 is too small"
    values = labels.numpy()
    for segment, tree in skeletons(labels, CONFIG, wanted):
        assert segment.voxels == (values == segment.label).sum()
        precision, recall = agreement(tree, paths[segment.label] + [100, 0, 0], 1.6)
        assert precision > 0.95
        assert recall > 0.93
        at = np.floor(tree.nodes_nm - [100, 0, 0]).astype(int)
        assert (values[tuple(at.T)] == segment.label).all(), "every node lies in its segment"
        inner = tree.radius_nm[(tree.nodes_nm[:, 2] > 12) & (tree.nodes_nm[:, 2] < 84)]
        assert np.median(inner) == pytest.approx(3, abs=0.8)
        assert (tree.parent < 0).sum() == 1


@pytest.mark.parametrize("tile", [16, 40])
def test_tiles_do_not_matter(tile) -> None:
    labels, _ = _labels()
    small = CONFIG.model_copy(update={"tile": tile})
    assert segments(labels, small) == segments(labels, CONFIG)
    whole = [tree for _, tree in skeletons(labels, CONFIG, segments(labels, CONFIG))]
    parts = [tree for _, tree in skeletons(labels, small, segments(labels, small))]
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one.nodes_nm, other.nodes_nm)


def test_pieces_of_a_segment_stay_apart() -> None:
    out = np.zeros((8, 20, 60), np.uint8)
    out[2:6, 5:9, 2:25] = out[2:6, 5:9, 30:58] = 1
    labels = Volume(out, (1, 1, 1), kind="labels")
    ((_, tree),) = skeletons(labels, CONFIG, segments(labels, CONFIG))
    assert (tree.parent < 0).sum() == 2
    assert np.abs(np.diff(tree.nodes_nm[tree.edges], axis=1)).max() < 5, "no cable across the gap"


def test_the_soma_is_the_thickest_place_of_the_main_piece_wherever_it_lies() -> None:
    out = np.zeros((20, 40, 40), np.uint8)
    out[4:7, 2:5, 2:22] = out[9:12, 27:30, 2:38] = 1
    out[np.linalg.norm(np.indices(out.shape) - np.reshape((10, 28, 20), (3, 1, 1, 1)), axis=0) <= 5] = 1
    ((_, tree),) = skeletons(labels := Volume(out, (1, 1, 1), kind="labels"), CONFIG, segments(labels, CONFIG))
    assert (tree.parent < 0).tolist().count(True) == 2
    assert tree.kind.nonzero()[0].tolist() == [0]
    assert np.linalg.norm(tree.nodes_nm[0] - [10.5, 28.5, 20.5]) < 1


def test_a_thin_line_and_a_blob() -> None:
    out = np.zeros((9, 9, 40), np.uint8)
    out[4, 4, :] = 1
    labels = Volume(out, (1, 1, 1), kind="labels")
    few = CONFIG.model_copy(update={"labels": CONFIG.labels.model_copy(update={"min_voxels": 1})})
    ((_, tree),) = skeletons(labels, few, segments(labels, few))
    assert tree.length_nm() == pytest.approx(39, abs=0.01)
    ball = (np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 8).astype(np.uint8)
    ((_, tree),) = skeletons(blob := Volume(ball, (1, 1, 1), kind="labels"), few, segments(blob, few))
    assert tree.radius_nm.max() == pytest.approx(8, abs=1)
    assert len(tree.parent) < 12


def test_smoothing_moves_no_node_out_of_a_hairpin() -> None:
    out = np.zeros((1, 9, 40), np.uint8)
    out[0, [3, 5], 2:36] = out[0, 4, 36] = 1
    labels = Volume(out, (1, 1, 1), kind="labels")
    few = CONFIG.labels.model_copy(update={"min_voxels": 1, "cover": 0.5})
    smooth = CONFIG.model_copy(update={"smooth": 3.0, "cover_voxels": 0.1, "labels": few})
    ((_, tree),) = skeletons(labels, smooth, segments(labels, smooth))
    assert tree.length_nm() > 60, "there and back"
    assert out[tuple(np.floor(tree.nodes_nm).astype(int).T)].all()


def test_a_segment_beyond_memory_is_refused() -> None:
    labels, _ = _labels()
    tight = CONFIG.model_copy(update={"memory_gb": 1e-6})
    with pytest.raises(InputError, match="label 7: more than"):
        list(skeletons(labels, tight, segments(labels, tight)))


def test_labels_without_segments_give_nothing() -> None:
    assert segments(Volume(np.zeros((4, 4, 4), np.uint8), (1, 1, 1), kind="labels"), CONFIG) == []
