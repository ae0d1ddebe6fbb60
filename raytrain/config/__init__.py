"""Every setting of raytrain as frozen dataclasses; standard library only, so that `--help` stays fast.

Each file owns the settings of one room; `run.py` joins them, `loader.py` reads and writes TOML.
"""

from raytrain.config.cache import CacheConfig
from raytrain.config.cuts import PatchesConfig
from raytrain.config.data import DataConfig, ShapesConfig
from raytrain.config.encoders import EncoderConfig, MovnetConfig, Resnet18Config, Resnet34Config, Vgg6Config
from raytrain.config.loader import (
    from_mapping,
    load_preset,
    load_toml,
    preset_names,
    presets_taking,
    settings_of,
    to_toml,
)
from raytrain.config.objectives import (
    ClappConfig,
    ClappVideoConfig,
    HingeCpcConfig,
    InfonceConfig,
    MotionObjectiveConfig,
    ObjectiveConfig,
    SupervisedConfig,
)
from raytrain.config.operators import DtcwtConfig, IdentityConfig, LbpConfig, OperatorConfig, RgConfig
from raytrain.config.pathway import AugmentationConfig, OptimizerConfig, PathwayConfig
from raytrain.config.probe import ClassifierProbeConfig, ProbeConfig
from raytrain.config.run import RunConfig, TrainingConfig

__all__ = [
    "AugmentationConfig",
    "CacheConfig",
    "ClappConfig",
    "ClappVideoConfig",
    "ClassifierProbeConfig",
    "DataConfig",
    "DtcwtConfig",
    "EncoderConfig",
    "HingeCpcConfig",
    "IdentityConfig",
    "InfonceConfig",
    "LbpConfig",
    "MotionObjectiveConfig",
    "MovnetConfig",
    "ObjectiveConfig",
    "OperatorConfig",
    "OptimizerConfig",
    "PatchesConfig",
    "PathwayConfig",
    "ProbeConfig",
    "Resnet18Config",
    "Resnet34Config",
    "RgConfig",
    "RunConfig",
    "ShapesConfig",
    "SupervisedConfig",
    "TrainingConfig",
    "Vgg6Config",
    "from_mapping",
    "load_preset",
    "load_toml",
    "preset_names",
    "presets_taking",
    "settings_of",
    "to_toml",
]
