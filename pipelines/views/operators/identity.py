"""The image itself."""

import torch
from torch import Tensor

from pipelines.views.operators.base import Operator
from raytrain.config.operators import IdentityConfig


class Identity(Operator):
    """The image as floats, 3 channels in 0..1."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__(config)
        self.channels = 3
        self.value_range = (0.0, 1.0)

    def transform(self, images: Tensor) -> Tensor:
        """Return bytes / 255, f32[B, 3, H, W]."""
        return unit_interval(images)


def unit_interval(images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return bytes / 255 as floats in 0..1, contiguous, of the same shape."""
    return images.to(dtype, memory_format=torch.contiguous_format).div_(255)
