"""Exponentially fading memory of each pixel's newest event."""

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.places import newest_stamps
from raytrain.config.operators import TimeSurfaceConfig


class TimeSurface(EventOperator):
    """exp(-(t_b - newest) / tau) at the ends t_b of num_bins equal spans, 2 num_bins channels; 0: none yet.

    Source: the surface of HOTS (Lagorce et al. 2016), read at given instants for the whole sensor.
    """

    def __init__(self, config: TimeSurfaceConfig) -> None:
        super().__init__(config)
        self.num_bins, self.tau_us = config.num_bins, config.tau_us
        self.channels = 2 * config.num_bins
        self.value_range = (0.0, 1.0)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the faded memories [B, 2 num_bins, H, W]."""
        newest = newest_stamps(events, num_bins=self.num_bins)
        numbers = torch.arange(1, self.num_bins + 1, device=events.device)
        length = (events.last - events.first)[:, None] * numbers  # in us / num_bins, exact
        ends = length.double().div_(self.num_bins).view(len(events), 1, self.num_bins, 1, 1)
        faded = (newest - ends).div_(self.tau_us).to(dtype).exp_()
        return faded.masked_fill_(newest < 0, 0).flatten(1, 2)
