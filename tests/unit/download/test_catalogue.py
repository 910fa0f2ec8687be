"""The table: complete, honest about what is not known, and every entry can be found by its name."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from neuropil.config import parse_config, recipes
from neuropil.config.load import load_config
from neuropil.download.catalogue import DataSet, Source, catalogue, data_set
from neuropil.errors import InputError


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda e: e.name)
def test_each_entry_says_what_is_needed_to_use_it_rightly(entry: DataSet) -> None:
    assert entry.licence.name
    assert entry.licence.text
    assert entry.licence.url.startswith("https://")
    assert entry.citation
    assert entry.told_by
    assert entry.files or entry.account
    assert entry.layout == "checkpoint" or entry.splits
    assert len({f.file for f in entry.files}) == len(entry.files)
    for file in entry.files:
        assert re.fullmatch(r"https?://\S+", file.url)
        assert file.hash is None or re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.hash)


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda e: e.name)
def test_recipes_and_settings_that_are_named_exist(entry: DataSet) -> None:
    if entry.recipe is not None:
        assert entry.recipe in recipes()
        assert parse_config(load_config(entry.recipe, entry.settings).model_dump()).recipe == entry.recipe


def test_what_was_never_fetched_here_is_not_called_checked() -> None:
    # whoever has fetched a set from its address sets `checked: yes` there, and its name here
    assert {name for name, entry in catalogue().items() if entry.checked} == set()


def test_the_sets_that_people_ask_for_are_there() -> None:
    asked = {"cremi", "cremi-test", "snemi3d", "fib25", "isbi2012", "mitoem-r", "mitoem-h", "lucchi++", "bigneuron"}
    assert asked | {"dino-vits16", "dinov2-vitb14", "dinov3"} <= set(catalogue())


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'snemi3d'"):
        data_set("snemi")
    with pytest.raises(InputError, match="neuropil download lists them"):
        data_set("qqqq")


def test_impossible_entries_are_refused() -> None:
    good = data_set("cremi").model_dump()
    with pytest.raises(ValidationError, match="plain file name"):
        Source(file="../a", name="a", url="https://x")
    with pytest.raises(ValidationError, match="how to get them"):
        DataSet.model_validate({**good, "files": ()})
    with pytest.raises(ValidationError, match="extra"):
        DataSet.model_validate({**good, "sha": "1"})
