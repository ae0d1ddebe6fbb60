"""Binary frames: had the pixel an event in this span, alone or as the bits of a number."""

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.places import polarity_places, spans
from raytrain.config.operators import BinaryFramesConfig


class BinaryFrames(EventOperator):
    """num_frames maps of each polarity in 0..1, each of num_bits spans: sum of bit_i 2^i / (2^num_bits - 1).

    With one bit plain frames of 0 and 1. Source: Barchid et al. 2022 (Bina-Rep); the newest span is the
    highest bit.
    """

    def __init__(self, config: BinaryFramesConfig) -> None:
        super().__init__(config)
        self.num_frames, self.num_bits, self.split = config.num_frames, config.num_bits, config.split
        self.channels = 2 * config.num_frames
        self.value_range = (0.0, 1.0)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the frames [B, 2 num_frames, H, W]."""
        num_spans = self.num_frames * self.num_bits
        span = spans(events, num_spans, split=self.split)
        places = polarity_places(events, span, num_spans=num_spans)
        shape = (len(events), self.channels, self.num_bits, events.height, events.width)
        bits = torch.zeros(shape, dtype=torch.uint8, device=events.device)
        bits.view(-1).index_fill_(0, places, 1)
        numbers = bits[:, :, 0].to(torch.int32)
        for place in range(1, self.num_bits):
            numbers.add_(bits[:, :, place], alpha=2**place)
        return numbers.to(dtype).div_(2**self.num_bits - 1)
