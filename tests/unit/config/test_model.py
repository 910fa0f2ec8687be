from __future__ import annotations

import pytest

from neuropil.config import load_config
from neuropil.errors import ConfigError


def test_the_transformer_has_a_group_of_its_own() -> None:
    config = load_config("em_neurons", ["model.vit.dim=96", "model.vit.patch=[2,8,8]", "model.vit.taps=[2,6]"])
    assert (config.model.vit.dim, config.model.vit.patch, config.model.vit.taps) == (96, (2, 8, 8), (2, 6))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.vit.heads=5", r"dim \(192\) must be a multiple of heads \(5\)"),
        ("model.vit.patch=[0,8,8]", "each at least 1"),
        ("model.vit.wavelengths_nm=[500,100]", "the shorter wave first"),
        ("model.vit.taps=[2,4]", r"must ascend and end with depth \(6\)"),
        ("model.vit.taps=[4,2,6]", "must ascend"),
        ("model.vit.taps=[6,6]", "must ascend"),
        ("model.vit.taps=[]", "must ascend"),
        ("model.vit.drop_path=1", "less than 1"),
        ("model.vit.layer_scale=0", "greater than 0"),
        ("model.vit.deph=2", r"did you mean 'depth'"),
    ],
)
def test_impossible_transformers_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("em_neurons", [words])
