"""From a batch's bytes to what an encoder sees: augmentation, operator, standardiser, cut.

A clip's frames go through augmentation and operator one by one, all frames of a clip with the same draws.
"""

from typing import overload

import torch
from torch import Tensor, nn

from pipelines.forms.randomness import UInt64s
from pipelines.views.augmentations import Draws, EventAugmentation, ImageAugmentation
from pipelines.views.cuts import build_cut
from pipelines.views.events import Events
from pipelines.views.operators import build_operator
from pipelines.views.operators.events import build_event_operator
from pipelines.views.standardise import Standardiser
from raytrain.config.operators import UNCHANGED, AnyOperatorConfig, EventOperatorConfig
from raytrain.config.pathway import AugmentationConfig, PathwayConfig
from raytrain.config.stems import MatrixLstmConfig, NoStemConfig

MAX_MAPS_BYTES = 64 << 20  # of an operator's output at a time, beside the whole: its work space is several


class Operated(nn.Module):
    """Augmentation, then operator: u8[B, 3, H, W] -> f32[B, C, h, w], or with a T behind both B.

    Of events: B recordings -> f32[B, C, h, w].
    """

    def __init__(
        self, augmentation: AugmentationConfig, operator: AnyOperatorConfig, *, canvas_px: int
    ) -> None:
        super().__init__()
        self.augmentation: ImageAugmentation | EventAugmentation
        self.operator: nn.Module
        if isinstance(operator, EventOperatorConfig):
            self.augmentation = EventAugmentation(augmentation)
            self.operator = nn.Identity() if operator.name in UNCHANGED else build_event_operator(operator)
        else:
            self.augmentation = ImageAugmentation(augmentation, canvas_px=canvas_px)
            self.operator = build_operator(operator)

    def draw(self, key_hashes: UInt64s, *, seed: int, epoch: int) -> Draws:
        """Return each sample's draws: a function of seed, epoch and sample alone."""
        return self.augmentation.draw(key_hashes, seed=seed, epoch=epoch)

    @overload
    def augmented(self, pixels: Tensor, draws: Draws | None) -> Tensor: ...
    @overload
    def augmented(self, pixels: Events, draws: Draws | None) -> Events: ...
    def augmented(self, pixels: Tensor | Events, draws: Draws | None) -> Tensor | Events:
        """Return the augmented bytes or events; without draws the centre, never moved or mirrored."""
        augmented: Tensor | Events = self.augmentation(pixels, draws)
        return augmented

    @torch.no_grad()
    def forward(self, pixels: Tensor | Events, draws: Draws | None) -> Tensor:
        """Return the operator's maps of the augmented pixels or events."""
        augmented = self.augmented(pixels, draws)
        maps: Tensor
        if not isinstance(augmented, Tensor) or augmented.ndim == 4:
            maps = self.operator(augmented)
            return maps
        frames = augmented.flatten(0, 1)
        channels = self.operator.channels
        assert isinstance(channels, int)
        size = frames.shape[-1] * frames.shape[-2] * 4 * channels
        maps = torch.cat(
            [self.operator(part) for part in torch.split(frames, max(1, MAX_MAPS_BYTES // size))]
        )
        return maps.view(*augmented.shape[:2], *maps.shape[1:])


class Views(nn.Module):
    """All that is fixed before an encoder; a stem's events are only augmented, and cut behind the stem."""

    def __init__(self, config: PathwayConfig, *, canvas_px: int, standardiser: Standardiser) -> None:
        super().__init__()
        self.operated = Operated(config.augmentation, config.operator, canvas_px=canvas_px)
        self.standardiser = standardiser
        self.cut = build_cut(
            config.cut,
            num_bins=config.num_bins,
            bins_first=isinstance(config.stem, MatrixLstmConfig),
        )
        self._stemmed = not isinstance(config.stem, NoStemConfig)

    @torch.no_grad()
    def forward(self, pixels: Tensor | Events, draws: Draws | None) -> Tensor | Events:
        """Return what the encoder sees, f32[R, B, Q, ...]: rows, images and columns of its samples.

        Of a pathway with a stem the augmented events, which the stem is to read.
        """
        if self._stemmed:
            return self.operated.augmented(pixels, draws)
        return self.of_maps(self.operated(pixels, draws))

    @torch.no_grad()
    def of_maps(self, maps: Tensor) -> Tensor:
        """Return what the encoder sees of the operator's maps."""
        flat: Tensor = self.standardiser(maps.flatten(0, -4))
        views: Tensor = self.cut(flat.view(maps.shape))
        return views
