"""From a batch's bytes to what an encoder sees: augmentation, operator, standardiser, cut.

A clip's frames go through augmentation and operator one by one, all frames of a clip with the same draws.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.augmentations.image import ImageAugmentation, ImageDraws
from pipelines.cuts import build_cut
from pipelines.events import Events
from pipelines.operators import build_operator
from pipelines.operators.events import build_event_operator
from pipelines.randomness import UInt64s
from pipelines.standardise import Standardiser
from raytrain.config.cuts import CutConfig
from raytrain.config.operators import AnyOperatorConfig, EventOperatorConfig
from raytrain.config.run import AugmentationConfig

MAX_MAPS_BYTES = 64 << 20  # of an operator's output at a time, beside the whole: its work space is several


class Operated(nn.Module):
    """Augmentation, then operator: u8[B, 3, H, W] -> f32[B, C, h, w], or with a T behind both B.

    Of events the operator alone: B recordings -> f32[B, C, h, w].
    """

    def __init__(
        self, augmentation: AugmentationConfig, operator: AnyOperatorConfig, *, canvas_px: int
    ) -> None:
        super().__init__()
        self.operator: nn.Module
        self.augmentation: ImageAugmentation | None = None
        if isinstance(operator, EventOperatorConfig):
            self.operator = build_event_operator(operator)
        else:
            self.augmentation = ImageAugmentation(augmentation, canvas_px=canvas_px)
            self.operator = build_operator(operator)

    def draw(self, key_hashes: UInt64s, *, seed: int, epoch: int) -> ImageDraws | None:
        """Return each sample's draws: a function of seed, epoch and sample alone; None for events."""
        if self.augmentation is None:
            return None
        return self.augmentation.draw(key_hashes, seed=seed, epoch=epoch)

    def augmented(self, pixels: Tensor, draws: ImageDraws | None) -> Tensor:
        """Return the augmented bytes; without draws the centre, never mirrored."""
        assert self.augmentation is not None, "events are not augmented"
        if pixels.ndim == 4:
            views: Tensor = self.augmentation(pixels, draws)
            return views
        num_clips, num_frames = pixels.shape[:2]
        of_frames = None if draws is None else _repeated(draws, num_frames)
        flat: Tensor = self.augmentation(pixels.flatten(0, 1), of_frames)
        return flat.view(num_clips, num_frames, *flat.shape[1:])

    @torch.no_grad()
    def forward(self, pixels: Tensor | Events, draws: ImageDraws | None) -> Tensor:
        """Return the operator's maps of the augmented pixels, or of events."""
        if isinstance(pixels, Events):
            surfaces: Tensor = self.operator(pixels)
            return surfaces
        views = self.augmented(pixels, draws)
        if views.ndim == 4:
            maps: Tensor = self.operator(views)
            return maps
        frames = views.flatten(0, 1)
        channels = self.operator.channels
        assert isinstance(channels, int)
        size = frames.shape[-1] * frames.shape[-2] * 4 * channels
        made = torch.cat(
            [self.operator(part) for part in torch.split(frames, max(1, MAX_MAPS_BYTES // size))]
        )
        return made.view(*views.shape[:2], *made.shape[1:])


class Views(nn.Module):
    """All that stands before an encoder."""

    def __init__(
        self,
        *,
        augmentation: AugmentationConfig,
        operator: AnyOperatorConfig,
        cut: CutConfig,
        canvas_px: int,
        standardiser: Standardiser,
    ) -> None:
        super().__init__()
        self.operated = Operated(augmentation, operator, canvas_px=canvas_px)
        self.standardiser = standardiser
        self.cut = build_cut(cut, operator)

    @torch.no_grad()
    def forward(self, pixels: Tensor | Events, draws: ImageDraws | None) -> Tensor:
        """Return what the encoder sees, f32[R, B, Q, ...]: rows, images and columns of its samples."""
        return self.of_maps(self.operated(pixels, draws))

    @torch.no_grad()
    def of_maps(self, maps: Tensor) -> Tensor:
        """Return what the encoder sees of the operator's maps."""
        flat: Tensor = self.standardiser(maps.flatten(0, -4))
        views: Tensor = self.cut(flat.view(maps.shape))
        return views


def _repeated(draws: ImageDraws, times: int) -> ImageDraws:
    """Return the draws of clips as those of their frames."""
    return replace(
        draws,
        **{name: np.repeat(getattr(draws, name), times) for name in ("top", "left", "flip")},
    )
