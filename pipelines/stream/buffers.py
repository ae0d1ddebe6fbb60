"""Memory that batches are copied into: new for each, or kept and written again."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Buffers(Protocol):
    """Gives a batch its memory."""

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return room for a tensor of the batch, uninitialised."""


@dataclass(frozen=True)
class FreshBuffers:
    """New memory for every batch: it may be kept as long as anybody likes."""

    pin: bool = False
    """page-locked, for copies to a GPU that do not block; torch keeps it for the next once it is copied"""

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return room for a tensor of the batch, uninitialised."""
        return torch.empty(shape, dtype=dtype, pin_memory=self.pin)


@dataclass(frozen=True)
class KeptBuffers:
    """One batch's memory, which the next batch overwrites: getting it anew takes as long as the copy."""

    _kept: dict[str, Tensor] = field(default_factory=dict)
    """flat, u8[bytes], by name"""
    _views: dict[str, Tensor] = field(default_factory=dict)
    """as they were given last: most batches want the same"""

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return room for a tensor of the batch; what it held before is lost once it is written to."""
        view = self._views.get(name)
        if view is not None and view.shape == shape and view.dtype == dtype:
            return view
        size = math.prod(shape) * dtype.itemsize
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            # A quarter more: the next ragged batch may be a little longer.
            kept = self._kept[name] = torch.empty(size + size // 4, dtype=torch.uint8)
        self._views[name] = view = kept[:size].view(dtype).view(shape)
        return view


def buffers_for(device: torch.device) -> Buffers:
    """Return memory for batches of which one at a time is used, on their way to a device."""
    return FreshBuffers(pin=True) if device.type == "cuda" else KeptBuffers()
