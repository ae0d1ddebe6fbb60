"""Where and when an event falls, in whole numbers: stamps from the first on, spans, cells of a grid."""

import torch
from torch import Tensor

from pipelines.views.events import Events


def relative_stamps(events: Events) -> Tensor:
    """Return each event's stamp from its recording's first, i64[N] in us."""
    return events.t - events.first.index_select(0, events.sample)


def durations(events: Events) -> Tensor:
    """Return last - first stamp of each recording, i64[B] in us; 1 where they are equal, to divide by."""
    return (events.last - events.first).clamp_(min=1)


def spans(events: Events, num_spans: int, *, split: str) -> Tensor:
    """Return the number of the span that each event falls in, i64[N].

    split: time: equal spans of the recording's time, the last one closed; events: equally many, to one.
    """
    if num_spans == 1:
        return torch.zeros(events.num_events, dtype=torch.int64, device=events.device)
    if split == "time":
        part, whole = relative_stamps(events), durations(events).index_select(0, events.sample)
    else:
        starts = events.offsets[:-1].index_select(0, events.sample)
        part = torch.arange(events.num_events, device=events.device).sub_(starts)
        whole = events.counts.index_select(0, events.sample)
    return part.mul_(num_spans).div_(whole, rounding_mode="trunc").clamp_(max=num_spans - 1)


def polarity_places(events: Events, span: Tensor, *, num_spans: int) -> Tensor:
    """Return each event's place in the flat grid [B, 2, num_spans, H, W], i64[N]."""
    channel = (events.p.long() * num_spans).add_(span)
    return places(events, channel, num_channels=2 * num_spans)


def places(events: Events, channel: Tensor, *, num_channels: int) -> Tensor:
    """Return each event's place in the flat grid [B, num_channels, H, W], i64[N].

    In 64-bit whole numbers: float32 rounds beyond 2^24 cells, 32 bits end at 2^31.
    """
    plane = events.sample.mul(num_channels).add_(channel)
    return plane.mul_(events.height).add_(events.y).mul_(events.width).add_(events.x)


def newest_stamps(events: Events, *, num_bins: int = 1) -> Tensor:
    """Return the newest relative stamp i64[B, 2, num_bins, H, W] up to the end of each bin; -1: none yet.

    Bin b of n ends (b + 1) / n into the recording; an event exactly there belongs to it.
    """
    stamps = relative_stamps(events)
    if num_bins == 1:
        span = torch.zeros_like(stamps)
    else:
        whole = durations(events).index_select(0, events.sample)
        span = (stamps * num_bins + whole - 1).div_(whole, rounding_mode="trunc").sub_(1)
        span.clamp_(0, num_bins - 1)
    shape = (len(events), 2, num_bins, events.height, events.width)
    grid = torch.full(shape, -1, dtype=torch.int64, device=events.device)
    places = polarity_places(events, span, num_spans=num_bins)
    grid.view(-1).scatter_reduce_(0, places, stamps, "amax")
    for number in range(1, num_bins):
        torch.maximum(grid[:, :, number], grid[:, :, number - 1], out=grid[:, :, number])
    return grid
