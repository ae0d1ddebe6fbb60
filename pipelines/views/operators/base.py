"""What every fixed operator shares: stated channels and range, checked input, no gradient."""

from typing import Any

import torch
from torch import Tensor, nn


class Operator(nn.Module):
    """A fixed transform of images: u8[B, 3, H, W] -> f32[B, channels, H', W'].

    Without parameters, deterministic, never differentiated, full precision under autocast; a sample's maps do
    not depend on the rest of its batch (dtcwt: to rounding).
    """

    channels: int
    """output channels"""
    value_range: tuple[float, float]
    """lowest and highest value the output can take"""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, images: Tensor) -> Tensor:
        """Return the operator's maps f32[B, channels, H', W'] of u8[B, 3, H, W].

        Raises: ValueError for anything but a batch of RGB bytes.
        """
        check_images(images, user=type(self).__name__)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self.transform(images)

    def transform(self, images: Tensor) -> Tensor:
        """Return the maps of checked images."""
        raise NotImplementedError


def check_images(images: Tensor, *, user: str) -> None:
    """Raise ValueError unless images are u8[B, 3, H, W] with at least one pixel each."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(
            f"{user} takes images uint8[B, 3, H, W]; got {str(images.dtype).removeprefix('torch.')}"
            f"{list(images.shape)}; stack the samples and leave them as bytes"
        )
