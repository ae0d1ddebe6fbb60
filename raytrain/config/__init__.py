"""Every setting of raytrain as frozen dataclasses; standard library only, so that `--help` stays fast.

Each file owns the settings of one room; `run.py` joins them, `loader.py` reads and writes TOML.
"""

from raytrain.config.cuts import PatchesConfig
from raytrain.config.data import DataConfig, ShapesConfig
from raytrain.config.encoders import EncoderConfig, Vgg6Config
from raytrain.config.loader import from_mapping, load_preset, load_toml, preset_names, to_toml
from raytrain.config.objectives import ClappConfig, HingeCpcConfig, ObjectiveConfig, SupervisedConfig
from raytrain.config.operators import DtcwtConfig, IdentityConfig, LbpConfig, OperatorConfig, RgConfig
from raytrain.config.run import (
    AugmentationConfig,
    OptimizerConfig,
    PathwayConfig,
    ProbeConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "AugmentationConfig",
    "ClappConfig",
    "DataConfig",
    "DtcwtConfig",
    "EncoderConfig",
    "HingeCpcConfig",
    "IdentityConfig",
    "LbpConfig",
    "ObjectiveConfig",
    "OperatorConfig",
    "OptimizerConfig",
    "PatchesConfig",
    "PathwayConfig",
    "ProbeConfig",
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
    "to_toml",
]
