"""Pieces that encoders and objectives share: convolution, pooling, norm over ranks, keyed initial values."""

from raytrain.layers.conv import Convolution3x3
from raytrain.layers.initial import keyed_initial_values
from raytrain.layers.norm import GlobalBatchNorm2d
from raytrain.layers.pool import max_pool_relu

__all__ = ["Convolution3x3", "GlobalBatchNorm2d", "keyed_initial_values", "max_pool_relu"]
