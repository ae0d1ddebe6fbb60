"""Random changes of a sample before the operator, drawn by counters, alike for all pathways."""

from pipelines.views.augmentations.events import EventAugmentation, EventDraws
from pipelines.views.augmentations.image import ImageAugmentation, ImageDraws

Draws = ImageDraws | EventDraws
"""what was drawn for the samples of a batch"""

__all__ = ["Draws", "EventAugmentation", "EventDraws", "ImageAugmentation", "ImageDraws"]
