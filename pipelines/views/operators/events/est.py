"""Event spike tensor with a fixed kernel."""

import math

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.trilinear import trilinear
from raytrain.config.operators import EstConfig


class Est(EventOperator):
    """Sum of f max(0, 1 - |b - (B - 1) th|) per polarity; 2 num_bins channels.

    th = (t - first) / (last - first), the measure f is th or 1. Source: Gehrig et al. 2019, trilinear kernel.
    The published code divides t by the largest t without taking the first off, and rounds places of large
    batches in float32: not so here.
    """

    def __init__(self, config: EstConfig) -> None:
        super().__init__(config)
        self.num_bins = config.num_bins
        self.timed = config.measure == "time"
        self.channels = 2 * config.num_bins
        self.value_range = (0.0, math.inf)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the spike tensor [B, 2 num_bins, H, W]."""
        ones = torch.ones(events.num_events, dtype=torch.float64, device=events.device)
        return trilinear(
            events,
            None if self.timed else ones,
            num_bins=self.num_bins,
            first_bin=events.p.long() * self.num_bins,
            num_channels=self.channels,
            dtype=dtype,
        )
