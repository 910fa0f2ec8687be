"""Skeletons and meshes beside labels: decoded as the format says, the same whatever the blocks, workers and shards."""

from __future__ import annotations

import hashlib
import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr

from neuropil import api, open_volume
from neuropil.errors import ConfigError, IncompleteError, InputError, NeuropilError, VolumeError
from neuropil.infer.ledger import write_whole
from neuropil.io import save_volume
from neuropil.io.swc import read_swc
from neuropil.jobs import objects
from neuropil.volume import Volume

NM, OFFSET = (16.0, 8.0, 8.0), (32.0, 80.0, -24.0)
SHAPE = (24, 40, 150)
SETTINGS = ("segment.threshold=0.5", "segment.fragments.radius_nm=24", "objects.cell=40", "objects.min_voxels=200")
BOTH = {"skeletons": True, "meshes": True}
TUBE, BALL = 1, 2


def truth() -> np.ndarray:
    """A wavy tube along x (it comes first), a ball, and a speck."""
    z, y, x = np.indices(SHAPE)
    zn, yn, xn = (16 * (z + 0.5), 8 * (y + 0.5), 8 * (x + 0.5))
    labels = np.zeros(SHAPE, np.uint64)
    labels[np.hypot(zn - 120 - 40 * np.sin(xn / 150), yn - 80) < 45] = TUBE
    labels[(zn - 200) ** 2 + (yn - 220) ** 2 + (xn - 600) ** 2 < 85**2] = BALL
    labels[:, :, :6], labels[:, :, -6:] = 0, 0
    labels[20:22, 36:38, 10:12] = 3
    return labels


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Affinities of the truth."""
    labels = truth()
    steps = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
    data = np.zeros((3, *SHAPE), np.uint8)
    for channel, axis in enumerate(range(3)):
        same = (labels == np.roll(labels, 1, axis)) & (labels > 0)
        np.moveaxis(same, axis, 0)[0] = False
        data[channel] = 255 * same
    path = tmp_path_factory.mktemp("objects") / "aff.zarr"
    save_volume(Volume(data, NM, OFFSET, "czyx", "affinities", attrs={"offsets": [list(s) for s in steps]}), path)
    return path


@pytest.fixture(scope="session")
def blocks(exact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in blocks, with all there is."""
    out = tmp_path_factory.mktemp("objects") / "x.zarr"
    api.segment(exact, out=out, set=SETTINGS, block=(24, 40, 50), **BOTH)
    return out


def made(out: Path) -> dict[str, str]:
    """Digests of all files of objects."""
    files = [p for folder in ("skeletons", "swc", "meshes") for p in (out / folder).rglob("*") if p.is_file()]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def skeleton(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes x, y, z, edges, radii, by the words of the format."""
    content = path.read_bytes()
    nodes, edges = struct.unpack_from("<II", content)
    assert len(content) == 8 + 12 * nodes + 8 * edges + 4 * nodes
    place = np.frombuffer(content, "<f4", 3 * nodes, 8).reshape(-1, 3)
    pairs = np.frombuffer(content, "<u4", 2 * edges, 8 + 12 * nodes).reshape(-1, 2)
    return place, pairs, np.frombuffer(content, "<f4", nodes, 8 + 12 * nodes + 8 * edges)


def mesh(folder: Path, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices x, y, z and triangles of all parts, by the words of the format."""
    (part,) = json.loads((folder / f"{label}:0").read_text())["fragments"]
    content = (folder / part).read_bytes()
    (count,) = struct.unpack_from("<I", content)
    return (
        np.frombuffer(content, "<f4", 3 * count, 4).reshape(-1, 3),
        np.frombuffer(content, "<u4", -1, 4 + 12 * count).reshape(-1, 3),
    )


def test_the_labels_are_the_truth(blocks: Path) -> None:
    found = open_volume(blocks)
    np.testing.assert_array_equal(found.numpy(), truth())
    assert {"skeletons", "swc", "meshes"} <= {p.name for p in blocks.iterdir()}
    assert found.attrs["timings"]["meshes"]["voxels"] == np.prod(SHAPE)


def test_another_reader_of_zarr_finds_its_way(blocks: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(blocks, mode="r")
        assert {"s0", "skeletons", "swc", "meshes"} <= {name for name, _ in group.members()}
    np.testing.assert_array_equal(group["s0"][:], truth())


def test_a_tube_through_many_cells_is_one_skeleton_of_its_length(blocks: Path) -> None:
    assert json.loads((blocks / "skeletons/info").read_text())["@type"] == "neuroglancer_skeletons"
    nodes, edges, radii = skeleton(blocks / f"skeletons/{TUBE}")
    degree = np.bincount(edges.ravel(), minlength=len(nodes))
    assert len(edges) == len(nodes) - 1
    assert (degree == 1).sum() == 2
    assert degree.max() == 2
    xn = np.arange(52, 1148.0)
    line = np.stack([xn - 24, np.full_like(xn, 160), 152 + 40 * np.sin(xn / 150)], 1)
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    assert np.linalg.norm(nodes[edges[:, 0]] - nodes[edges[:, 1]], axis=1).sum() == pytest.approx(length, rel=0.1)
    inner = (nodes[:, 0] > 100) & (nodes[:, 0] < 1000)
    assert np.linalg.norm(nodes[inner, None] - line[None], axis=2).min(1).max() < 25
    assert np.median(radii) == pytest.approx(45, abs=12)
    same = read_swc(blocks / f"swc/{TUBE}.swc")
    found = same.nodes_nm[np.argsort(same.nodes_nm[:, 2]), ::-1]
    np.testing.assert_allclose(found, nodes[np.argsort(nodes[:, 0])], atol=0.01)


def test_a_ball_is_a_closed_mesh(blocks: Path) -> None:
    assert json.loads((blocks / "meshes/info").read_text())["@type"] == "neuroglancer_legacy_mesh"
    for label in (TUBE, BALL):
        vertices, faces = mesh(blocks / "meshes", label)
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        single, uses = np.unique(edges, axis=0, return_counts=True)
        assert (uses == 2).all()
        assert len(np.unique(faces)) == len(vertices)
        assert len(vertices) - len(single) + len(faces) == 2
    np.testing.assert_allclose((vertices.max(0) + vertices.min(0)) / 2, (576, 300, 232), atol=8)
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    inside = np.einsum("ij,ij->", a - vertices[0], np.cross(b - vertices[0], c - vertices[0])) / 6
    assert inside == pytest.approx(4 / 3 * np.pi * 85**3, rel=0.08)


def test_small_objects_get_neither(exact: Path, blocks: Path, tmp_path: Path) -> None:
    assert {p.name for p in (blocks / "skeletons").iterdir()} == {"info", "1", "2", "zarr.json"}
    assert {p.name for p in (blocks / "meshes").iterdir()} == {"info", "1:0", "1.mesh", "2:0", "2.mesh", "zarr.json"}
    words = [*SETTINGS, "objects.min_voxels=1"]
    api.segment(exact, out=tmp_path / "x.zarr", set=words, block=(24, 40, 75), skeletons=True)
    assert {p.name for p in (tmp_path / "x.zarr/swc").iterdir()} == {"1.swc", "2.swc", "3.swc", "zarr.json"}
    assert not (tmp_path / "x.zarr/meshes").exists()


def test_what_the_killed_had_begun_to_write_does_not_stay(
    exact: Path, blocks: Path, tmp_path: Path, monkeypatch
) -> None:
    def leaving_remains(path: Path, content: bytes, *, sync: bool = True) -> None:
        write_whole(path, content, sync=sync)
        path.with_name(f".{path.name}.4321.partial").write_bytes(content[:5])

    monkeypatch.setattr(objects, "write_whole", leaving_remains)
    api.segment(exact, out=tmp_path / "x.zarr", set=SETTINGS, block=(24, 40, 50), **BOTH)
    assert made(tmp_path / "x.zarr") == made(blocks)


@pytest.mark.parametrize(("block", "workers"), [((11, 40, 64), 1), ((24, 40, 80), 2)])
def test_neither_blocks_nor_workers_show(exact: Path, blocks: Path, tmp_path: Path, block, workers: int) -> None:
    out = tmp_path / "y.zarr"
    api.segment(exact, out=out, set=SETTINGS, block=block, workers=workers, **BOTH)
    assert made(out) == made(blocks)
    assert len(made(out)) == 3 + 2 + 2 * 2 + 2 * 2


def test_the_whole_gives_the_same_as_blocks(exact: Path, blocks: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "y.zarr", tmp_path / "y.zarr"):
        found = api.segment(exact, out=out, set=SETTINGS, overwrite=True, **BOTH)
        assert not out.with_suffix(".blocks").exists()
        assert made(out) == made(blocks)
        assert {"segment", "skeletons", "meshes"} <= set(found.attrs["timings"])
        assert [p.name for p in tmp_path.iterdir()] == ["y.zarr"]


def test_shards_share_the_cells(exact: Path, blocks: Path, tmp_path: Path) -> None:
    out, rng, left = tmp_path / "y.zarr", np.random.default_rng(0), "other shards"
    while "other shards" in left and not out.exists():
        try:
            left = str(
                api.segment(exact, out=out, set=SETTINGS, block=(24, 40, 50), shard=f"{rng.integers(3)}/3", **BOTH)
            )
        except IncompleteError as error:
            left = str(error)
    assert made(out) == made(blocks)


def test_a_graph_is_cut_again_with_objects(exact: Path, blocks: Path, tmp_path: Path) -> None:
    plain, again = tmp_path / "x.zarr", tmp_path / "y.zarr"
    api.segment(exact, out=plain, set=SETTINGS, block=(24, 40, 75))
    api.segment(from_graph=plain, out=again, threshold=0.4, set=SETTINGS[2:], **BOTH)
    assert made(again) == made(blocks)
    with pytest.raises(ConfigError, match=r"objects"):
        api.segment(exact, out=plain, set=SETTINGS, block=(24, 40, 75), meshes=True)


def test_what_is_lost_or_damaged_is_made_again(exact: Path, blocks: Path, tmp_path: Path) -> None:
    out, ask = tmp_path / "y.zarr", {"set": SETTINGS, "block": (24, 40, 50), **BOTH}
    api.segment(exact, out=out, **ask)
    (out / "meshes/1.mesh").unlink()
    (out / "skeletons/2").write_bytes(b"\0" * 20)
    (out.with_suffix(".blocks") / "meshes/parts/0.npz").write_bytes(b"PK")
    api.segment(exact, out=out, **ask)
    assert made(out) == made(blocks)


@pytest.mark.parametrize("block", [None, (24, 40, 64)])
def test_precomputed_is_read_by_another_reader(exact: Path, blocks: Path, tmp_path: Path, block) -> None:
    out = tmp_path / "x.precomputed"
    found = api.segment(exact, out=out, set=SETTINGS, block=block, format="precomputed", **BOTH)
    np.testing.assert_array_equal(found.numpy(), truth())
    info = json.loads((out / "info").read_text())
    assert (info["type"], info["data_type"]) == ("segmentation", "uint64")
    assert (info["mesh"], info["skeletons"]) == ("meshes", "skeletons")
    assert [s["resolution"] for s in info["scales"]] == [[8, 8, 16], [16, 16, 16], [32, 32, 32]][: len(info["scales"])]
    assert len(info["scales"]) > 1
    assert {s["encoding"] for s in info["scales"]} == {"compressed_segmentation"}
    for number, scale in enumerate(info["scales"]):
        spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(out)}}
        spec |= {"scale_index": number, "fill_missing_data_reads": False}
        stored = tensorstore.open(spec, open=True).result().read().result()[..., 0].T
        x, y, z = (int(a) for a in scale["voxel_offset"])
        if number == 0:
            assert (z, y, x) == (2, 10, -3)
            np.testing.assert_array_equal(stored, truth())
        assert set(np.unique(stored)) <= {0, 1, 2, 3}
    assert found.attrs["provenance"]["config"]["segment"]["threshold"] == 0.5
    assert (out / "meshes/1.mesh").is_file()
    with pytest.raises(NeuropilError, match=r"exists already|was begun with"):
        api.segment(exact, out=out, set=SETTINGS, block=block)
    again = api.segment(exact, out=out, set=SETTINGS, block=block, overwrite=True)
    assert not (out / "meshes").exists()
    np.testing.assert_array_equal(again.numpy(), truth())


def test_formats_and_blocks_of_precomputed_agree(exact: Path, tmp_path: Path) -> None:
    digests = []
    for number, block in enumerate([None, (13, 40, 64)]):
        out = tmp_path / f"x{number}.precomputed"
        api.segment(exact, out=out, set=SETTINGS, block=block, **BOTH)
        coarse = open_volume(f"{out}:16_16_16")
        digests.append((made(out), hashlib.sha256(coarse.numpy().tobytes()).hexdigest()))
    assert digests[0] == digests[1]


def test_cells_that_no_worker_has_memory_for_are_refused(exact: Path, tmp_path: Path, capsys) -> None:
    words = [*SETTINGS[:2], "objects.voxel_nm=8"]
    with pytest.raises(InputError, match=r"objects\.cell"):
        api.segment(exact, out=tmp_path / "x.zarr", set=words, memory="510MiB", block=(24, 40, 50), meshes=True)
    assert not list(tmp_path.iterdir())
    api.segment(exact, out=tmp_path / "x.zarr", set=words, memory="510MiB", block=(24, 40, 50))
    assert "0.50 GiB a worker" in capsys.readouterr().err


def test_words_that_do_not_fit_are_refused(exact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--out .*x\.precomputed"):
        api.segment(exact, out=tmp_path / "x.zarr", format="precomputed")
    with pytest.raises(InputError, match="zarr or precomputed"):
        api.segment(exact, out=tmp_path / "x.zarr", format="tiff")  # type: ignore[arg-type]
    for words in ({"skeletons": True}, {"set": ["objects.meshes=true"]}, {"format": "zarr"}):
        with pytest.raises(InputError, match="--out"):
            api.segment(exact, **words)
    with pytest.raises(VolumeError, match=r"\.zarr .* or \.precomputed"):
        api.segment(exact, out=tmp_path / "x.h5")
    (tmp_path / "y.precomputed").mkdir()
    (tmp_path / "y.precomputed/info").write_text("{}")
    with pytest.raises(VolumeError, match="not written by neuropil"):
        api.segment(exact, out=tmp_path / "y.precomputed", overwrite=True)


def test_status_says_what_it_cost(blocks: Path) -> None:
    found = api.status(blocks)
    assert [s["stage"] for s in found["stages"]][-6:] == [
        "skeleton_parts",
        "skeleton_index",
        "skeletons",
        "mesh_parts",
        "mesh_index",
        "meshes",
    ]
    assert (found["missing"], found["peak_bytes"] > 2**20) == (0, True)
    spent = found["timings"]
    total = sum(s["core_seconds"] for s in spent.values()) / 3600 / (np.prod(SHAPE) / 1e9)
    assert found["core_hours_per_gigavoxel"] == pytest.approx(total, rel=1e-3)
    assert open_volume(blocks).attrs["core_hours_per_gigavoxel"] == found["core_hours_per_gigavoxel"]
    assert all(s["core_seconds"] >= 0.9 * s["seconds"] > 0 for s in spent.values())
