"""Pieces that encoders and objectives share: convolution, pooling, norm over ranks, keyed initial values."""

from raytrain.layers.conv import Convolution3x3
from raytrain.layers.initial import keyed_initial_values
from raytrain.layers.norm import GlobalBatchNorm, GlobalBatchNorm2d, GlobalBatchNorm3d
from raytrain.layers.pool import max_pool_relu

__all__ = [
    "Convolution3x3",
    "GlobalBatchNorm",
    "GlobalBatchNorm2d",
    "GlobalBatchNorm3d",
    "keyed_initial_values",
    "max_pool_relu",
]
