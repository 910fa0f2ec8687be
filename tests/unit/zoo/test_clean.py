from __future__ import annotations

import pytest

from neuropil.zoo.clean import cleaned, last_name, named_only


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("/data/me/a b/x.h5:volumes/raw[0:16]", "x.h5:volumes/raw[0:16]"),
        ("../data/x.h5:raw", "x.h5:raw"),
        ("C:\\data\\x.tif", "x.tif"),
        ("x.h5:raw", "x.h5:raw"),
        ("/data/x.zarr/", "x.zarr"),
        ("s3://bucket/em.zarr/s0", "s0"),
        ("https://user:secret@host:80/a/b.zarr?token=x", "b.zarr"),
        ("precomputed://https://host/a/seg", "seg"),
        ("image", "image"),
    ],
)
def test_a_volume_keeps_its_last_name(url: str, kept: str) -> None:
    assert last_name(url) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("wrote /srv/x/y.h5 to ~/runs/a, then 'C:\\u\\me'", "wrote y.h5 to a, then 'me'"),
        ("see https://host.org/a/b now", "see b now"),
        ("(/srv/a/b)", "(b)"),
        ("8 nm / x and/or 1/2", "8 nm / x and/or 1/2"),
        ("2026-11-24T21:03:41+0000", "2026-11-24T21:03:41+0000"),
    ],
)
def test_texts_lose_folders_and_servers_only(text: str, kept: str) -> None:
    assert cleaned({"a": [text]}) == {"a": [kept]}


def test_other_values_stay() -> None:
    assert cleaned({"a": (1, 2.5, None, True)}) == {"a": [1, 2.5, None, True]}


def test_a_card_names_volumes_recipes_and_first_weights() -> None:
    card = {
        "recipe": "lab/our recipe.yaml",
        "sources": [{"image": "a b/x.h5:v/raw", "labels": "a b/x.h5:v/ids", "shape": [1]}],
        "init": {"path": "my runs/p/model.safetensors", "sha256": "0"},
    }
    cleaned_card, config = named_only(card, {"recipe": "lab/our recipe.yaml"})
    assert cleaned_card["sources"] == [{"image": "x.h5:v/raw", "labels": "x.h5:v/ids", "shape": [1]}]
    assert cleaned_card["init"] == {"path": "model.safetensors", "sha256": "0"}
    assert cleaned_card["recipe"] == config["recipe"] == "our recipe.yaml"
    assert card["sources"][0]["image"] == "a b/x.h5:v/raw"
