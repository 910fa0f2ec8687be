"""The package lives beside what its users have: current zarr, pydantic and typer; no broken requirement."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.version import Version
from tests.release.tree import EXTRAS, PROJECT, asked, everything

#: Of the environment for tests; the others are installed by those who want them.
HERE = sorted(set(EXTRAS) - {"bench", "dev", "napari", "wandb"})


def test_extras_are_those_that_the_docs_name() -> None:
    assert set(EXTRAS) == {
        *("bench", "cluster", "dev", "docs", "exchange", "morphometrics", "napari", "tensorboard", "view", "wandb")
    }


def test_what_is_installed_beside_us_is_current() -> None:
    assert Version(metadata.version("zarr")) >= Version("3")
    assert Version(metadata.version("pydantic")) >= Version("2.12")
    assert Version(metadata.version("typer")) >= Version("0.16")
    for one in asked(PROJECT["dependencies"]):
        assert one.specifier.contains(metadata.version(one.name), prereleases=True), str(one)


def test_what_we_need_agrees_with_what_it_needs() -> None:
    """`pip check` for our own branch of the tree."""
    tree = everything()
    for name, needs in tree.items():
        for one in needs:
            assert one.specifier.contains(metadata.version(one.name), prereleases=True), f"{name} needs {one}"
    heavy = {
        "dask",
        "google-auth",
        "matplotlib",
        "monai",
        "neuroglancer",
        "timm",
        "torchvision",
        "transformers",
        "zarr",
    }
    assert not heavy & set(tree), "these are not for everybody"


@pytest.mark.parametrize("extra", HERE)
def test_extras_can_live_here_together(extra: str) -> None:
    for one in asked(EXTRAS[extra]):
        assert one.specifier.contains(metadata.version(one.name), prereleases=True), str(one)
