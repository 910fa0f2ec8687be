"""Tables resolve names late, and say the nearest name when there is none."""

from __future__ import annotations

import math
import sys

import pytest

from neuropil.errors import ConfigError
from neuropil.registry import FORMATS, Table

NUMBERS = Table("number", {"pi": "math:pi", "broken": "math:no_such_number"})


def test_resolves_names_and_foreign_targets() -> None:
    assert NUMBERS.resolve("pi") == math.pi
    assert NUMBERS.resolve("math:tau") == math.tau


def test_is_a_mapping() -> None:
    assert dict(NUMBERS) == {"pi": "math:pi", "broken": "math:no_such_number"}
    assert len(NUMBERS) == 2


def test_unknown_name_lists_the_known_and_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pi'") as caught:
        NUMBERS.resolve("pie")
    assert "one of broken, pi" in str(caught.value)


def test_name_like_no_other_suggests_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        NUMBERS.resolve("zzz")
    assert "did you mean" not in str(caught.value)


def test_foreign_target_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        NUMBERS.resolve("no_such_package_at_all:Thing")


def test_broken_entry_of_ours_is_our_bug() -> None:
    with pytest.raises(AttributeError):
        NUMBERS.resolve("broken")


@pytest.mark.parametrize("name", list(FORMATS))
def test_formats_resolve_to_formats(name: str) -> None:
    handler = FORMATS.resolve(name)
    assert handler.name == name
    assert handler.suffixes
    assert FORMATS[name].split(":")[0] in sys.modules
