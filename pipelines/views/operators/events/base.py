"""What every event surface shares: stated channels and range, checked input, no gradient."""

from typing import Any

import torch
from torch import Tensor, nn

from pipelines.views.events import Events
from pipelines.views.operators.events.checks import checked


class EventOperator(nn.Module):
    """A fixed transform of event recordings: B recordings -> f32[B, channels, H', W'].

    Without parameters, deterministic, never differentiated, full precision under autocast. A recording's maps
    do not depend on the rest of its batch, bit for bit: counts, newest stamps and minima are whole numbers,
    and sums of fractions are added as whole numbers too (`exact_sums`). Stamps count from the recording's
    first. A recording without events gives zeros.

    The darker polarity's channels come first, then as many of the brighter one, where `num_polarities` is 2.
    """

    channels: int
    """output channels"""
    value_range: tuple[float, float]
    """lowest and highest value the output can take"""
    num_polarities: int = 2
    """1: the polarities meet in one channel, with a sign"""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, events: Events) -> Tensor:
        """Return the surfaces f32[B, channels, H', W'] of B recordings.

        Raises: ValueError where columns, offsets, pixels, polarities or the order of stamps are wrong.
        """
        events = checked(events, user=type(self).__name__)
        with torch.no_grad(), torch.autocast(events.device.type, enabled=False):
            return self.transform(events, torch.float32)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the surfaces of checked events as float32 or float64."""
        raise NotImplementedError

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the maps of a sensor of `height` x `width` px."""
        return height, width
