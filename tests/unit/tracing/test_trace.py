"""Whole traces of phantoms: course, radius, root, gaps, crossings, anisotropy, faults."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.tracing.phantoms import CONFIG, agreement, line, tubes

import neuropil.progress
from neuropil.errors import InputError
from neuropil.skeleton import depths
from neuropil.tracing.trace import trace
from neuropil.volume import Volume

STEM = line((20, 40, 8), (20, 40, 50))
FORK = [line((20, 40, 50), (28, 16, 90)), line((20, 40, 50), (12, 64, 90))]
SOMA = line((20, 40, 10), (20, 40, 11))
BRANCHED = [(STEM, 3.0), (FORK[0], 2.0), (FORK[1], 2.0), (SOMA, 9.0)]
TRUTH = np.concatenate([STEM, *FORK])


def test_a_branched_neuron_is_found_with_its_soma_as_root() -> None:
    found = trace(tubes((40, 80, 96), BRANCHED), CONFIG)
    precision, recall = agreement(found.skeleton, TRUTH, 2.0)
    assert precision > 0.95
    assert recall > 0.98
    assert found.soma_found
    assert found.skeleton.kind[0] == 1
    assert (found.skeleton.kind[1:] == 0).all()
    assert np.linalg.norm(found.skeleton.nodes_nm[0] - [20, 40, 10.5]) < 3
    assert found.skeleton.radius_nm[0] == pytest.approx(9, abs=1.5)
    assert (found.skeleton.parent < 0).sum() == 1
    assert (np.diff(depths(found.skeleton.parent)) >= 0).all(), "parents first"
    assert found.confidence.shape == found.skeleton.parent.shape
    assert 0 < found.confidence.min() <= found.confidence.max() <= 1


def test_a_large_image_shows_how_far_its_tracing_is(monkeypatch, capsys) -> None:
    volume = tubes((40, 80, 96), BRANCHED)
    trace(volume, CONFIG)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(neuropil.progress, "LARGE", volume.box.size)
    trace(volume, CONFIG)
    said = capsys.readouterr().err
    assert [line.split()[0] for line in said.splitlines()] == ["look", "neurites", "depths", "radii"]
    assert "0 s left" in said


def test_radii_are_within_a_voxel() -> None:
    found = trace(tubes((40, 80, 96), BRANCHED), CONFIG).skeleton
    x, radius = found.nodes_nm[:, 2], found.radius_nm
    assert np.median(radius[(x > 24) & (x < 45)]) == pytest.approx(3, abs=0.7)
    assert np.median(radius[(x > 60) & (x < 85)]) == pytest.approx(2, abs=0.7)


@pytest.mark.parametrize("spacing", [(3.0, 1.0, 1.0), (1.0, 2.0, 1.0)])
def test_voxels_need_not_be_cubes(spacing) -> None:
    shape = tuple(int(n / s) for n, s in zip((42, 80, 96), spacing, strict=True))
    found = trace(tubes(shape, BRANCHED, spacing=spacing), CONFIG)
    precision, recall = agreement(found.skeleton, TRUTH, 1.0 + max(spacing))
    assert precision > 0.9
    assert recall > 0.97
    thick = found.skeleton.radius_nm[(found.skeleton.nodes_nm[:, 2] > 24) & (found.skeleton.nodes_nm[:, 2] < 45)]
    assert np.median(thick) == pytest.approx(3, abs=1.0)


def test_the_unit_of_length_does_not_matter() -> None:
    paths = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0)]
    image = tubes((12, 56, 90), paths)
    small = trace(image, CONFIG).skeleton
    large = trace(Volume(image.numpy(), (256, 256, 256), kind="image"), CONFIG).skeleton
    assert np.allclose(small.nodes_nm * 256, large.nodes_nm)


def test_a_single_image_is_a_stack_of_depth_one() -> None:
    flat = [(line((0.5, 40, 8), (0.5, 40, 50)), 3.0), (line((0.5, 40, 50), (0.5, 12, 90)), 2.0)]
    found = trace(tubes((1, 80, 96), flat), CONFIG).skeleton
    precision, recall = agreement(found, np.concatenate([p for p, _ in flat]), 2.0)
    assert precision > 0.9
    assert recall > 0.95
    assert (found.nodes_nm[:, 0] == 0.5).all()


@pytest.mark.parametrize("thick", [0.01, 50.0])
def test_the_thickness_of_a_single_image_does_not_matter(thick) -> None:
    flat = [(line((0.5, 40, 8), (0.5, 40, 50)), 3.0), (line((0.5, 40, 50), (0.5, 12, 90)), 2.0)]
    grey = tubes((1, 80, 96), flat).numpy()
    soma = (0.5, 40, 10)
    plain, other = (
        trace(Volume(grey, (z, 1, 1), kind="image"), CONFIG, (soma[0] * z, *soma[1:])).skeleton for z in (1, thick)
    )
    assert np.array_equal(plain.parent, other.parent)
    assert np.allclose(plain.nodes_nm[:, 1:], other.nodes_nm[:, 1:])
    assert np.allclose(plain.radius_nm, other.radius_nm)


def test_dark_on_bright_is_seen_as_such() -> None:
    paths = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0)]
    found = trace(tubes((12, 56, 90), paths, dark=True), CONFIG).skeleton
    assert agreement(found, paths[0][0], 2.0)[1] > 0.95


def test_the_negative_of_an_image_has_the_same_tree() -> None:
    grey = tubes((40, 80, 96), BRANCHED).numpy()
    one, other = (trace(Volume(g, (1, 1, 1), kind="image"), CONFIG) for g in (grey, 255 - grey))
    assert np.array_equal(one.skeleton.parent, other.skeleton.parent)
    assert np.allclose(one.skeleton.nodes_nm, other.skeleton.nodes_nm)
    assert np.allclose(one.skeleton.radius_nm, other.skeleton.radius_nm, atol=0.02)


def test_faint_pieces_and_dust_are_left_out() -> None:
    sure = np.zeros((5, 30, 80), np.float32)
    sure[1:4, 4:7, 4:76], sure[1:4, 14:17, 4:76], sure[1:4, 24:27, 4:10] = 1, 0.4, 1
    volume = Volume(sure, (1, 1, 1), kind="image")

    def rows(**change: float) -> set[int]:
        config = CONFIG.model_copy(update={"source": "probability", "keep": "all", "gap": 0.0, "faint": 0.0, **change})
        return set((trace(volume, config).skeleton.nodes_nm[:, 1] // 10).astype(int).tolist())

    assert rows() == {0}
    assert rows(strong=0.4) == {0, 1}
    assert rows(min_piece=0.0) == {0, 2}


def test_a_gap_is_bridged_and_the_bridge_is_less_sure() -> None:
    pieces = [line((6, 24, 5), (6, 24, 40)), line((6, 24, 51), (6, 24, 88))]
    image = tubes((12, 48, 92), [(p, 2.0) for p in pieces])
    found = trace(image, CONFIG)
    assert found.bridges == 1
    assert agreement(found.skeleton, np.concatenate(pieces), 2.0)[1] > 0.97
    middle = np.abs(found.skeleton.nodes_nm[:, 2] - 45.5) < 7
    assert found.confidence[middle].min() < 0.7 * np.median(found.confidence[~middle])
    apart = trace(image, CONFIG.model_copy(update={"gap": 4.0}))
    assert apart.bridges == 0
    assert agreement(apart.skeleton, np.concatenate(pieces), 2.0)[1] < 0.6, "only the main piece"
    both = trace(image, CONFIG.model_copy(update={"gap": 4.0, "keep": "all"}))
    assert (both.skeleton.parent < 0).sum() == 2


def test_the_root_of_the_neuron_is_the_first_node_where_all_pieces_are_kept() -> None:
    paths = [(line((4, 8, 5), (4, 8, 50)), 2.0), *((np.add(p, (0, 10, 0)), r) for p, r in BRANCHED)]
    found = trace(tubes((40, 92, 96), paths), CONFIG.model_copy(update={"keep": "all", "gap": 0.0}))
    assert (found.skeleton.parent < 0).sum() == 2
    assert np.linalg.norm(found.skeleton.nodes_nm[0] - [20, 50, 10.5]) < 3
    assert found.skeleton.kind.nonzero()[0].tolist() == [0]
    assert found.skeleton.radius_nm.argmax() == 0


def test_the_longest_piece_is_the_neuron_unless_the_soma_is_given() -> None:
    long, short = line((6, 12, 5), (6, 12, 85)), line((6, 44, 20), (6, 44, 60))
    image = tubes((12, 56, 92), [(long, 1.5), (short, 2.5)], offset=(100, 200, 300))
    found = trace(image, CONFIG).skeleton
    assert np.abs(found.nodes_nm[:, 1] - 212).max() < 3, "in the volume's own place"
    assert (found.kind == 0).all(), "nothing stands out as a soma"
    other = trace(image, CONFIG, soma_nm=(106, 243, 340))
    assert other.soma_found
    assert np.abs(other.skeleton.nodes_nm[:, 1] - 244).max() < 3
    assert np.linalg.norm(other.skeleton.nodes_nm[0] - [106, 244, 340]) < 5
    with pytest.raises(InputError, match="from the nearest neurite"):
        trace(image, CONFIG, soma_nm=(106, 228, 520))


def test_a_soma_given_at_its_side_is_rooted_in_its_middle() -> None:
    found = trace(tubes((40, 80, 96), BRANCHED), CONFIG, soma_nm=(20, 44, 10))
    assert np.linalg.norm(found.skeleton.nodes_nm[0] - [20, 40, 10.5]) < 2


def test_thinning_follows_strong_evidence_and_holds_the_whole_stack() -> None:
    sure = np.zeros((5, 40, 80), np.float32)
    sure[1:4, 4:7, 4:76], sure[1:4, 7:36, 39:42] = 1, 0.4
    volume = Volume(sure, (1, 1, 1), kind="image", name="map")
    config = CONFIG.model_copy(update={"source": "probability", "tracer": "thinning", "faint": 0.0})
    assert trace(volume, config).skeleton.nodes_nm[:, 1].max() < 8
    reached = trace(volume, config.model_copy(update={"strong": 0.4})).skeleton.nodes_nm[:, 1].max()
    assert reached > 30
    few = config.model_copy(update={"memory_gb": 64 * 950 / 2**30})
    with pytest.raises(InputError, match="for the thinning tracer"):
        trace(volume, few)


def test_crossing_neurites_are_both_traced() -> None:
    cross = [line((6, 10, 10), (6, 70, 80)), line((6, 70, 10), (6, 10, 80))]
    found = trace(tubes((12, 80, 90), [(p, 1.8) for p in cross]), CONFIG).skeleton
    precision, recall = agreement(found, np.concatenate(cross), 2.0)
    assert precision > 0.95
    assert recall > 0.97
    assert (np.bincount(found.parent[found.parent >= 0]) >= 2).any()


def test_noise_alone_grows_no_branches() -> None:
    path = line((10, 30, 6), (10, 30, 84))
    found = trace(tubes((20, 60, 90), [(path, 2.0)], noise=12.0), CONFIG).skeleton
    precision, recall = agreement(found, path, 2.5)
    assert precision > 0.9
    assert recall > 0.95


def test_the_answer_depends_neither_on_tiles_nor_on_threads() -> None:
    image = tubes((40, 80, 96), BRANCHED)
    one = trace(image, CONFIG)
    for change in ({"tile": 32}, {"tile": 48, "workers": 3}):
        other = trace(image, CONFIG.model_copy(update=change))
        assert np.array_equal(one.skeleton.parent, other.skeleton.parent)
        assert np.allclose(one.skeleton.nodes_nm, other.skeleton.nodes_nm)
        assert np.allclose(one.confidence, other.confidence)


def test_a_probability_map_is_its_own_evidence() -> None:
    paths = [(line((6, 30, 6), (6, 20, 60), (6, 40, 84)), 2.0)]
    mask = tubes((12, 56, 90), paths, noise=0.0).numpy() > 70
    wanted = CONFIG.model_copy(update={"source": "probability"})
    trees = [
        trace(Volume(values, (1, 1, 1), kind=kind), wanted).skeleton
        for values, kind in (
            (mask, "mask"),
            (mask.astype(np.float32), "image"),
            (mask.astype(np.uint8) * np.uint8(255), "image"),
        )
    ]
    assert agreement(trees[0], paths[0][0], 2.0)[1] > 0.95
    for tree in trees[1:]:
        assert np.array_equal(tree.nodes_nm, trees[0].nodes_nm)
    with pytest.raises(InputError, match="from 0 to 7"):
        trace(Volume(mask.astype(np.float32) * 7, (1, 1, 1), kind="image"), wanted)


def _volume(values: np.ndarray) -> Volume:
    return Volume(values, (1, 1, 1), kind="image", name="it")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 8, 8), np.uint8), "at least one voxel"),
        (np.full((4, 8, 8), 7, np.uint8), "all voxels are 7"),
        (np.where(np.arange(512).reshape(8, 8, 8) == 77, np.nan, 1.0).astype(np.float32), "1 values are NaN"),
        (np.where(np.arange(512).reshape(8, 8, 8) == 77, np.inf, 1.0).astype(np.float32), "1 values are NaN"),
    ],
    ids=["empty", "constant", "nan", "infinite"],
)
def test_what_cannot_be_traced_is_refused(values, message) -> None:
    with pytest.raises(InputError, match=message):
        trace(_volume(values), CONFIG)


def test_more_neurite_than_memory_is_refused() -> None:
    tight = CONFIG.model_copy(update={"memory_gb": 1e-5})
    with pytest.raises(InputError, match="memory_gb"):
        trace(tubes((12, 56, 90), [(line((6, 30, 6), (6, 20, 60)), 2.0)]), tight)


def test_channels_are_refused() -> None:
    image = Volume(np.zeros((2, 4, 8, 8), np.uint8), (1, 1, 1), axes="czyx", kind="image")
    with pytest.raises(InputError, match="one channel"):
        trace(image, CONFIG)
