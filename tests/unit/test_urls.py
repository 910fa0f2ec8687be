"""Names of volumes."""

from pathlib import Path

import pytest

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box
from neuropil.urls import part_of, split_channel, split_part, split_url

BOX = Box((10, 20, 30), (14, 26, 38), (8.0, 8.0, 8.0))


def test_file_and_the_array_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.touch()
    assert split_url(f"{path}:/volumes/raw/") == (path, "volumes/raw")
    assert split_url(path) == (path, "")
    assert split_url(f"{path}:raw[0:2]") == (path, "raw")
    with pytest.raises(VolumeError, match=r"b\.h5' does not exist"):
        split_url(tmp_path / "b.h5:raw")


def test_files_may_have_colons_and_brackets_in_their_names(tmp_path: Path) -> None:
    odd = tmp_path / "a:b[1:2].tif"
    odd.touch()
    assert split_url(odd) == (odd, "")
    assert split_url(f"{odd}:data") == (odd, "data")
    assert split_part(odd) == (str(odd), "")
    assert split_part(f"{odd}[0:1]") == (str(odd), "0:1")


@pytest.mark.parametrize("name", ["a.h5:raw[0:16,0:64", "a.h5[0:16", "a.h5:raw[c=1", "a.h5:raw[c=0, 0:4", "b.zarr[3"])
def test_a_bracket_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.h5").touch()
    for function in (split_url, split_part):
        with pytest.raises(GeometryError, match="lacks its closing bracket") as caught:
            function(tmp_path / name)
        assert "missing ]" in caught.value.fix
        assert caught.value.expected


def test_files_may_have_half_a_bracket_in_their_names(tmp_path: Path) -> None:
    odd = tmp_path / "a[1"
    odd.touch()
    assert split_url(odd) == (odd, "")
    assert split_url(f"{odd}:2") == (odd, "2")
    assert split_part(f"{odd}[0:1]") == (str(odd), "0:1")


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("1:3", (11, 20, 30), (13, 26, 38)),
        (":,2:", (10, 22, 30), (14, 26, 38)),
        ("0:4, 0:6, 7:8", (10, 20, 37), (14, 26, 38)),
    ],
)
def test_parts_count_from_the_first_voxel(text: str, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
    part = part_of(BOX, text, "a")
    assert (part.start, part.stop, part.voxel_size) == (start, stop, BOX.voxel_size)


@pytest.mark.parametrize("text", ["", "3", "1:2:3", "-1:2", "a:b", ":,:,:,:", "2:2", "3:1", "0:5"])
def test_other_parts_are_refused(text: str) -> None:
    with pytest.raises(GeometryError):
        part_of(BOX, text, "a")


@pytest.mark.parametrize(
    ("text", "channel", "ranges"),
    [("c=2", 2, ""), (" c = 0 , 0:4,:", 0, " 0:4,:"), ("0:4", None, "0:4"), ("c=", None, "c="), ("d=1", None, "d=1")],
)
def test_a_channel_stands_before_the_ranges(text: str, channel: int | None, ranges: str) -> None:
    assert split_channel(text) == (channel, ranges)
