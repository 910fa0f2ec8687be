"""`bioimageio`, working: release 0.5.12 of its specification breaks with pydantic 2.14.

Two of its serializers hand pydantic an object where a key belongs. Older pydantic did not look; since 2.14 it is an
error (pydantic pull request 13506), so that no model whatever loads. Both are called here without that object.
"""

from __future__ import annotations

import importlib
import types
from typing import Any

import pydantic
import pytest


def core() -> Any:
    """`bioimageio.core`, or a loud skip."""
    library = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed: neuropil[exchange]")
    if tuple(int(n) for n in pydantic.VERSION.split(".")[:2]) >= (2, 14):
        _mend("bioimageio.spec._internal.io_packaging", "package_file_descr_serializer")
        _mend("bioimageio.spec.model.v0_4", "package_weights")
    return library


def _mend(module: str, name: str) -> None:
    # pydantic holds on to the function itself, so its code is what changes
    function = getattr(importlib.import_module(module), name)
    known = function.__globals__
    if f"_first_{name}" in known:
        return
    known[f"_first_{name}"] = types.FunctionType(function.__code__, known, name)
    made: dict[str, Any] = {}
    text = f"def {name}(value, handler, info):\n return _first_{name}(value, lambda v, *_: handler(v), info)"
    exec(text, known, made)
    function.__code__ = made[name].__code__
