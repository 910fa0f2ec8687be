"""Errors say what was got, what was expected and how to fix it, and are builtin errors too."""

from __future__ import annotations

import pickle

import pytest

from neuropil import errors

BUILTIN = {
    "InputError": ValueError,
    "ConfigError": ValueError,
    "VolumeError": OSError,
    "GeometryError": ValueError,
    "RunError": ValueError,
    "IncompleteError": RuntimeError,
}


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_error_is_ours_and_a_builtin(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.NeuropilError)
    assert issubclass(kind, BUILTIN[name])
    assert kind.exit_code == (3 if name == "IncompleteError" else 2)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_message_has_all_three_parts(name: str) -> None:
    error = getattr(errors, name)("a cat", "a dog", "get a dog")
    assert str(error) == "a cat\n  expected: a dog\n  fix: get a dog"
    assert (error.got, error.expected, error.fix) == ("a cat", "a dog", "get a dog")


def test_message_leaves_out_what_is_not_known() -> None:
    assert str(errors.VolumeError("a cat")) == "a cat"
    assert str(errors.InputError("a cat", fix="feed it")) == "a cat\n  fix: feed it"


def test_errors_reach_the_parent_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(errors.VolumeError("a cat", "a dog", "bark")))
    assert isinstance(error, errors.VolumeError)
    assert "a cat" in str(error)


def test_warning_is_a_user_warning() -> None:
    assert issubclass(errors.NeuropilWarning, UserWarning)


def test_long_lists_are_cut() -> None:
    assert [errors.listed("abcdef"[:n], "; ") for n in (0, 1, 4, 6)] == ["", "a", "a; b; c; d", "a; b; c; d and 2 more"]
