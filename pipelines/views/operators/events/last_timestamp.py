"""The newest stamp of each polarity and pixel."""

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.places import durations, newest_stamps
from raytrain.config.operators import LastTimestampConfig


class LastTimestamp(EventOperator):
    """(t - first) / (last - first) of each pixel's newest event, 2 channels in 0..1; 0: none."""

    def __init__(self, config: LastTimestampConfig) -> None:
        super().__init__(config)
        self.channels = 2
        self.value_range = (0.0, 1.0)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the newest stamps [B, 2, H, W]."""
        newest = newest_stamps(events)[:, :, 0].clamp_(min=0)
        return (newest.double() / durations(events).view(-1, 1, 1, 1)).to(dtype)
