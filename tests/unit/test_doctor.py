"""What the doctor finds missing, and that what he advises exists."""

from __future__ import annotations

import tomllib
from importlib import metadata, util
from pathlib import Path

import pytest

from neuropil import doctor

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_every_extra_that_is_advised_exists() -> None:
    assert {extra for _, extra in doctor.OPTIONAL.values()} <= set(PROJECT["optional-dependencies"])


def test_what_is_required_is_what_the_package_states_without_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = ["numba>=0.60", "torch>=2.4", "v3d-py-helper>=0.4", 'napari>=0.5; extra == "napari"']
    monkeypatch.setattr(metadata, "requires", lambda name: stated)
    assert doctor.required() == ["torch", "numba", "v3d-py-helper"]


def test_a_missing_package_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_devices", dict)
    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "neuroglancer" else real(name))
    found = doctor.examine()
    assert "pip install 'neuropil[view]'" in found["missing"]["neuroglancer"]
    assert found["healthy"]
    version = metadata.version

    def gone(name: str) -> str:
        if name == "edt":
            raise metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(metadata, "version", gone)
    found = doctor.examine()
    assert found["missing"]["edt"].startswith("required")
    assert not found["healthy"]
