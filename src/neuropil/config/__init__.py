"""Every setting of the program with its one default: strict, typed, frozen; YAML in and out; `a.b=value` overrides."""

from neuropil.config.convnext import ConvNeXtConfig
from neuropil.config.data import AugmentConfig, DataConfig
from neuropil.config.decode import FragmentsConfig, PredictConfig, Score, SegmentConfig
from neuropil.config.inflate import InflateConfig, InflatedConfig
from neuropil.config.jobs import JobsConfig
from neuropil.config.load import Config, load_config, override, parse_config, recipes, stored_config
from neuropil.config.model import ModelConfig, ViTConfig
from neuropil.config.organelles import InstancesConfig, OrganelleConfig
from neuropil.config.pretrain import PretrainConfig
from neuropil.config.trace import TraceConfig
from neuropil.config.train import TrainConfig

__all__ = [
    "AugmentConfig",
    "Config",
    "ConvNeXtConfig",
    "DataConfig",
    "FragmentsConfig",
    "InflateConfig",
    "InflatedConfig",
    "InstancesConfig",
    "JobsConfig",
    "ModelConfig",
    "OrganelleConfig",
    "PredictConfig",
    "PretrainConfig",
    "Score",
    "SegmentConfig",
    "TraceConfig",
    "TrainConfig",
    "ViTConfig",
    "load_config",
    "override",
    "parse_config",
    "recipes",
    "stored_config",
]
