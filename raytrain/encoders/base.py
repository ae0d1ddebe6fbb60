"""What every encoder is: a stack of layers, each with a representation that an objective may read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytrain.layers import Convolution3x3, GlobalBatchNorm2d, max_pool_relu

LossAt = Literal["after_pool", "before_pool"]
Grid = tuple[int, int, int] | torch.Size
"""(R, B, Q): rows, images and columns of what the encoder sees as one sample each"""


class EncoderLayer(nn.Module, ABC):
    """One layer of an encoder: maps in, the map of its representation and the next layer's input out."""

    @abstractmethod
    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""


class Layer(EncoderLayer):
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

    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""
        return 2 * size_px if self.pool else size_px


class Encoder(nn.Module):
    """A trainable network that exposes its layers in order, bottom first."""

    stem: nn.Module | None
    """trainable front end that turns events into what the first layer reads, trained with that layer"""

    channels: tuple[int, ...]
    """channels of each layer's representation"""
    smallest_px: int
    """side of the smallest input that the layers leave at least one pixel of"""
    smallest_frames: int = 1
    """length of the shortest clip that the layers leave at least one step of time of"""
    memory_format = torch.channels_last
    """the quicker layout of its maps"""

    def __init__(self, layers: Sequence[EncoderLayer], *, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.stem = None
        self.channels = channels
        self.smallest_px = 1
        for layer in reversed(layers):
            self.smallest_px = layer.smallest_input(self.smallest_px)

    def forward(self, patches: Tensor, watch: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """Return the map that carries the last layer's representation of patches [N, C, p, p].

        `watch` is shown each layer's number and the map that carries its representation.
        """
        maps, representation_map = patches, patches
        for index, layer in enumerate(self.layers):
            representation_map, maps = layer(maps)
            if watch is not None:
                watch(index, representation_map)
        return representation_map

    def layer_parameters(self, index: int) -> list[nn.Parameter]:
        """Return what a loss on one layer alone trains: its parameters, the first layer's with the stem's."""
        stem = [] if index or self.stem is None else list(self.stem.parameters())
        return [*self.layers[index].parameters(), *stem]

    def representation(self, maps: Tensor, grid: Grid) -> Tensor:
        """Return a layer's representation f[R, B, Q, C], float32 or wider, of its map [R B Q, C, h, w]."""
        return mean_over_pixels(maps).view(*grid, maps.shape[1])

    def num_cells(self, views: Tensor) -> int:
        """Return R * Q of the last layer's representation of views [R, B, Q, ...]."""
        return views.shape[0] * views.shape[2]

    def rows(self, views: Tensor) -> tuple[int, ...]:
        """Return R of each layer's representation of views [R, B, Q, ...], bottom first."""
        return (views.shape[0],) * len(self.channels)


def mean_over_pixels(maps: Tensor) -> Tensor:
    """Return the mean over the pixels in float32 or wider: [N, C, h, w] -> [N, C]."""
    return maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))
