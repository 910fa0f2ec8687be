"""Attributes under our names, units, errors, and stacks of sections."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from neuropil.errors import VolumeError
from neuropil.io.base import (
    SectionStack,
    file_errors,
    listing,
    native,
    our_attributes,
    require_new,
    unit_nm,
    with_element_size,
)


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("nm", 1), ("nanometer", 1), ("µm", 1000), ("\\u00B5m", 1000), ("micron", 1000), ("mm", 1e6), ("nm (nominal)", 1)],
)
def test_units_of_length(unit, nm) -> None:
    assert unit_nm(unit) == nm


@pytest.mark.parametrize("unit", ["pixel", "", None, "reference frame"])
def test_units_of_nothing(unit) -> None:
    assert unit_nm(unit) is None


def test_native_values() -> None:
    assert native(np.array([40, 4, 4])) == [40, 4, 4]
    assert native(np.float64(4.5)) == 4.5
    assert native(np.array(b"zyx")) == "zyx"
    assert native({"a": np.array([b"x"])}) == {"a": ["x"]}
    assert native(1j) == "1j"


def test_resolution_in_its_unit() -> None:
    attrs = our_attributes({"resolution": [0.04, 0.004, 0.004], "offset": [1, 1, 1], "resolution_unit": "um"}, "x")
    assert attrs["resolution"] == pytest.approx([40, 4, 4])
    assert attrs["offset"] == [1000, 1000, 1000]
    assert attrs["resolution_unit"] == "nm"


@pytest.mark.parametrize("key", ["units", "unit"])
def test_resolution_in_the_unit_beside_it(key) -> None:
    attrs = our_attributes({"resolution": [0.04, 0.004, 0.004], "offset": [1, 1, 1], key: b"micrometer"}, "x")
    assert attrs["resolution"] == pytest.approx([40, 4, 4])
    assert attrs["offset"] == [1000, 1000, 1000]
    assert key not in attrs


def test_our_own_unit_comes_first() -> None:
    attrs = our_attributes({"resolution": [40, 4, 4], "resolution_unit": "nm", "units": "um"}, "x")
    assert attrs == {"resolution": [40, 4, 4], "resolution_unit": "nm"}


@pytest.mark.parametrize("units", ["grey level", "pixel", "", 3, ["um", "um", "um"]])
def test_units_that_are_no_length_are_left_as_they_are(units) -> None:
    raw = {"resolution": [40.0, 4.0, 4.0], "units": units}
    assert our_attributes(raw, "x") == raw


def test_a_unit_without_a_resolution_says_nothing_of_one_that_is_given_later() -> None:
    assert our_attributes({"offset": [1, 2, 3], "unit": "um"}, "x") == {"offset": [1, 2, 3]}


def test_element_size() -> None:
    assert with_element_size({"element_size_um": [0.25, 0.5, 0.125]}) == {"resolution": [250, 500, 125]}


@pytest.mark.parametrize("size", [[1, 1, 1], [1.0, 1.0, 1.0], [0, 1, 1], [0.1, 0.1], 0.1, "0.1", [[1, 2, 3]] * 3, None])
def test_element_sizes_that_say_nothing(size) -> None:
    assert with_element_size({"element_size_um": size}) == {"element_size_um": size}


@pytest.mark.parametrize(
    ("key", "value"), [("resolution", "fine"), ("resolution", 4), ("offset", [[1]]), ("offsets", [1, 0, 0])]
)
def test_attributes_that_are_not_numbers(key, value) -> None:
    with pytest.raises(VolumeError, match=f"attribute '{key}'"):
        our_attributes({key: value}, "x")


@pytest.mark.parametrize("text", ["No space left on device", "RESOURCE_EXHAUSTED: x", "File too large"])
def test_full_disk_is_named(text) -> None:
    with pytest.raises(VolumeError, match="disk is full"), file_errors("x", "writing"):
        raise OSError(text)


def test_errors_name_the_file_and_keep_the_cause() -> None:
    with pytest.raises(VolumeError, match="x: reading failed") as caught, file_errors("x", "reading"):
        raise KeyError
    assert isinstance(caught.value.__cause__, KeyError)


def test_require_new(tmp_path) -> None:
    require_new(tmp_path / "a")
    with pytest.raises(VolumeError, match="exists already"):
        require_new(tmp_path)
    with pytest.raises(VolumeError, match="does not exist"):
        require_new(tmp_path / "b" / "a")


class CountingLoader:
    def __init__(self, array: np.ndarray) -> None:
        self.array, self.loads = array, 0

    def load(self, index: int) -> np.ndarray:
        self.loads += 1
        return self.array.reshape(-1, *self.array.shape[-2:])[index]

    def close(self) -> None:
        self.loads = -1


def stack(shape: tuple[int, ...]) -> tuple[SectionStack, np.ndarray, Any]:
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    loader = CountingLoader(array)
    return SectionStack(loader, shape, array.dtype, {}), array, loader


@pytest.mark.parametrize("shape", [(7, 4, 5), (2, 7, 4, 5), (4, 5)])
def test_stack_is_the_numpy_slice(shape) -> None:
    sections, array, _ = stack(shape)
    key = tuple(slice(1, n - 1) if n > 2 else slice(0, n) for n in shape)
    np.testing.assert_array_equal(sections[key], array[key])


def test_stack_keeps_few_sections_and_reads_each_once() -> None:
    sections, _, loader = stack((7, 4, 5))
    sections._keep = 3
    for _ in range(3):
        _ = sections[slice(0, 3), slice(0, 4), slice(0, 5)]
    assert loader.loads == 3
    _ = sections[slice(0, 7), slice(0, 4), slice(0, 5)]
    assert (loader.loads, len(sections._cache)) == (7, 3)
    assert len(pickle.loads(pickle.dumps(sections))._cache) == 0
    sections.close()
    assert (loader.loads, len(sections._cache)) == (-1, 0)


def test_a_listing_names_volumes_one_a_line() -> None:
    found = listing(
        [
            ("raw", (4, 5, 6), "uint8", {"resolution": np.array([40, 4.5, 4])}),
            ("deep/labels", [4, 5, 6], np.dtype("uint64"), {}),
            ("table", (9,), "float64", {}),
            ("um", (4, 5, 6), "uint8", {"resolution": [0.5, 0.1, 0.1], "resolution_unit": b"um"}),
        ]
    )
    lines = [" ".join(line.split()) for line in found.splitlines()]
    assert lines == [
        "one of",
        "raw (4, 5, 6) uint8 40 x 4.5 x 4 nm",
        "deep/labels (4, 5, 6) uint64 no voxel size stated",
        "um (4, 5, 6) uint8 0.5 x 0.1 x 0.1 um",
    ]
    many = listing([(f"n{i}", (1, 1), "uint8", {}) for i in range(100)])
    assert many.splitlines()[-1].strip() == "... and 70 more"
    assert listing([("table", (9,), "float64", {})]) == "a file with volumes in it"


def test_what_a_library_cannot_read_is_not_called_broken() -> None:
    with pytest.raises(VolumeError, match="not supported") as caught, file_errors("a.tif", "reading"):
        raise NotImplementedError
    assert "convert it" in caught.value.fix
    assert "intact" not in str(caught.value)
