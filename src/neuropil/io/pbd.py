"""Unpacking Vaa3D's PBD: runs, small differences and literal values, 8 or 16 bit.

The library that writes the format for us reads it without looking at bounds, so a damaged file could overwrite memory;
this reader stops at the first byte that does not fit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neuropil.errors import VolumeError


def unpacked(raw: bytes, count: int, dtype: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    """The `count` values of packed data, in this machine's byte order.

    Parameters
    ----------
    dtype
        uint8 or uint16, in the byte order of the file.

    Raises
    ------
    VolumeError
        If the data end too early, or hold more values.
    """
    packed, out = np.frombuffer(raw, np.uint8), np.empty(count, dtype.newbyteorder("="))
    high = 0 if dtype.byteorder == ">" else 1
    read, written = _unpack8(packed, out) if dtype.itemsize == 1 else _unpack16(packed, out, high)
    if written != count or read != len(packed):
        how = f"end after {written} of {count} voxels" if written < count else "are too long"
        raise VolumeError(f"'{name}': packed data {how}", "a whole v3dpbd file", "copy it again")
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unpack8(packed: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Bytes read and values written until the first that does not fit; 2-bit differences, lowest bits first."""
    at, to = 0, 0
    while at < len(packed):
        op: Any = np.int64(packed[at])
        if op < 33:
            values, bytes_ = op + 1, op + 1
        elif op < 128:
            values = op - 32
            bytes_ = (values + 3) // 4
        else:
            values, bytes_ = op - 127, 1
        if at + 1 + bytes_ > len(packed) or to + values > len(out):
            break
        at += 1
        last = np.int64(out[to - 1]) if to else 0
        for i in range(values):
            if op < 33:
                last = np.int64(packed[at + i])
            elif op < 128:
                step = (np.int64(packed[at + i // 4]) >> (2 * (i % 4))) & 3
                last = (last + (step if step < 3 else -1)) & 255
            else:
                last = np.int64(packed[at])
            out[to + i] = last
        at += bytes_
        to += values
    return at, to


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unpack16(packed: npt.NDArray[np.uint8], out: npt.NDArray[np.uint16], high: int) -> tuple[int, int]:
    """The same for 16 bit; differences of 3, 4 or 5 bits, highest bits first, the upper half of the codes negative.

    `high` is where in a pair of bytes the higher one lies.
    """
    at, to = 0, 0
    low = 1 - high
    while at < len(packed):
        op: Any = np.int64(packed[at])
        bits = 0
        if op < 32:
            values = op + 1
            bytes_ = 2 * values
        elif op < 223:
            bits = 3 if op < 80 else (4 if op < 183 else 5)
            values = op - (31 if op < 80 else (79 if op < 183 else 182))
            bytes_ = (values * bits + 7) // 8
        else:
            values, bytes_ = op - 222, 2
        if at + 1 + bytes_ > len(packed) or to + values > len(out):
            break
        at += 1
        last = np.int64(out[to - 1]) if to else 0
        most = 1 << (bits - 1) if bits else 0
        for i in range(values):
            if bits == 0:
                pair = at + 2 * i if op < 32 else at
                last = (np.int64(packed[pair + high]) << 8) | np.int64(packed[pair + low])
            else:
                first = i * bits
                byte, shift = at + first // 8, first % 8
                word = np.int64(packed[byte]) << 8
                if shift + bits > 8:
                    word |= np.int64(packed[byte + 1])
                step = (word >> (16 - shift - bits)) & ((1 << bits) - 1)
                last = (last + (step if step <= most else most - step)) & 65535
            out[to + i] = last
        at += bytes_
        to += values
    return at, to
