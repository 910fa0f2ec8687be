"""Folders of sections: order, what is left out, what does not fit."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from neuropil.errors import GeometryError, InputError, VolumeError
from neuropil.io import save_volume
from neuropil.volume import Volume, open_volume

NM = (40.0, 4.0, 4.0)
RAW = np.random.default_rng(0).integers(0, 255, (12, 20, 30), dtype=np.uint8)


def png(path, section) -> None:
    path.write_bytes(imagecodecs.png_encode(section))


def test_natural_order(tmp_path) -> None:
    for z in range(12):
        png(tmp_path / f"s{z}.png", RAW[z])
    np.testing.assert_array_equal(open_volume(tmp_path, voxel_size=NM).numpy(), RAW)


def test_hidden_and_other_files_are_left_out(tmp_path) -> None:
    png(tmp_path / "a1.png", RAW[0])
    png(tmp_path / ".a0.png", RAW[1])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a2.png").mkdir()
    assert open_volume(tmp_path, voxel_size=NM).shape == (1, 20, 30)


def test_voxel_size_must_be_given(tmp_path) -> None:
    png(tmp_path / "a1.png", RAW[0])
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(tmp_path)


def test_kinds_of_files_mix(tmp_path) -> None:
    flat = np.full((20, 30), 100, np.uint8)
    png(tmp_path / "1.PNG", RAW[0])
    tifffile.imwrite(tmp_path / "2.tif", RAW[1])
    (tmp_path / "3.jpg").write_bytes(imagecodecs.jpeg_encode(flat))
    data = open_volume(tmp_path, voxel_size=NM).numpy()
    np.testing.assert_array_equal(data[:2], RAW[:2])
    np.testing.assert_allclose(data[2], flat, atol=2)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_other_shape_names_the_file(tmp_path, kind) -> None:
    png(tmp_path / "1.png", RAW[0])
    odd = tmp_path / f"2.{kind}"
    if kind == "tif":
        tifffile.imwrite(odd, RAW[1, :19])
    else:
        odd.write_bytes((imagecodecs.png_encode if kind == "png" else imagecodecs.jpeg_encode)(RAW[1, :19]))
    with pytest.raises(VolumeError, match=rf"2\.{kind}' has \(19, 30\)"):
        open_volume(tmp_path, voxel_size=NM)


def test_other_type_names_the_file(tmp_path) -> None:
    png(tmp_path / "1.png", RAW[0])
    png(tmp_path / "2.png", RAW[1].astype(np.uint16))
    with pytest.raises(VolumeError, match=r"2\.png' is .* uint16"):
        open_volume(tmp_path, voxel_size=NM).numpy()


def test_colour_is_refused(tmp_path) -> None:
    png(tmp_path / "1.png", np.stack([RAW[0], RAW[0], RAW[0] + 1], axis=-1))
    with pytest.raises(VolumeError, match="grey"):
        open_volume(tmp_path, voxel_size=NM)


def test_one_opacity_does_not_matter_and_several_do(tmp_path) -> None:
    opacity = np.full_like(RAW[0], 255)
    png(tmp_path / "1.png", np.stack([RAW[0]] * 3 + [opacity], axis=-1))
    png(tmp_path / "2.png", np.stack([RAW[1], opacity], axis=-1))
    png(tmp_path / "3.png", RAW[2])
    np.testing.assert_array_equal(open_volume(tmp_path, voxel_size=NM).numpy(), RAW[:3])
    opacity[3, 4] = 7
    png(tmp_path / "2.png", np.stack([RAW[1], opacity], axis=-1))
    with pytest.raises(VolumeError, match="opacities"):
        open_volume(tmp_path, voxel_size=NM).numpy()


def test_stack_among_sections_is_refused(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "1.tif", RAW[:3], metadata=None, photometric="minisblack")
    with pytest.raises(VolumeError, match="one page a section"):
        open_volume(tmp_path, voxel_size=NM)


def test_empty_folder(tmp_path) -> None:
    with pytest.raises(VolumeError, match="no sections"):
        open_volume(tmp_path, voxel_size=NM)


def test_name_inside_is_refused(tmp_path) -> None:
    png(tmp_path / "1.png", RAW[0])
    with pytest.raises(VolumeError, match="no name inside"):
        open_volume(f"{tmp_path}:raw", voxel_size=NM)


@pytest.mark.parametrize(
    "volume",
    [Volume(RAW.astype(np.float32), NM), Volume(RAW[None], NM, axes="czyx"), Volume(RAW.astype(np.uint64), NM)],
)
def test_what_png_cannot_hold_is_refused(tmp_path, volume) -> None:
    with pytest.raises(InputError, match="PNG"):
        save_volume(volume, f"{tmp_path}/out/")
    assert list(tmp_path.iterdir()) == []


def test_name_inside_is_refused_on_writing(tmp_path) -> None:
    from neuropil.io.images import FORMAT

    with pytest.raises(VolumeError, match="no name inside"):
        FORMAT.save(tmp_path / "out", "raw", Volume(RAW, NM))


def test_broken_sidecar(tmp_path) -> None:
    png(tmp_path / "1.png", RAW[0])
    (tmp_path / "neuropil.json").write_text('{"resolution": [40,')
    with pytest.raises(VolumeError, match=r"neuropil\.json"):
        open_volume(tmp_path)


def told(folder, names, capsys) -> str:
    for name in names:
        png(folder / f"{name}.png", RAW[0])
    open_volume(folder, voxel_size=NM)
    said: str = capsys.readouterr().err
    open_volume(folder, voxel_size=NM)
    assert capsys.readouterr().err == ""  # once is enough
    return said


def test_names_that_differ_in_their_text_are_told_of(tmp_path, capsys) -> None:
    said = told(tmp_path, ["sec-000", "Sec_1", "sec-002", "sec_3"], capsys)
    assert said.startswith(f"note: '{tmp_path}': names of sections differ in more than their numbers")
    assert "the order taken is sec-000.png, sec-002.png, then Sec_1.png, sec_3.png" in said
    assert len(said.splitlines()) == 1


def test_section_without_a_number_is_told_of(tmp_path, capsys) -> None:
    assert "then overview.png" in told(tmp_path, ["1", "2", "overview"], capsys)


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (["s08", "s09", "s13", "s14"], "no section 10 to 12; sections"),
        (["S1", "s2", "s4"], "no section 3; sections"),
        (["2024_s1_x", "2024_s4_x", "2024_s6_x"], "no section 2 to 3 (the first of 2 gaps); sections"),
    ],
)
def test_gaps_in_the_numbers_are_told_of(tmp_path, capsys, names, gap) -> None:
    assert f"'{tmp_path}': {gap} are taken to follow each other" in told(tmp_path, names, capsys)


@pytest.mark.parametrize(
    "names",
    [
        ["s9", "s10", "S11"],
        ["a", "b", "c"],
        ["z1_c0", "z3_c0"],  # the last number is not what differs
        ["b1_s1", "b1_s2", "b2_s1", "b2_s5"],
        ["left 1", "right 1"],
        ["7"],
    ],
)
def test_names_that_are_as_usual_are_not_told_of(tmp_path, capsys, names) -> None:
    assert told(tmp_path, names, capsys) == ""
