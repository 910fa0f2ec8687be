"""Vaa3D's volumes: bit for bit those of v3d-py-helper and of a decoder written here, and never read beyond their end."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from v3dpy.loaders import PBD, Raw

from neuropil.errors import GeometryError, VolumeError
from neuropil.geometry import Box
from neuropil.io import save_volume
from neuropil.volume import Volume, open_volume

NM = (300.0, 100.0, 100.0)
RNG = np.random.default_rng(0)


def cells(dtype, *, channels=1, rough=3.0):
    """Runs, gentle slopes, steep steps and noise, so that every kind of code is met."""
    most = np.iinfo(dtype).max
    z, y, x = np.mgrid[:7, :21, :45]
    data = np.stack([20 + c + 9 * np.sin(x / 9 + c) + y / 5 + z for c in range(channels)])
    data += RNG.normal(0, rough, data.shape) * (x > 20)
    data[:, 2] = 0
    data[:, 3, 5:8] = RNG.integers(0, most, (channels, 3, 45), endpoint=True)
    data[:, 4, :, 3] = most
    return np.clip(data, 0, most).astype(dtype)


def decoded(raw: bytes) -> np.ndarray:
    """PBD by its definition, one value at a time; little endian."""
    code, *sizes = struct.unpack("<h4i", raw[25:43])
    at, out = 43, []
    while at < len(raw):
        op, at = raw[at], at + 1
        literals, runs = (33, 128) if code == 1 else (32, 223)
        if op < literals:
            n = (op + 1) * code
            out += np.frombuffer(raw[at : at + n], f"<u{code}").tolist()
        elif op >= runs:
            n = code
            out += [int.from_bytes(raw[at : at + n], "little")] * (op - runs + 1)
        else:
            bits, base = 2, 32
            if code == 2:
                bits, base = (3, 31) if op < 80 else (4, 79) if op < 183 else (5, 182)
            n = -(-(op - base) * bits // 8)
            text = [f"{b:08b}" for b in raw[at : at + n]]
            text = "".join(text) if code == 2 else "".join(t[i : i + 2] for t in text for i in (6, 4, 2, 0))
            for i in range(op - base):
                step = int(text[i * bits : (i + 1) * bits], 2)
                half = 1 << (bits - 1)
                out.append((out[-1] + (step if step <= half else half - step)) % 256**code)
        at += n
    return np.array(out, f"u{code}").reshape(sizes[::-1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("full_blood", [False, True])
@pytest.mark.parametrize("rough", [0.5, 3.0, 12.0])
def test_packed_files_of_another_program(tmp_path, dtype, full_blood, rough) -> None:
    data = cells(dtype, channels=2, rough=rough)
    PBD(pbd16_full_blood=full_blood).save(str(tmp_path / "a.v3dpbd"), data)
    volume = open_volume(tmp_path / "a.v3dpbd", voxel_size=NM)
    assert (volume.shape, volume.axes, volume.dtype) == (data.shape, "czyx", np.dtype(dtype))
    np.testing.assert_array_equal(volume.numpy(), data)
    np.testing.assert_array_equal(decoded((tmp_path / "a.v3dpbd").read_bytes()), data)


def test_packed_16_bit_of_a_big_endian_machine(tmp_path) -> None:
    literals = [5, 300, 65535]
    body = bytes([2]) + struct.pack(">3H", *literals) + bytes([223 + 3]) + struct.pack(">H", 258)
    head = b"v3d_volume_pkbitdf_encodB" + struct.pack(">h4i", 2, 7, 1, 1, 1)
    (tmp_path / "a.v3dpbd").write_bytes(head + body)
    assert open_volume(tmp_path / "a.v3dpbd", voxel_size=NM).numpy().ravel().tolist() == [*literals, *[258] * 4]


def test_packed_differences_wrap_as_the_integers_do(tmp_path) -> None:
    # 255 + 1 = 0, 0 - 1 = 255: codes 1, 3 of two bits, lowest first
    (tmp_path / "a.v3dpbd").write_bytes(
        b"v3d_volume_pkbitdf_encodL" + struct.pack("<h4i", 1, 3, 1, 1, 1) + bytes([0, 255, 34, 0b1101])
    )
    assert open_volume(tmp_path / "a.v3dpbd", voxel_size=NM).numpy().ravel().tolist() == [255, 0, 255]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("ending", ["v3draw", "v3dpbd"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_we_write_another_program_reads(tmp_path, dtype, ending, channels) -> None:
    data = cells(dtype, channels=channels)
    axes = "zyx" if channels == 1 else "czyx"
    volume = Volume(data[0] if channels == 1 else data, NM, (600, 0, 100), axes, "image", attrs={"note": "µ"})
    path = tmp_path / f"a.{ending}"
    save_volume(volume, path)
    theirs = (Raw() if ending == "v3draw" else PBD()).load(str(path))
    np.testing.assert_array_equal(theirs, data)
    if ending == "v3dpbd":  # codes that Vaa3D itself does not know must not be there
        np.testing.assert_array_equal(decoded(path.read_bytes()), data)
    again = open_volume(path)
    np.testing.assert_array_equal(again.numpy(), volume.numpy())
    assert again.attributes() == volume.attributes()
    inner = Box((3, 5, 8), (5, 9, 40), NM)
    np.testing.assert_array_equal(again.read(inner), volume.read(inner))
    assert len(pickle.dumps(again)) < 5000
    again.close()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).numpy(), volume.numpy())
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.neuropil.json"]
    with pytest.raises(VolumeError, match="already"):
        save_volume(volume, path)


def test_our_16_bit_packing_uses_only_the_codes_of_vaa3d(tmp_path) -> None:
    save_volume(Volume(cells("uint16", rough=6.0)[0], NM), tmp_path / "a.v3dpbd")
    raw, at, met = (tmp_path / "a.v3dpbd").read_bytes(), 43, set()
    while at < len(raw):
        op = raw[at]
        met.add("literal" if op < 32 else "difference" if op < 80 else "run" if op >= 223 else "foreign")
        at += 1 + (2 * (op + 1) if op < 32 else -(-(op - 31) * 3 // 8) if op < 80 else 2)
    assert met == {"literal", "difference", "run"}


def test_floats_and_masks(tmp_path) -> None:
    data = RNG.random((3, 4, 5)).astype(np.float32)
    save_volume(Volume(data, NM), tmp_path / "a.v3draw")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.v3draw").numpy(), data)
    np.testing.assert_array_equal(Raw().load(str(tmp_path / "a.v3draw"))[0], data)
    save_volume(Volume(data > 0.5, NM), tmp_path / "m.v3dpbd")
    assert open_volume(tmp_path / "m.v3dpbd").kind == "mask"
    for name, wrong in (("b.v3dpbd", data), ("b.v3draw", data.astype(np.float64)), ("c.v3draw", data[:0])):
        with pytest.raises(VolumeError, match="would hold"):
            save_volume(Volume(wrong, NM), tmp_path / name)
    assert not [p for p in tmp_path.iterdir() if p.name[0] in "bc"]


def header(sizes, code=1, key=b"raw_image_stack_by_hpeng", order="<", width="i"):
    return key + (b"L" if order == "<" else b"B") + struct.pack(f"{order}h{len(sizes)}{width}", code, *sizes)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", ["h", "i"])
@pytest.mark.parametrize(("code", "kind"), [(1, "u1"), (2, "u2"), (4, "f4")])
def test_plain_files_of_all_kinds(tmp_path, order, width, code, kind) -> None:
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(order + kind)
    (tmp_path / "a.v3draw").write_bytes(header((5, 4, 3, 2), code, order=order, width=width) + data.tobytes())
    np.testing.assert_array_equal(open_volume(tmp_path / "a.v3draw", voxel_size=NM).numpy(), data)


def test_raw_is_known_by_its_beginning_and_time_must_be_one(tmp_path) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(1, 1, 2, 3, 4)
    key = b"raw5image_stack_by_hpeng"
    (tmp_path / "a.raw").write_bytes(header((4, 3, 2, 1, 1), key=key) + data.tobytes())
    np.testing.assert_array_equal(open_volume(tmp_path / "a.raw", voxel_size=NM).numpy(), data[0, 0])
    (tmp_path / "b.raw").write_bytes(header((4, 3, 1, 1, 2), key=key) + data.tobytes())
    with pytest.raises(GeometryError, match="time"):
        open_volume(tmp_path / "b.raw", voxel_size=NM)
    (tmp_path / "c.raw").write_bytes(data.tobytes())
    with pytest.raises(VolumeError, match="no known format"):
        open_volume(tmp_path / "c.raw", voxel_size=NM)


def test_voxel_size_is_never_guessed(tmp_path) -> None:
    Raw().save(str(tmp_path / "a.v3draw"), cells("uint8"))
    with pytest.raises(GeometryError, match="--voxel-size"):
        open_volume(tmp_path / "a.v3draw")


def test_attributes_beside_another_volume_are_refused(tmp_path) -> None:
    save_volume(Volume(cells("uint8")[0], NM), tmp_path / "a.v3draw")
    Raw().save(str(tmp_path / "a.v3draw"), cells("uint8")[:, :5])
    with pytest.raises(VolumeError, match="another volume"):
        open_volume(tmp_path / "a.v3draw")


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"", "does not begin"),
        (b"raw_image_stack_by_hpeng", "does not begin"),
        (header((5, 4, 3, 1))[:40], "does not fit"),
        (header((5, 4, 3, 1)) + bytes(59), "does not fit"),
        (header((5, 4, 3, 1)) + bytes(61), "does not fit"),
        (header((-5, -4, 3, 1)) + bytes(60), "does not fit"),
        (header((30000, 30000, 30000, 1), key=b"v3d_volume_pkbitdf_encod") + bytes(60), "does not fit"),
        (header((5, 4, 3, 1), 3) + bytes(60), "type 3"),
        (header((5, 4, 3, 1), 33, key=b"v3d_volume_pkbitdf_encod"), "loses grey values"),
        (header((5, 4, 3, 1), 4, key=b"v3d_volume_pkbitdf_encod"), "packed"),
        (b"v3d_volume_pkbitdf_encodX" + bytes(40), "does not begin"),
    ],
)
def test_damaged_heads_are_one_clear_error(tmp_path, raw, match) -> None:
    (tmp_path / "a.v3draw").write_bytes(raw)
    with pytest.raises(VolumeError, match=match):
        open_volume(tmp_path / "a.v3draw", voxel_size=NM)
    with pytest.raises(VolumeError, match="no name inside"):
        open_volume(f"{tmp_path}/a.v3draw:x", voxel_size=NM)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_packed_data_are_whole_or_refused(tmp_path, dtype) -> None:
    PBD().save(str(tmp_path / "a.v3dpbd"), cells(dtype)[:, :3])
    raw = (tmp_path / "a.v3dpbd").read_bytes()
    for cut in [43, 44, 50, *range(100, len(raw), 97), len(raw) - 1]:
        (tmp_path / "a.v3dpbd").write_bytes(raw[:cut])
        with pytest.raises(VolumeError, match=r"a\.v3dpbd"):
            open_volume(tmp_path / "a.v3dpbd", voxel_size=NM).numpy()
    for more in (bytes([0]), bytes([255, 1, 1]), bytes([127])):
        (tmp_path / "a.v3dpbd").write_bytes(raw + more)
        with pytest.raises(VolumeError, match="too long"):
            open_volume(tmp_path / "a.v3dpbd", voxel_size=NM).numpy()


def test_random_bytes_never_do_harm(tmp_path) -> None:
    for code in (1, 2):
        head = header((20, 20, 20, 1), code, key=b"v3d_volume_pkbitdf_encod")
        for seed in range(50):
            (tmp_path / "a.v3dpbd").write_bytes(head + np.random.default_rng(seed).bytes(300))
            with pytest.raises(VolumeError):
                open_volume(tmp_path / "a.v3dpbd", voxel_size=NM).numpy()
