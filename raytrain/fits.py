"""Whether cut, encoder and objective of a pathway fit the samples, which only their shape tells."""

from pipelines.modalities import modality_of
from raytrain.config.cuts import ClipSettings, PatchesConfig
from raytrain.config.objectives import PredictionSettings
from raytrain.config.pathway import PathwayConfig
from raytrain.encoders import Encoder
from raytrain.errors import ConfigError


def check_shift(name: str, config: PathwayConfig, sensor: tuple[int, int]) -> None:
    """Raise ConfigError where recordings may be shifted off their sensor altogether."""
    if config.augmentation.shift_px and config.augmentation.shift_px >= min(sensor):
        raise ConfigError(
            f"pathways.{name}.augmentation.shift_px is {config.augmentation.shift_px}, on a sensor of "
            f"{sensor[0]} x {sensor[1]} px: nothing would be left of a recording; use a tenth of it, or less"
        )


def check_rows(name: str, config: PathwayConfig, num_rows: int) -> None:
    """Raise ConfigError where a sequence that only the data tell is too short to predict along."""
    if not isinstance(config.objective, PredictionSettings):
        return
    needed = config.objective.num_steps + config.objective.skip + 1
    if num_rows < needed:
        raise ConfigError(
            f"pathways.{name}: {num_rows} rows to predict along, but objective.num_steps "
            f"{config.objective.num_steps} with skip {config.objective.skip} needs {needed}; lower "
            "num_steps, or take smaller strides or more bins"
        )


def check_size(name: str, config: PathwayConfig, encoder: Encoder, *, size_px: int) -> None:
    """Raise ConfigError where a patch, frame or clip is too small for the encoder."""
    if size_px < encoder.smallest_px:
        own = isinstance(config.cut, PatchesConfig)
        setting = ".cut.size_px" if own else f": {modality_of(config).size_setting}"
        raise ConfigError(
            f"pathways.{name}{setting} is {size_px}; encoder {config.encoder.name} reduces its input "
            f"down to one pixel and needs at least {encoder.smallest_px}"
        )
    if isinstance(config.cut, ClipSettings) and config.cut.num_frames < encoder.smallest_frames:
        raise ConfigError(
            f"pathways.{name}.cut.num_frames is {config.cut.num_frames}; encoder {config.encoder.name} needs "
            f"at least {encoder.smallest_frames}"
        )
