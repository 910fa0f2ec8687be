"""Pieces put together are the volume; what is not there is not handed out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuropil.view.served import Files, Memory, Pieces, served_type
from neuropil.volume import Volume


def put_together(pieces: Pieces, number: int = 0) -> np.ndarray:
    """A scale as a client reads it: piece by piece, x fastest."""
    info = json.loads(pieces.get("info"))
    scale = info["scales"][number]
    start, size, chunk = scale["voxel_offset"], scale["size"], scale["chunk_sizes"][0]
    out = np.zeros((info["num_channels"], *size[::-1]), info["data_type"])
    for z in range(0, size[2], chunk[2]):
        for y in range(0, size[1], chunk[1]):
            for x in range(0, size[0], chunk[0]):
                ends = [min(a + c, n) for a, c, n in zip((x, y, z), chunk, size, strict=True)]
                name = "_".join(f"{a + s}-{b + s}" for a, b, s in zip((x, y, z), ends, start, strict=True))
                shape = (info["num_channels"], ends[2] - z, ends[1] - y, ends[0] - x)
                data = np.frombuffer(pieces.get(f"{scale['key']}/{name}"), info["data_type"]).reshape(shape)
                out[:, z : ends[2], y : ends[1], x : ends[0]] = data
    return out


def test_pieces_are_the_volume(image):
    np.testing.assert_array_equal(put_together(Pieces(image))[0], image.numpy())


def test_info_says_voxel_size_and_place_x_first(image):
    info = json.loads(Pieces(image).get("info"))
    first, second = info["scales"][:2]
    assert (info["type"], info["data_type"], info["num_channels"]) == ("image", "uint8", 1)
    assert (first["resolution"], first["voxel_offset"], first["size"]) == ([4, 8, 40], [10, 10, 3], [130, 70, 20])
    assert second["resolution"] == [8, 8, 40]


def test_ids_go_whole_and_background_is_zero(truth):
    found = put_together(Pieces(truth))[0]
    assert found.dtype == np.uint64
    assert found[0, 0, 0] == 0
    assert set(np.unique(found)) == set(range(14))


def test_channels_stay_apart():
    values = np.random.default_rng(2).random((3, 4, 5, 6)).astype(np.float16)
    volume = Volume(values, (4, 4, 4), axes="czyx", kind="prediction")
    np.testing.assert_array_equal(put_together(Pieces(volume)), values.astype(np.float32))


@pytest.mark.parametrize(
    ("dtype", "kind", "sent"),
    [
        ("uint8", "image", "uint8"),
        ("float64", "image", "float32"),
        ("uint64", "image", "float32"),
        ("int64", "labels", "uint64"),
        ("bool", "mask", "uint8"),
        ("uint64", "labels", "uint64"),
        ("int16", "image", "int16"),
    ],
)
def test_types_that_are_sent(dtype, kind, sent):
    assert served_type(Volume(np.zeros((2, 2, 2), dtype), (1, 1, 1), kind=kind)).name == sent


@pytest.mark.parametrize(
    "path",
    [
        "",
        "4_8_40",
        "9_9_9/10-74_10-74_3-23",
        "1_1_1/0-64_0-64_0-20",
        "1_1_1/10-74_10-74",
        "1_1_1/74-10_10-74_3-23",
        "x/y",
    ],
)
def test_what_is_not_there_is_not_handed_out(image, path):
    assert Pieces(image).get(path) is None


def test_a_piece_larger_than_a_chunk_is_refused(image):
    assert Pieces(image).get("1_1_1/10-140_10-80_3-23") is None


def test_a_folder_hands_out_nothing_above_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("no")
    (tmp_path / "in" / "info").write_text("yes")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    files = Files(tmp_path / "in")
    assert files.get("info") == b"yes"
    assert [files.get(p) for p in ("../secret", "link", "", ".", "/etc/hostname", "nothing")] == [None] * 6


def test_memory():
    assert (Memory({"a": b"1"}).get("a"), Memory({}).get("a")) == (b"1", None)
