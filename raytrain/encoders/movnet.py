"""movnet, the 3-D network of CLAPP's video experiments, and what an encoder of volumes is."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytrain.config.encoders import MovnetConfig
from raytrain.encoders.base import Encoder, EncoderLayer, Grid
from raytrain.layers import GlobalBatchNorm3d

POOL, POOL_STRIDE = 3, 2


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a layer walks over time and space; over time its windows do not overlap."""

    frames: int = 1
    """length of the kernel in time, and its stride"""
    size: int = 3
    """side of the kernel, in pixels"""
    stride: int = 1
    padding: int = 1
    """in space alone"""
    pool: bool = False

    def steps(self, num_frames: int) -> int:
        """Return how many steps of time the layer makes of some frames."""
        return num_frames // self.frames

    def side(self, size_px: int) -> int:
        """Return the side of the layer's map of a square input."""
        side = (size_px + 2 * self.padding - self.size) // self.stride + 1
        return (side - POOL) // POOL_STRIDE + 1 if self.pool else side

    def smallest_input(self, side: int) -> int:
        """Return the side of the smallest input that a map of this side comes from."""
        before_pool = (side - 1) * POOL_STRIDE + POOL if self.pool else side
        return (before_pool - 1) * self.stride + self.size - 2 * self.padding


PLAN = (
    Geometry(size=7, stride=2, padding=0, pool=True),
    Geometry(size=5, stride=2, pool=True),
    Geometry(),
    Geometry(frames=3),
    Geometry(frames=3, pool=True),
)


class VolumeLayer(EncoderLayer):
    """3-D convolution with bias, ReLU, batch norm where asked for, max pool 3 x 3 in space where asked for.

    Kernels are drawn from a normal distribution of variance 2 / fan out, biases start at 0.
    """

    def __init__(self, in_channels: int, channels: int, *, geometry: Geometry, batch_norm: bool) -> None:
        super().__init__()
        self.geometry = geometry
        frames, size, stride = geometry.frames, geometry.size, geometry.stride
        self.conv = nn.Conv3d(
            in_channels,
            channels,
            (frames, size, size),
            stride=(frames, stride, stride),
            padding=(0, geometry.padding, geometry.padding),
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)
        self.norm = GlobalBatchNorm3d(channels) if batch_norm else None

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map that carries the representation and the next layer's input, here the same.

        `maps` is [B, C, T, h, w]; the result has the layer's own channels, steps of time and pixels.
        """
        activity = self.conv(maps).relu_()  # in place: the convolution does not read its output again
        if self.norm is not None:
            activity = self.norm(activity)
        if self.geometry.pool:
            activity = F.max_pool3d(activity, (1, POOL, POOL), stride=(1, POOL_STRIDE, POOL_STRIDE))
        return activity, activity

    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""
        return self.geometry.smallest_input(size_px)


class VolumeEncoder(Encoder):
    """An encoder of volumes [B, C, T, H, W]: steps of time are the rows of its representations.

    Pixels are not averaged away: a step of time has as many vectors as its map has pixels.
    """

    memory_format = torch.channels_last_3d

    def __init__(self, layers: list[VolumeLayer], *, channels: tuple[int, ...]) -> None:
        super().__init__(layers, channels=channels)
        self._geometries = tuple(layer.geometry for layer in layers)
        for geometry in self._geometries:
            self.smallest_frames *= geometry.frames

    def representation(self, maps: Tensor, grid: Grid) -> Tensor:
        """Return f[T', B, Y * X, C], float32 or wider, of a layer's map [B, C, T', Y, X]; grid (1, B, 1)."""
        wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
        return wide.permute(2, 0, 3, 4, 1).flatten(2, 3).contiguous()

    def steps(self, num_frames: int) -> tuple[int, ...]:
        """Return the steps of time of each layer, bottom first, of a clip of some frames."""
        steps = [num_frames]
        for geometry in self._geometries:
            steps.append(geometry.steps(steps[-1]))
        return tuple(steps[1:])

    def rows(self, views: Tensor) -> tuple[int, ...]:
        """Return the steps of time of each layer, bottom first, of views [1, B, 1, C, T, H, W]."""
        return self.steps(views.shape[4])

    def num_cells(self, views: Tensor) -> int:
        """Return R * Q, steps times pixels, of the last layer for views [1, B, 1, C, T, H, W]."""
        sides = list(views.shape[5:])
        for geometry in self._geometries:
            sides = [geometry.side(side) for side in sides]
        return self.rows(views)[-1] * sides[0] * sides[1]


def build_movnet(config: MovnetConfig, *, in_channels: int) -> VolumeEncoder:
    """Return 96 M, 256 M, 512, 512, 512 M (M: max pool), times `config.width`; time falls to a ninth.

    16 frames of 120 x 120 pixels give 512 channels x 1 step x 2 x 2 pixels = 2,048 features.

    Source: the video network of Illing, Ventura, Bellec, Gerstner 2021, "Local plasticity rules can learn
    deep representations using self-supervised contrastive predictions", which the decomposed encoders
    train on motion; batch norm after the ReLU, as there.
    """
    inputs = (in_channels, *config.channels[:-1])
    layers = [
        VolumeLayer(before, after, geometry=geometry, batch_norm=config.batch_norm)
        for before, after, geometry in zip(inputs, config.channels, PLAN, strict=True)
    ]
    return VolumeEncoder(layers, channels=config.channels)
