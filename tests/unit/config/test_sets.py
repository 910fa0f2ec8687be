"""Named augmentation sets: what is set beside the name comes first, and views never move what they show."""

from __future__ import annotations

import pytest

from neuropil.config import AugmentConfig, load_config, parse_config
from neuropil.config.sets import AUGMENT_SETS
from neuropil.errors import ConfigError

PLACES = {"flip", "rotate90", "elastic", "rotate", "rescale", "slip", "shift"}


def test_a_set_gives_values_and_what_stands_beside_it_comes_first() -> None:
    config = load_config("em_neurons", ["data.augment.set=strong", "data.augment.noise=0.125"])
    augment = config.data.augment
    assert (augment.cut_out, augment.noise, augment.blur) == (1.0, 0.125, AUGMENT_SETS["strong"]["blur"])
    assert augment.elastic == AugmentConfig().elastic
    assert parse_config(config.model_dump(mode="json")) == config


def test_the_standard_set_is_the_default() -> None:
    assert AugmentConfig(set="standard") == AugmentConfig()
    with pytest.raises(ConfigError, match=r"data\.augment\.set"):
        load_config("em_neurons", ["data.augment.set=mild"])


@pytest.mark.parametrize("name", AUGMENT_SETS)
def test_sets_know_only_grey_values(name: str) -> None:
    assert not PLACES & set(AUGMENT_SETS[name])


def test_places_and_greys_together_are_all_that_is_drawn() -> None:
    everything = AugmentConfig(
        **{n: 1.0 for n, f in AugmentConfig.model_fields.items() if f.annotation is float and not f.default}
    )
    chances = [n for n in AugmentConfig.model_fields if isinstance(getattr(AugmentConfig(), n), bool | float)]
    still, places, greys = everything.still(), everything.only_places(), everything.only_greys()
    for name in chances:
        if getattr(still, name) == getattr(everything, name):
            continue
        changed = [x for x in (places, greys) if getattr(x, name) != getattr(everything, name)]
        assert len(changed) == 1, name
    assert {n for n in PLACES if getattr(greys, n)} == set()
    assert (places.cut_out, places.fold_section, places.missing_section) == (0, 0, 0)
