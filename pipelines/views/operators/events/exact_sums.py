"""Sums of fractions that depend neither on the order of the terms nor on the device: multiples of 2^-k."""

import torch
from torch import Tensor

NUM_BITS = 62
"""of a sum, without sign"""


def scales(bounds: Tensor) -> Tensor:
    """Return the powers of two f64[...] that terms are multiplied by: as fine as sums up to i64 bounds allow.

    A term is rounded by at most bound * 2^-62.
    """
    _, num_bits = torch.frexp(bounds.double())
    # Shifted, not raised: a power in floating point may miss the power of two on some devices.
    return torch.ones_like(bounds).bitwise_left_shift((NUM_BITS - num_bits).clamp(min=0)).double()


def whole_terms(values: Tensor, scale: Tensor) -> Tensor:
    """Return f64 values as whole numbers of 1 / scale, i64."""
    return (values * scale).round_().to(torch.int64)


def fractions(sums: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return i64 sums of whole terms as float32 or float64: sums / scale."""
    return sums.to(dtype).mul_(scale.reciprocal().to(dtype))
