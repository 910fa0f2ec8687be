"""The whole of the settings: recipes, YAML in and out, `a.b=value`; a wrong key names the nearest right one."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from neuropil.config.base import Settings
from neuropil.config.data import DataConfig
from neuropil.config.decode import PredictConfig, SegmentConfig
from neuropil.config.foreign import ForeignConfig
from neuropil.config.inflate import InflateConfig
from neuropil.config.jobs import JobsConfig
from neuropil.config.model import ModelConfig
from neuropil.config.objects import ObjectsConfig
from neuropil.config.organelles import InstancesConfig, OrganelleConfig
from neuropil.config.pretrain import PretrainConfig
from neuropil.config.trace import TraceConfig
from neuropil.config.train import TrainConfig
from neuropil.config.tree_task import TreeTaskConfig
from neuropil.errors import ConfigError

#: Keys that earlier versions had, and what to do instead of setting one; a stored run may hold them.
_RETIRED = {
    "pretrain.agents.kl_rate": "leave it out: KL is held at pretrain.agents.kl without a rate",
    "segment.enough": "set segment.enough_objects, which counts objects instead of fragments",
}


class Config(Settings):
    """The whole of it, as it is stored beside every output."""

    recipe: str = "em_neurons"
    task: str = Field(
        "neurons", description="what is learned: neurons, mitochondria, semantic, trees, or package.module:TASK"
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    pretrain: PretrainConfig = PretrainConfig()
    inflate: InflateConfig = InflateConfig()
    predict: PredictConfig = PredictConfig()
    segment: SegmentConfig = SegmentConfig()
    trace: TraceConfig = TraceConfig()
    organelles: OrganelleConfig = OrganelleConfig()
    instances: InstancesConfig = InstancesConfig()
    trees: TreeTaskConfig = TreeTaskConfig()
    jobs: JobsConfig = JobsConfig()
    objects: ObjectsConfig = ObjectsConfig()
    foreign: ForeignConfig = ForeignConfig()

    def to_yaml(self) -> str:
        """The resolved settings as YAML text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("neuropil") / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_config(recipe: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a recipe (a shipped name or a YAML file) and apply `a.b=value` overrides.

    Raises
    ------
    ConfigError
        If the recipe is unknown, a key does not exist (the nearest one is named), or a value does not fit.
    """
    return config_of(str(recipe), recipe_values(recipe), overrides)


def config_of(recipe: str, values: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """Settings from a recipe's values under `a.b=value` overrides; `recipe` is what it is called."""
    return parse_config(_with_overrides({"recipe": recipe, **values}, overrides))


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Apply `a.b=value` overrides to settings; see `load_config` for the errors."""
    return parse_config(_with_overrides(config.model_dump(mode="json"), overrides))


def parse_config(values: Mapping[str, Any]) -> Config:
    """Build a `Config` from nested mappings; see `load_config` for the errors."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from None


def stored_config(values: Mapping[str, Any]) -> Config:
    """Build a `Config` from what this or an earlier version stored beside a run; see `load_config` for the errors."""
    kept = copy.deepcopy(dict(values))
    for key in _RETIRED:
        *parents, last = key.split(".")
        group: Any = kept
        for parent in parents:
            group = group.get(parent) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.pop(last, None)
    return parse_config(kept)


def recipe_values(recipe: str | Path) -> dict[str, Any]:
    """What a recipe says, as nested mappings; see `load_config`."""
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            known = "a YAML file or one of " + ", ".join(recipes())
            raise ConfigError(f"recipe file '{path}' does not exist", known, "correct the path, or name a recipe")
        text = path.read_text()
    elif str(recipe) in recipes():
        text = (resources.files("neuropil") / "recipes" / f"{recipe}.yaml").read_text()
    else:
        raise ConfigError(f"unknown recipe '{recipe}'", "one of " + ", ".join(recipes()), _near(str(recipe), recipes()))
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe '{recipe}' is not YAML: {error}", "YAML", "mend the line that is named") from None
    if not isinstance(values, dict):
        got = f"recipe '{recipe}' holds a {type(values).__name__}"
        raise ConfigError(got, "keys such as train: {steps: 100}", "see docs/reference/settings.md for all keys")
    return values


def _with_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for words in overrides:
        key, sign, text = words.partition("=")
        if not sign:
            raise ConfigError(f"--set {words}", "key=value", "write, for example, --set train.steps=100")
        _assign(values, key.strip(), text)
    return values


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {key}={text}", "a YAML value", "quote it for the shell, and lists as [1,2,3]"
        ) from None
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {key}: '{parent}' is a value, not a group", "the key of one value", f"--set {parent}=…"
            )
        values = inner
    values[last] = value


def _explained(error: ValidationError) -> ConfigError:
    """Turn the first problem of a validation error into one line that helps."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *parents, last = problem["loc"]
        known = _known_keys([str(p) for p in parents])
        fix = _RETIRED.get(where) or _near(str(last), known)
        return ConfigError(f"unknown key '{where}'", "one of " + ", ".join(known), fix)
    fix = "see docs/reference/settings.md for types and defaults"
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "value_error" and isinstance(problem.get("input"), dict):
        # the whole group comes with it, of which the user has set a few
        return ConfigError(f"settings under '{where or 'the recipe'}' do not fit together", said, fix)
    return ConfigError(f"{where} = {problem.get('input')!r}", said, fix)


def _known_keys(parents: list[str]) -> list[str]:
    model: Any = Config
    for parent in parents:
        model = model.model_fields[parent].annotation
    return sorted(model.model_fields)


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'?" if close else ""
