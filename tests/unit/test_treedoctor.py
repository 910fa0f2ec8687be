"""The doctor of trees finds what was done to a tree that lay on its image, and undoes it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from neuropil import api
from neuropil.errors import GeometryError, InputError, VolumeError
from neuropil.io.swc import read_swc, write_swc
from neuropil.skeleton import Skeleton
from neuropil.treedoctor import examine_tree, image, shifts
from neuropil.volume import Volume

NM = (400.0, 160.0, 170.0)
SHAPE = (40, 90, 110)


@pytest.fixture(scope="module")
def neuron() -> Skeleton:
    """A crooked tree well inside the volume, alike in no two directions."""
    rng = np.random.default_rng(3)
    nodes, parent, way = [np.array([25.0, 30, 35])], [-1], [np.array([0.2, 1, 1.0])]
    for i in range(1, 260):
        branch = int(rng.integers(0, i)) if rng.random() < 0.06 else i - 1
        step = way[branch] + rng.normal(0, 0.35, 3) * (0.4, 1, 1)
        step /= np.linalg.norm(step)
        place = nodes[branch] + 0.9 * step
        low, high = np.array([6, 8, 8]), np.array(SHAPE) - (4, 8, 20)
        step = np.where((place < low) | (place > high), -step, step)
        nodes.append(nodes[branch] + 0.9 * step)
        parent.append(branch)
        way.append(step)
    return Skeleton((np.array(nodes) + 0.5) * NM, np.full(260, 200.0), np.array(parent), np.full(260, 3))


@pytest.fixture(scope="module", params=["bright", "dark"])
def picture(request, neuron) -> Volume:
    """Fluorescence, or stain in bright field, with haze, noise and hot pixels."""
    rng = np.random.default_rng(0)
    lit = np.zeros(SHAPE)
    at = np.floor(neuron.resampled(80).nodes_nm / NM).astype(int)
    lit[tuple(at.T)] = 1
    lit = ndimage.gaussian_filter(lit, (0.7, 1, 1))
    lit = 120 * lit / lit.max() + 20 + 15 * np.sin(np.arange(SHAPE[2]) / 30)
    data = rng.poisson(lit) + rng.normal(0, 3, SHAPE)
    data[tuple(rng.integers(0, n, 40) for n in SHAPE)] = 255
    data = np.clip(data, 0, 255).astype(np.uint8)
    return Volume(data if request.param == "bright" else 255 - data, NM, name=request.param)


def voxels_of(tree: Skeleton) -> np.ndarray:
    return tree.nodes_nm / NM - 0.5


def written(tmp_path, numbers_zyx, head="# unit: voxel"):
    rows = [f"{i + 1} 3 {x:.4f} {y:.4f} {z:.4f} 1 {i if i else -1}" for i, (z, y, x) in enumerate(numbers_zyx)]
    (tmp_path / "a.swc").write_text("\n".join([head, *rows]) + "\n")
    return tmp_path / "a.swc"


def examined(tmp_path, picture, numbers_zyx, head="# unit: voxel", **how):
    how = {"units": None, "voxel_size": None, "out": tmp_path / "fixed.swc", **how}
    return examine_tree(written(tmp_path, numbers_zyx, head), picture, **how)


def put_right(tmp_path, neuron) -> float:
    """Largest distance in nm, along any axis in units of its voxels, of the fixed tree from the true one."""
    return float(np.abs((read_swc(tmp_path / "fixed.swc").nodes_nm - neuron.nodes_nm) / NM).max())


def test_a_tree_that_fits_needs_nothing(tmp_path, picture, neuron) -> None:
    found = examined(tmp_path, picture, voxels_of(neuron))
    assert found["verdict"] == "the tree lies on the image"
    assert found["fix"] == "none needed"
    assert found["neurites_are"] == picture.name
    assert found["score"] > 0.7
    assert put_right(tmp_path, neuron) < 0.01


@pytest.mark.parametrize("shift", [(-1, -1, -1), (0, -1, -1), (0, 2, 0), (1, 1, 1)])
def test_near_shifts(tmp_path, picture, neuron, shift) -> None:
    found = examined(tmp_path, picture, voxels_of(neuron) - shift)
    assert "shifted by {:+d}, {:+d}, {:+d} voxels".format(*shift) in found["best"]
    assert "beside" in found["verdict"]
    assert put_right(tmp_path, neuron) < 0.01


@pytest.mark.parametrize("axes", [(1,), (0,), (2,), (0, 1), (0, 1, 2)])
def test_mirrored_axes(tmp_path, picture, neuron, axes) -> None:
    numbers = voxels_of(neuron)
    for axis in axes:
        numbers[:, axis] = SHAPE[axis] - 1 - numbers[:, axis]
    found = examined(tmp_path, picture, numbers)
    assert all(f"{'zyx'[a]} mirrored" in found["best"] for a in axes)
    assert "does not lie" in found["verdict"]
    assert put_right(tmp_path, neuron) < 0.01


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_exchanged_columns(tmp_path, picture, neuron, order) -> None:
    found = examined(tmp_path, picture, voxels_of(neuron)[:, order])
    assert "columns in the order" in found["best"]
    assert put_right(tmp_path, neuron) < 0.01


@pytest.mark.parametrize("head", ["# unit: voxel", "# unit: um", "# unit: nm", "# no word"])
@pytest.mark.parametrize("true", ["voxel", "um", "nm"])
def test_wrong_and_missing_units(tmp_path, picture, neuron, head, true) -> None:
    numbers = {"voxel": voxels_of(neuron), "um": neuron.nodes_nm / 1e3, "nm": neuron.nodes_nm}[true]
    found = examined(tmp_path, picture, numbers, head)
    assert found["best"].startswith(f"unit {true}")
    assert found["best_score"] > 0.7
    assert put_right(tmp_path, neuron) < 0.01
    if true in head:
        assert found["fix"] == "none needed"


def test_units_that_are_asked_for(tmp_path, picture, neuron) -> None:
    found = examined(tmp_path, picture, neuron.nodes_nm / 1e3, "# no word", units="um")
    assert found["verdict"] == "the tree lies on the image"


def test_the_whole_muddle_at_once(tmp_path, picture, neuron) -> None:
    numbers = voxels_of(neuron) + np.array([0, 1, 1])
    numbers[:, 1] = SHAPE[1] - 1 - numbers[:, 1]
    found = examined(tmp_path, picture, numbers[:, [0, 2, 1]], "# unit: um")
    assert found["best"].startswith("unit voxel, columns in the order")
    assert put_right(tmp_path, neuron) < 0.01


@pytest.mark.parametrize("shift", [(0, 3, -3), (2, 4, 1), (0, 5, 5), (-6, 8, 8), (0, 17, -31), (5, -60, 0)])
def test_farther_shifts(tmp_path, picture, neuron, shift) -> None:
    found = examined(tmp_path, picture, voxels_of(neuron) - shift)
    assert put_right(tmp_path, neuron) < 0.01
    assert "mirrored" not in found["best"]


def test_a_mirrored_tree_that_was_moved_too(tmp_path, picture, neuron) -> None:
    numbers = voxels_of(neuron) - (0, 6, 9)
    numbers[:, 2] = SHAPE[2] - 1 - numbers[:, 2]
    found = examined(tmp_path, picture, numbers)
    assert found["best"] == "unit voxel, x mirrored, shifted by +0, +6, +9 voxels (z, y, x)"
    assert put_right(tmp_path, neuron) < 0.01


def test_shifts_on_a_projection_leave_z_alone(tmp_path, picture, neuron) -> None:
    sides = picture.numpy()
    flat = sides.max(axis=0) if picture.name == "bright" else sides.min(axis=0)
    shown = Volume(flat[None], NM, name=picture.name)
    found = examined(tmp_path, shown, voxels_of(neuron) - (0, 7, -8))
    assert found["best"] == "unit voxel, shifted by +0, +7, -8 voxels (z, y, x)"


def test_a_reduced_image_tells_the_shift_to_a_voxel(tmp_path, picture, neuron, monkeypatch) -> None:
    monkeypatch.setattr(shifts, "_REDUCED", 50_000)
    examined(tmp_path, picture, voxels_of(neuron) - (3, 11, -13))
    assert put_right(tmp_path, neuron) < 0.01


def test_stated_origins_are_kept(tmp_path, neuron) -> None:
    data = np.full(SHAPE, 10, np.uint8)
    data[tuple(np.floor(neuron.resampled(80).nodes_nm / NM).astype(int).T)] = 200
    offset = np.array(NM) * (100, 200, -300)
    picture = Volume(data, NM, offset)
    moved = Skeleton(neuron.nodes_nm + offset, neuron.radius_nm, neuron.parent, neuron.kind)
    write_swc(moved, tmp_path / "b.swc", units="voxel", voxel_size=NM, origin_nm=offset)
    found = examine_tree(tmp_path / "b.swc", picture, units=None, voxel_size=None, out=None)
    assert found["fix"] == "none needed"


def test_a_strange_tree_fits_nowhere_and_stays_as_it_is(tmp_path, picture, neuron) -> None:
    rng = np.random.default_rng(9)
    numbers = np.cumsum(rng.normal(0, 1.2, (300, 3)), axis=0) * 0.4 + (20, 60, 80)
    found = examined(tmp_path, picture, numbers)
    assert "nowhere" in found["verdict"]
    np.testing.assert_allclose(voxels_of(read_swc(tmp_path / "fixed.swc")), numbers, atol=1e-3)


def test_a_projection_takes_all_depths(tmp_path, picture, neuron) -> None:
    sides = picture.numpy()
    flat = sides.max(axis=0) if picture.name == "bright" else sides.min(axis=0)
    shown = Volume(flat[None], NM, name=picture.name)
    assert examined(tmp_path, shown, voxels_of(neuron))["verdict"] == "the tree lies on the image"
    numbers = voxels_of(neuron)
    numbers[:, 1] = SHAPE[1] - 1 - numbers[:, 1]
    (tmp_path / "fixed.swc").unlink()
    found = examined(tmp_path, shown, numbers)
    assert found["best"] == "unit voxel, y mirrored"


def test_large_images_are_read_where_the_nodes_are(tmp_path, picture, neuron, monkeypatch) -> None:
    read = []

    class Watched:
        shape, dtype = picture.shape, picture.dtype

        def __getitem__(self, key):
            read.append(np.prod([k.stop - k.start for k in key]))
            return picture.array[key]

    monkeypatch.setattr(image, "_HELD", 1000)
    monkeypatch.setattr(image, "_BLOCK", (16, 16, 16))
    found = examined(tmp_path, Volume(Watched(), NM, kind="image", name=picture.name), voxels_of(neuron) - (0, 1, 1))
    assert "shifted by +0, +1, +1" in found["best"]
    assert max(read) <= 16**3


def test_without_an_image_the_file_is_examined_and_cleaned(tmp_path) -> None:
    (tmp_path / "a.swc").write_text("7 3 1 0 0 1 4\n4 1 0 0 0 -2 -1\n")
    how = {"voxel_size": None, "out": tmp_path / "fixed.swc"}
    found = examine_tree(tmp_path / "a.swc", None, units="um", **how)
    assert any("negative radius" in c for c in found["changed"])
    assert any("children before" in c for c in found["odd"])
    assert "# unit: um" in (tmp_path / "fixed.swc").read_text()
    assert read_swc(tmp_path / "fixed.swc").parent.tolist() == [-1, 0]
    with pytest.raises(VolumeError, match="already"):
        examine_tree(tmp_path / "a.swc", None, units="um", **how)
    with pytest.raises(InputError, match="unit"):
        examine_tree(tmp_path / "a.swc", None, units=None, voxel_size=None, out=tmp_path / "other.swc")
    assert examine_tree(tmp_path / "a.swc", None, units=None, voxel_size=None, out=None)["changed"] == found["changed"]


def test_what_cannot_be_examined(tmp_path, picture, neuron) -> None:
    channels = Volume(np.zeros((2, 4, 5, 6), np.uint8), NM, axes="czyx")
    with pytest.raises(InputError, match="one channel"):
        examined(tmp_path, channels, voxels_of(neuron))
    with pytest.raises(InputError, match="inch"):
        examined(tmp_path, picture, voxels_of(neuron), units="inch")
    blank = Volume(np.zeros(SHAPE, np.uint8), NM)
    assert "nowhere" in examined(tmp_path, blank, voxels_of(neuron))["verdict"]


def test_voxels_of_unknown_size(tmp_path, picture, neuron) -> None:
    tifffile.imwrite(tmp_path / "bare.tif", picture.numpy(), photometric="minisblack")
    tree = written(tmp_path, np.add(voxels_of(neuron), (0, 0, 5)))
    with pytest.raises(GeometryError, match="--units voxel"):
        api.doctor(tree, image=tmp_path / "bare.tif")
    found = api.doctor(tree, image=tmp_path / "bare.tif", units="voxel", out=tmp_path / "right.swc")
    assert found["voxel_size"].startswith("unknown")
    assert "shift" in found["best"]
    right = read_swc(tmp_path / "right.swc", voxel_size=NM)
    assert np.abs(right.nodes_nm - neuron.nodes_nm).max() <= 1.01 * max(NM)
    assert "voxel_size_nm" not in (tmp_path / "right.swc").read_text()
