"""Pieces shared by encoders and objectives: pooling, batch norm over all ranks, keyed initial values."""

from raytrain.layers.initial import keyed_initial_values
from raytrain.layers.norm import GlobalBatchNorm2d
from raytrain.layers.pool import max_pool_relu

__all__ = ["GlobalBatchNorm2d", "keyed_initial_values", "max_pool_relu"]
