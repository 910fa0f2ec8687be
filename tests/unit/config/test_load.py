from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from neuropil.config import Config, load_config, override, parse_config, recipes
from neuropil.errors import ConfigError


@pytest.mark.parametrize("name", recipes())
def test_recipes_are_valid_and_hold_no_defaults_twice(name: str) -> None:
    config = load_config(name)
    assert config.recipe == name
    assert parse_config(yaml.safe_load(config.to_yaml())) == config


def test_overrides_reach_nested_keys_and_keep_the_rest() -> None:
    base = load_config("em_neurons")
    config = load_config("em_neurons", ["train.steps=7", "data.augment.noise=0.5", "model.channels=[8, 16]"])
    assert (config.train.steps, config.data.augment.noise, config.model.channels) == (7, 0.5, (8, 16))
    assert config.segment == base.segment
    assert override(config, ["train.seed=3"]).train.steps == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train.step=7", r"unknown key 'train.step'[\s\S]*did you mean 'steps'"),
        ("trian.steps=7", r"unknown key 'trian'[\s\S]*did you mean 'train'"),
        ("data.augment.nois=1", r"did you mean 'noise'"),
        ("train.steps=many", r"train.steps = 'many'"),
        ("train.steps=0", r"train.steps = 0"),
        ("train.steps", r"key=value"),
        ("recipe.name=x", r"'recipe' is a value"),
        ("train.steps=[", r"a YAML value"),
    ],
)
def test_wrong_settings_say_what_would_be_right(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("em_neurons", [words])


def test_unknown_recipes_name_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"em_neurons[\s\S]*did you mean 'em_neurons'"):
        load_config("em_neuron")
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="holds a list"):
        load_config(tmp_path / "list.yaml")


def test_a_file_of_your_own_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {steps: 5}")
    assert load_config(tmp_path / "mine.yaml").train.steps == 5


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(Exception, match="frozen"):
        Config().train.steps = 3  # type: ignore[misc]


@given(
    steps=st.integers(1, 10**7),
    lr=st.floats(1e-8, 1, allow_nan=False),
    channels=st.lists(st.integers(1, 512), min_size=1, max_size=6),
    threshold=st.none() | st.floats(0.01, 0.99),
)
def test_yaml_round_trip(steps: int, lr: float, channels: list[int], threshold: float | None) -> None:
    config = parse_config(
        {"train": {"steps": steps, "lr": lr}, "model": {"channels": channels}, "segment": {"threshold": threshold}}
    )
    assert parse_config(yaml.safe_load(config.to_yaml())) == config


def test_still_augmentation_draws_nothing_at_any_voxel_size() -> None:
    import numpy as np

    from neuropil.config import AugmentConfig
    from neuropil.data.augment import draw

    loud = AugmentConfig(rotate=1, rescale=1, cut_blur=1, slip=1, missing_section=1, intensity_section=1)
    for voxel_size in ((8.0, 8.0, 8.0), (40.0, 4.0, 4.0)):
        plans = [draw(loud.still(), np.random.default_rng(i), (16, 32, 32), voxel_size) for i in range(20)]
        assert all(plan.ops == () for plan in plans)
        assert any(draw(loud, np.random.default_rng(i), (16, 32, 32), voxel_size).ops for i in range(3))


def test_settings_that_do_not_fit_together_are_told_by_their_group_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("lm_neuron", ["trace.strong=0.2", "trace.weak=0.4"])
    assert caught.value.got == "settings under 'trace' do not fit together"
    assert caught.value.expected == "weak evidence must not be above strong evidence"
    with pytest.raises(ConfigError, match=r"train\.lr = \{'a': 1\}\n  expected: a valid number"):
        load_config("em_neurons", ["train.lr={a: 1}"])
