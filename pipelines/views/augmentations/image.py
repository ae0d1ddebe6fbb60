"""Random crop and mirror of a batch of images."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.forms.randomness import UInt64s, uniforms
from pipelines.views.operators.base import check_images
from pipelines.views.transfer import to_device
from raytrain.config.pathway import AugmentationConfig
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ImageDraws:
    """What was drawn for each sample of a batch."""

    top: NDArray[np.int64]
    """first row of the crop in px, [B]"""
    left: NDArray[np.int64]
    """first column of the crop in px, [B]"""
    flip: NDArray[np.bool_]
    """mirrored left and right, [B]"""

    def repeated(self, times: int) -> "ImageDraws":
        """Return the draws of clips as those of their frames."""
        return ImageDraws(**{each.name: np.repeat(getattr(self, each.name), times) for each in fields(self)})


class ImageAugmentation(nn.Module):
    """Crop to `view_px` and mirror: u8[B, 3, canvas, canvas] -> u8[B, 3, view, view].

    Of clips, with a T behind both B, all frames alike.
    """

    def __init__(self, config: AugmentationConfig, *, canvas_px: int) -> None:
        super().__init__()
        if config.crop_px > canvas_px:
            raise ConfigError(
                f"augmentation.crop_px is {config.crop_px}, larger than data.canvas_px {canvas_px}; lower it"
            )
        self.config = config
        self.canvas_px = canvas_px
        self.view_px = config.crop_px or canvas_px

    def draw(self, key_hashes: UInt64s, *, seed: int, epoch: int) -> ImageDraws:
        """Return each sample's draws: a function of seed, epoch and sample alone."""
        free = self.canvas_px - self.view_px + 1
        corner = (uniforms(key_hashes, seed=seed, epoch=epoch, draw="crop", count=2) * free).astype(np.int64)
        flip = np.zeros(len(key_hashes), dtype=np.bool_)
        if self.config.flip:
            flip = uniforms(key_hashes, seed=seed, epoch=epoch, draw="flip")[:, 0] < 0.5
        return ImageDraws(top=corner[:, 0], left=corner[:, 1], flip=flip)

    def forward(self, images: Tensor, draws: ImageDraws | None) -> Tensor:
        """Return the views; without draws the centre, never mirrored.

        The input is never written to; where nothing changes it is returned itself.
        Raises: ValueError for images that are not on the canvas, or draws of another batch.
        """
        if images.ndim == 5:
            of_frames = None if draws is None else draws.repeated(images.shape[1])
            frames: Tensor = self(images.flatten(0, 1), of_frames)
            return frames.view(*images.shape[:2], *frames.shape[1:])
        check_images(images, user="ImageAugmentation")
        if tuple(images.shape[2:]) != (self.canvas_px, self.canvas_px):
            raise ValueError(
                f"ImageAugmentation is set for a canvas of {self.canvas_px} px; "
                f"got images {list(images.shape)}; resize them to data.canvas_px"
            )
        if draws is None:
            first = (self.canvas_px - self.view_px) // 2
            last = first + self.view_px
            return images[:, :, first:last, first:last].contiguous()
        if not len(draws.top) == len(draws.left) == len(draws.flip) == len(images):
            raise ValueError(
                f"ImageAugmentation got {len(images)} images but draws for {len(draws.top)}; "
                "draw for the same batch"
            )
        views = self._crop(images, draws)
        if not draws.flip.any():
            return views
        flip = to_device(torch.from_numpy(draws.flip), images.device)
        return torch.where(flip[:, None, None, None], views.flip(3), views)

    def _crop(self, images: Tensor, draws: ImageDraws) -> Tensor:
        if self.view_px == self.canvas_px:
            return images
        windows = images.unfold(2, self.view_px, 1).unfold(3, self.view_px, 1)  # a view: every possible crop
        samples = torch.arange(len(images), device=images.device)
        top = to_device(torch.from_numpy(draws.top), images.device)
        left = to_device(torch.from_numpy(draws.left), images.device)
        return windows[samples, :, top, left].contiguous()
