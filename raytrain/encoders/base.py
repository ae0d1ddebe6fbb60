"""What every encoder is: a stack of layers, each with a representation that an objective may read."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytrain.layers import Convolution3x3, GlobalBatchNorm2d, max_pool_relu

LossAt = Literal["after_pool", "before_pool"]


class Layer(nn.Module):
    """Convolution 3 x 3 with bias, batch norm where asked for, ReLU, max pool where asked for."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        pool: bool,
        batch_norm: bool = False,
        loss_at: LossAt = "after_pool",
    ) -> None:
        super().__init__()
        self.conv = Convolution3x3(in_channels, channels)
        self.norm = GlobalBatchNorm2d(channels) if batch_norm else None
        self.pool = pool
        self.loss_at = loss_at

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map that carries the representation and the next layer's input.

        `maps` is [N, C, h, w], one entry a patch; both results have the layer's own channels, and h // 2, w
        // 2 pixels after the pool.
        """
        activity = self.conv(maps)
        if self.norm is not None:
            activity = self.norm(activity)
        if self.pool and self.loss_at == "after_pool":
            pooled = max_pool_relu(activity)
            return pooled, pooled
        activity = activity.relu_()  # in place: neither convolution nor norm reads its output again
        return activity, F.max_pool2d(activity, 2) if self.pool else activity


class Encoder(nn.Module):
    """A trainable network that exposes its layers in order, bottom first."""

    channels: tuple[int, ...]
    """channels of each layer's representation"""

    def __init__(self, layers: Sequence[Layer], *, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.channels = channels

    def forward(self, patches: Tensor, watch: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """Return the last layer's representation of patches [N, C, p, p]: f32[N, channels].

        `watch` is shown each layer's number and the map that carries its representation.
        """
        maps, representation_map = patches, patches
        for index, layer in enumerate(self.layers):
            representation_map, maps = layer(maps)
            if watch is not None:
                watch(index, representation_map)
        return mean_over_pixels(representation_map)


def mean_over_pixels(maps: Tensor) -> Tensor:
    """Return the mean over the pixels in float32 or wider: [N, C, h, w] -> [N, C]."""
    return maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))
