"""Events per polarity, pixel and bin."""

import math

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.places import polarity_places, spans
from raytrain.config.operators import CountConfig


class Count(EventOperator):
    """How many events a pixel had, 2 num_bins channels, in 32-bit whole numbers.

    Every event is counted: the last stamp belongs to the last bin, a remainder is shared out. tonic's ToFrame
    drops both, and its counts wrap at 32,768.
    """

    def __init__(self, config: CountConfig) -> None:
        super().__init__(config)
        self.num_bins, self.split, self.scale = config.num_bins, config.split, config.scale
        self.channels = 2 * config.num_bins
        self.value_range = (0.0, 1.0 if config.scale == "maximum" else math.inf)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the counts [B, 2 num_bins, H, W], scaled."""
        shape = (len(events), self.channels, events.height, events.width)
        span = spans(events, self.num_bins, split=self.split)
        places = polarity_places(events, span, num_spans=self.num_bins)
        counts = torch.zeros(shape, dtype=torch.int32, device=events.device)
        counts.view(-1).index_add_(0, places, torch.ones_like(places, dtype=torch.int32))
        maps = counts.to(dtype)
        if self.scale == "log":
            return maps.log1p_()
        if self.scale == "maximum":
            return maps.div_(maps.amax((1, 2, 3), keepdim=True).clamp_(min=1))
        return maps
