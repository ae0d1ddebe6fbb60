"""The kinds of samples by name: one file each says all that differs between them."""

from pipelines.modalities.base import Modality
from pipelines.modalities.clip import ClipModality
from pipelines.modalities.events import EventModality
from pipelines.modalities.image import ImageModality
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig

MODALITIES: dict[str, Modality] = {
    "image": ImageModality(),
    "clip": ClipModality(),
    "events": EventModality(),
}


def modality_of(settings: RunConfig | PathwayConfig) -> Modality:
    """Return the kind of samples that a run or a pathway takes."""
    return MODALITIES[settings.modality]
