"""Every setting of the program with its one default: strict, typed, frozen; YAML in and out; `a.b=value` overrides."""

from neuropil.config.data import AugmentConfig, DataConfig
from neuropil.config.decode import FragmentsConfig, PredictConfig, Score, SegmentConfig
from neuropil.config.load import Config, load_config, override, parse_config, recipes
from neuropil.config.model import ModelConfig, ViTConfig
from neuropil.config.pretrain import PretrainConfig
from neuropil.config.train import TrainConfig

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "FragmentsConfig",
    "ModelConfig",
    "PredictConfig",
    "PretrainConfig",
    "Score",
    "SegmentConfig",
    "TrainConfig",
    "ViTConfig",
    "load_config",
    "override",
    "parse_config",
    "recipes",
]
