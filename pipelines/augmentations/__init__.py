"""Random changes of a sample before the operator, drawn by counters, alike for all pathways."""

from pipelines.augmentations.image import ImageAugmentation, ImageDraws

__all__ = ["ImageAugmentation", "ImageDraws"]
