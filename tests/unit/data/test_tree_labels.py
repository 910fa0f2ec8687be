"""Classes drawn from trees: against distances, by box, through flips and zooms; and masks in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuropil.config import AugmentConfig, Config
from neuropil.data.sampling import Sampler, prepare
from neuropil.data.tree_labels import BESIDE, INSIDE, MIDDLE, SHELL, TreeVoxels, classes, tree_labels
from neuropil.errors import InputError
from neuropil.geometry import Box
from neuropil.io.swc import write_swc
from neuropil.skeleton import Skeleton
from neuropil.volume import Volume

NM = (400.0, 200.0, 200.0)
SHAPE = (12, 40, 44)
TREE = Skeleton(
    np.array([[800.0, 1000, 1200], [2500, 4100, 4300], [3900, 6900, 7700], [3000, 7000, 1500]]),
    np.array([500.0, 350, 250, 300]),
    np.array([-1, 0, 1, 1]),
    np.array([0, 3, 3, 3]),
)
CONFIG = Config(task="trees")


def image(shape: tuple[int, ...] = SHAPE, offset: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Volume:
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    return Volume(values, NM, offset, kind="image", name="stack")


@pytest.fixture
def swc(tmp_path: Path) -> Path:
    write_swc(TREE, tmp_path / "tree.swc", units="um")
    return tmp_path / "tree.swc"


def depths() -> np.ndarray:
    """How deep (nm; negative outside) the centre of each voxel lies in the nearest edge, by trying them all."""
    centres = (np.moveaxis(np.indices(SHAPE), 0, -1) + 0.5) * NM
    best = np.full(SHAPE, -np.inf)
    for child, parent in TREE.edges:
        a, b = TREE.nodes_nm[parent], TREE.nodes_nm[child]
        t = np.clip((centres - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        radius = np.maximum(TREE.radius_nm[parent] * (1 - t) + TREE.radius_nm[child] * t, 0.75 * 200)
        best = np.maximum(best, radius - np.linalg.norm(centres - a - t[..., None] * (b - a), axis=-1))
    return best


def test_the_classes_are_those_of_the_distances(swc: Path) -> None:
    found = tree_labels(swc, image(), None, CONFIG).numpy()
    deep = depths()
    unclear = (np.abs(deep) < 1e-6) | (np.abs(deep + 300) < 1e-6)
    assert np.array_equal(np.isin(found, (INSIDE, MIDDLE))[~unclear], (deep >= 0)[~unclear])
    assert np.array_equal(
        (found == SHELL)[~unclear & (found != BESIDE)], ((deep < 0) & (deep >= -300))[~unclear & (found != BESIDE)]
    )
    for place in TREE.resampled(50.0).nodes_nm:
        assert found[tuple((place // NM).astype(int))] in (MIDDLE, BESIDE)


def test_any_box_equals_that_part_of_the_whole(swc: Path) -> None:
    volume = tree_labels(swc, image(), None, CONFIG)
    whole, part = volume.numpy(), Box((3, 7, 11), (9, 31, 40), NM)
    assert np.array_equal(volume.read(part), whole[part.slices((0, 0, 0))])
    assert (volume.kind, volume.name, volume.shape) == ("labels", str(swc), SHAPE)


def test_pieces_that_bound_memory_fit_together(monkeypatch: pytest.MonkeyPatch, swc: Path) -> None:
    whole = tree_labels(swc, image(), None, CONFIG).numpy()
    monkeypatch.setattr("neuropil.data.tree_labels._PIECE", (5, 16, 9))
    assert np.array_equal(tree_labels(swc, image(), None, CONFIG).numpy(), whole)


def test_what_is_taught_follows_flips_and_exchanged_axes(swc: Path) -> None:
    """The targets of the whole, flipped, are those that a sampler makes of a flipped crop."""
    raw = image()
    labels = tree_labels(swc, raw, None, CONFIG)
    teach = TreeVoxels()
    whole = teach(labels.numpy().astype(np.uint32), np.ones(SHAPE, bool))
    augment = AugmentConfig().still().model_copy(update={"flip": True})
    data = CONFIG.data.model_copy(update={"augment": augment, "normalise": "uint8"})
    sampler = Sampler(prepare([(raw, labels)], data), SHAPE, teach, data, 0)
    turned = 0
    for index in range(6):
        sample = sampler(index)
        flips = [
            f for f in np.ndindex(2, 2, 2)
            if np.allclose(sample["image"][0], np.flip(raw.numpy() / 255, [a for a in range(3) if f[a]]), atol=1e-6)
        ]  # fmt: skip
        assert len(flips) == 1
        axes = [1 + a for a in range(3) if flips[0][a]]
        turned += bool(axes)
        for name in ("targets", "valid"):
            assert np.array_equal(sample[name], np.flip(whole[name], axes))
    assert turned


def test_what_is_known_of_each_class() -> None:
    labels = np.array([0, INSIDE, MIDDLE, SHELL, BESIDE, INSIDE], np.uint32)[None, None]
    taught = TreeVoxels()(labels, np.array([1, 1, 1, 1, 1, 0], bool)[None, None])
    foreground, centreline = taught["targets"][:, 0, 0]
    known, line_known = taught["valid"][:, 0, 0]
    assert known.tolist() == [1, 1, 1, 0, 0, 0]
    assert line_known.tolist() == [1, 1, 1, 0, 1, 0]
    assert foreground[:3].tolist() == [0, 1, 1]
    assert centreline[line_known > 0].tolist() == [0, 0, 1, 1]


def test_voxels_count_from_the_first_voxel_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "v.swc").write_text("1 0 10 20 5 1 -1\n2 0 30 20 5 1 1\n")
    config = Config.model_validate({"task": "trees", "trees": {"units": "voxel"}})
    here = tree_labels(tmp_path / "v.swc", image(), None, config).numpy()
    there = tree_labels(tmp_path / "v.swc", image(offset=(4000.0, 400.0, 600.0)), None, config).numpy()
    assert np.array_equal(here, there)
    assert (here[5, 20, 10:31] == MIDDLE).all()


def test_a_folder_is_all_its_trees(tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 2000.0)):
        moved = Skeleton(TREE.nodes_nm + np.array([0, 0, shift]), TREE.radius_nm, TREE.parent, TREE.kind)
        write_swc(moved, tmp_path / f"{name}.swc", units="um")
    one, other, both = (
        tree_labels(path, image(), None, CONFIG).numpy() for path in (tmp_path / "a.swc", tmp_path / "b.swc", tmp_path)
    )
    inside = [np.isin(a, (INSIDE, MIDDLE)) for a in (one, other, both)]
    assert np.array_equal(inside[0] | inside[1], inside[2])


def test_a_mask_is_foreground_with_a_thinned_centreline() -> None:
    mask = np.zeros((9, 30, 40), np.uint8)
    mask[3:6, 12:17, 5:35] = 1
    found = tree_labels(Volume(mask, NM, kind="mask"), image((9, 30, 40)), None, CONFIG).numpy()
    assert np.array_equal(np.isin(found, (INSIDE, MIDDLE)), mask > 0)
    assert (found[4, 14, 10:30] == MIDDLE).all()
    assert not (found[:, 12] == MIDDLE).any()


def test_a_tree_beside_its_image_is_refused(tmp_path: Path) -> None:
    far = Skeleton(TREE.nodes_nm * 1000, TREE.radius_nm, TREE.parent, TREE.kind)
    write_swc(far, tmp_path / "far.swc", units="um")
    far_corner = Skeleton(far.nodes_nm + 1e6, far.radius_nm, far.parent, far.kind)
    write_swc(far_corner, tmp_path / "far.swc", units="um")
    with pytest.raises(InputError, match="no node inside 'stack'"):
        tree_labels(tmp_path / "far.swc", image(), None, CONFIG)


def test_a_file_without_a_unit_needs_one(tmp_path: Path) -> None:
    (tmp_path / "u.swc").write_text("1 0 1 2 1 1 -1\n2 0 3 2 1 1 1\n")
    with pytest.raises(InputError, match="does not state the unit") as caught:
        tree_labels(tmp_path / "u.swc", image(), None, CONFIG)
    # training has no --units
    assert "--set trees.units=voxel" in caught.value.fix
    assert "--units" not in caught.value.fix


def test_what_a_file_states_counts_and_what_was_repaired_is_told(
    tmp_path: Path, swc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.model_validate({"task": "trees", "trees": {"units": "voxel"}})
    stated = tree_labels(swc, image(), None, CONFIG).numpy()
    assert capsys.readouterr().err == ""
    assert np.array_equal(tree_labels(swc, image(), None, config).numpy(), stated)
    assert "states the unit um" in capsys.readouterr().err
    swc.write_text(swc.read_text().rstrip()[:-1] + "77\n")
    tree_labels(swc, image(), None, CONFIG)
    assert "a parent that is not in the file" in capsys.readouterr().err


@pytest.mark.parametrize("z", [0.0, 5200.0, -5e4])
def test_a_projection_shows_the_nodes_of_all_depths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], z: float
) -> None:
    flat = image((1, *SHAPE[1:]), offset=(z, 0.0, 0.0))
    write_swc(TREE, tmp_path / "deep.swc", units="um")
    found = tree_labels(tmp_path / "deep.swc", flat, None, CONFIG)
    told = capsys.readouterr().err
    assert told.count("note: ") == 1
    assert "'stack' has one section and counts as a projection" in told
    write_swc(TREE.projected(z + 200.0), tmp_path / "flat.swc", units="um")
    same = tree_labels(tmp_path / "flat.swc", flat, None, CONFIG)
    assert capsys.readouterr().err == ""
    assert np.array_equal(found.numpy(), same.numpy())
    assert np.array_equal(found.attrs["centres"], same.attrs["centres"])
    for _, y, x in (TREE.resampled(50.0).nodes_nm // NM).astype(int):
        assert found.numpy()[0, y, x] in (MIDDLE, BESIDE)


def test_a_section_cut_out_of_a_stack_shows_only_its_own_nodes(swc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tree_labels(swc, image(), None, CONFIG).numpy()
    part = image().crop(Box((7, 0, 0), (8, *SHAPE[1:]), NM))
    assert np.array_equal(tree_labels(swc, part, None, CONFIG).numpy(), whole[7:8])
    assert capsys.readouterr().err == ""


def test_crops_are_centred_on_the_cable(swc: Path) -> None:
    raw, crop = image(), (4, 8, 8)
    labels = tree_labels(swc, raw, None, CONFIG)
    augment = AugmentConfig().still()
    line = np.isin(labels.numpy(), (MIDDLE, BESIDE))

    def share(centred: float) -> float:
        data = CONFIG.data.model_copy(
            update={"augment": augment, "normalise": "uint8", "centred": centred, "anywhere": 1.0}
        )
        sampler = Sampler(prepare([(raw, labels)], data), crop, TreeVoxels(), data, 0)
        return float(np.mean([(sampler(i)["targets"][1] > 0).any() for i in range(80)]))

    assert share(1.0) == 1.0
    assert share(0.0) < 0.6
    assert line.any()


def test_without_trees_crops_are_centred_on_any_label() -> None:
    ids = np.zeros((16, 64, 64), np.uint64)
    ids[8, 32, 32] = 7
    pair = (image(ids.shape), Volume(ids, NM, kind="labels"))
    data = CONFIG.data.model_copy(update={"augment": AugmentConfig().still(), "normalise": "uint8", "centred": 1.0})
    sampler = Sampler(prepare([pair], data), (4, 8, 8), TreeVoxels(), data, 0)
    assert all(sampler(i)["targets"].any() or (sampler(i)["valid"] == 0).any() for i in range(20))


def test_classes_of_no_trees_are_background() -> None:
    assert not classes([], Box((0, 0, 0), (2, 3, 4), NM), CONFIG.trees.targets).any()
