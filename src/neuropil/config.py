"""Every setting of the program with its one default: strict, typed, frozen; YAML in and out; `a.b=value` overrides."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError, field_validator

from neuropil.errors import ConfigError

Offset = tuple[int, int, int]
Score = Literal["mean", "quantile"]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AugmentConfig(Settings):
    """How often, and how strongly, a training crop is changed; see the methods page on augmentation.

    Probabilities are per crop, or per section where the name ends in *section*. Lengths are in voxels of the section
    plane, or nm where said. What belongs to serial sections (slip, shift, missing, low contrast, defocus, and section
    intensity) is never drawn for isotropic volumes, and a crop gets at most one kind of section defect.
    """

    flip: bool = True
    rotate90: bool = Field(True, description="exchange axes of equal voxel size and extent")
    elastic: float = Field(0.3, ge=0, le=1)
    elastic_spacing_nm: float = Field(160.0, gt=0, description="distance of control points")
    elastic_sigma_nm: float = Field(8.0, ge=0, description="root mean square of the deformation along each axis")
    rotate: float = Field(0.0, ge=0, le=1)
    rescale: float = Field(0.0, ge=0, le=1)
    rescale_range: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.25)
    slip: float = Field(0.05, ge=0, le=1, description="one section lies off its place; labels too")
    shift: float = Field(0.05, ge=0, le=1, description="all sections from one on lie off their place; labels too")
    shift_max: int = Field(10, ge=0)
    missing_section: float = Field(0.03, ge=0, le=1)
    missing_partial: float = Field(0.5, ge=0, le=1, description="share of missing sections that lose a part only")
    low_contrast_section: float = Field(0.01, ge=0, le=1)
    low_contrast_scale: float = Field(0.3, gt=0, le=1)
    blur: float = Field(0.1, ge=0, le=1)
    blur_sigma: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    defocus_section: float = Field(0.01, ge=0, le=1)
    cut_blur: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.3, ge=0, le=1)
    noise_sigma: tuple[NonNegativeFloat, NonNegativeFloat] = (0.01, 0.06)
    intensity: float = Field(0.7, ge=0, le=1)
    intensity_scale: float = Field(0.15, ge=0, lt=1)
    intensity_shift: float = Field(0.1, ge=0)
    intensity_section: float = Field(0.3, ge=0, le=1)
    gamma: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.35)
    extra: tuple[str, ...] = Field((), description="further augmentations, package.module:function")

    @field_validator("rescale_range", "blur_sigma", "noise_sigma", "gamma")
    @classmethod
    def _ordered(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError("the lower end first, then the upper")
        return ends


class DataConfig(Settings):
    """Where training crops come from and how intensities are normalised."""

    crop: Offset | None = Field(None, description="voxels z, y, x; chosen from the voxel size when empty")
    normalise: Literal["percentile", "zscore", "uint8"] = "percentile"
    percentiles: tuple[float, float] = (0.5, 99.5)
    min_labelled: float = Field(0.05, ge=0, le=1, description="least labelled share of a crop")
    zero_label: Literal["background", "ignore"] = Field(
        "background", description="label 0 is membrane or outside (its affinity 0 is truth), or was not annotated"
    )
    label_context: bool = Field(True, description="read labels beyond the crop, so that edges across its border count")
    validation: float = Field(0.12, ge=0, lt=1, description="share of each volume held back as one slab")
    validation_axis: Literal["z", "y", "x", "auto"] = "auto"
    widen_border: int = Field(0, ge=0, description="steps by which object borders grow before affinities")
    cache_gb: float = Field(2.0, ge=0, description="volumes are held in memory while they fit; others are read by box")
    workers: int | None = Field(None, ge=0, description="loader threads or processes; chosen from the cores when empty")
    worker_kind: Literal["auto", "thread", "process"] = "auto"
    augment: AugmentConfig = AugmentConfig()

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two percentiles, the lower one first, for example [0.5, 99.5]")
        return value


class ModelConfig(Settings):
    """The network."""

    name: str = "resunet"
    channels: tuple[int, ...] = (16, 32, 64, 96)
    blocks: int = Field(1, ge=1, description="residual blocks a level")
    norm: Literal["group", "instance", "none"] = "group"
    offsets: tuple[Offset, ...] | None = Field(
        None, description="affinity steps; chosen from the voxel size when empty"
    )


class TrainConfig(Settings):
    """Optimisation."""

    steps: int = Field(20_000, ge=1)
    budget: float | None = Field(None, gt=0, description="seconds of wall time; when given, steps follow from it")
    batch: int = Field(1, ge=1)
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    loss: Literal["bce", "mse"] = "bce"
    balance: bool = True
    dice: float = Field(0.0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 0
    log_every: int = Field(20, ge=1)
    validations: int = Field(6, ge=1, description="how many times a run is validated by segmentation score")
    checkpoint_minutes: float = Field(5.0, gt=0)
    devices: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)


class PredictConfig(Settings):
    """Tiled prediction."""

    tile: Offset | None = Field(None, description="voxels z, y, x; chosen from voxel size and network when empty")
    overlap: Offset | None = Field(None, description="voxels that neighbouring tiles share")
    block: Offset | None = Field(None, description="voxels written at once; the output's shard when empty")
    tta: Literal["none", "flips", "full"] = Field("none", description="average over mirrored and exchanged axes")
    batch: int = Field(1, ge=1)
    memory_gb: float = Field(2.0, gt=0, description="what buffers may take; wide volumes are worked in columns")


class FragmentsConfig(Settings):
    """From affinities to fragments; by ascent on a landscape of bounded distance, or by the classic flooding."""

    method: Literal["ascent", "watershed"] = Field("ascent", description="'watershed' floods and depends on the block")
    boundary: float = Field(0.3, gt=0, lt=1, description="cut evidence from which a voxel is boundary")
    worst_edge: float = Field(0.0, ge=0, le=1, description="share of the worst edge in the cut evidence; rest: mean")
    radius_nm: float = Field(128.0, gt=0, description="distances to the boundary end here; beyond, all is one core")
    sigma_nm: float = Field(6.0, ge=0, description="Gaussian that smooths the distance")
    slope_nm: float = Field(16.0, ge=0, description="distance that a wholly cut voxel counts as lower")
    link: float = Field(0.1, ge=0, lt=1, description="no link crosses an edge below this affinity")
    background: float = Field(0.002, ge=0, lt=1, description="a voxel all of whose edges are below is background")
    seed_nm: float = Field(32.0, gt=0, description="watershed: least distance of seeds along each axis")
    sectionwise: Literal["auto", "always", "never"] = "auto"
    sectionwise_ratio: float = Field(4.0, gt=1, description="z/x anisotropy from which 'auto' works per section")


class SegmentConfig(Settings):
    """From affinities to neurons."""

    method: str = "agglomerate"
    threshold: float | None = Field(None, gt=0, lt=1, description="merge edges of at least this affinity; from the run")
    score: Score = "mean"
    quantile: float = Field(0.5, gt=0, lt=1, description="which quantile of the edge's affinities is its score")
    contact: float = Field(0.0, ge=0, description="voxel edges of affinity 0 that every contact counts in addition")
    long_range: bool = Field(False, description="long-range affinities count in the scores of touching fragments")
    bias: tuple[float, ...] = Field((), description="added to the logit of each channel; calibrated, from the run")
    min_size: int = Field(0, ge=0, description="voxels; smaller objects join their best neighbour or vanish")
    strides: Offset = Field((1, 1, 1), description="mutex: use long-range edges on this grid of voxels only")
    calibrate_bias: bool = Field(True, description="try fitted channel biases on what a run holds back")
    objective: Literal["voi", "cremi"] = Field("voi", description="score that calibration minimises")
    fragments: FragmentsConfig = FragmentsConfig()


class Config(Settings):
    """The whole of it, as it is stored beside every output."""

    recipe: str = "em_neurons"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    segment: SegmentConfig = SegmentConfig()

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
    return parse_config(_with_overrides({"recipe": str(recipe), **_read_recipe(recipe)}, overrides))


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Apply `a.b=value` overrides to settings; see `load_config` for the errors."""
    return parse_config(_with_overrides(config.model_dump(mode="json"), overrides))


def parse_config(values: Mapping[str, Any]) -> Config:
    """Build a `Config` from nested mappings; see `load_config` for the errors."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _explained(error) from None


def _read_recipe(recipe: str | Path) -> dict[str, Any]:
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise ConfigError(f"recipe file '{path}' does not exist", "a YAML file or one of " + ", ".join(recipes()))
        text = path.read_text()
    elif str(recipe) in recipes():
        text = (resources.files("neuropil") / "recipes" / f"{recipe}.yaml").read_text()
    else:
        raise ConfigError(f"unknown recipe '{recipe}'", "one of " + ", ".join(recipes()), _near(str(recipe), recipes()))
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe '{recipe}' is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"recipe '{recipe}' holds a {type(values).__name__}", "keys such as train: {steps: 100}")
    return values


def _with_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for words in overrides:
        key, sign, text = words.partition("=")
        if not sign:
            raise ConfigError(f"--set {words}", "key=value, for example train.steps=100")
        _assign(values, key.strip(), text)
    return values


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}={text}", "a YAML value") from None
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: '{parent}' is a value, not a group")
        values = inner
    values[last] = value


def _explained(error: ValidationError) -> ConfigError:
    """Turn the first problem of a validation error into one line that helps."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *parents, last = problem["loc"]
        known = _known_keys([str(p) for p in parents])
        return ConfigError(f"unknown key '{where}'", "one of " + ", ".join(known), _near(str(last), known))
    return ConfigError(f"{where} = {problem.get('input')!r}", str(problem["msg"]))


def _known_keys(parents: list[str]) -> list[str]:
    model: Any = Config
    for parent in parents:
        model = model.model_fields[parent].annotation
    return sorted(model.model_fields)


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean '{close[0]}'?" if close else ""
