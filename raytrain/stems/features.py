"""What the LSTM is told of an event: polarity, stamps, place in its receptive field."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.views.events import Events
from raytrain.config.stems import MatrixLstmConfig
from raytrain.stems.fields import Fields, Geometry

TINY_US = 1e-8
DELAY_TINY_US = 1e-6
DELAY_UNIT_US = 1e3


@dataclass(frozen=True, kw_only=True)
class Spans:
    """First and last stamp of segments that the events lie in, one after the other."""

    segment: Tensor
    """i64[N], never falling"""
    first: Tensor
    """i64[segments], us"""
    last: Tensor

    def along(self, stamps: Tensor, event: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the stamps of some events from 0 to 1 over their segments; all equal: 0."""
        segment = self.segment[event]
        passed = (stamps - self.first[segment]).to(dtype)
        return passed / ((self.last - self.first).to(dtype) + TINY_US)[segment]


def spans_of_bins(events: Events, bin_of: Tensor, bins: int) -> Spans:
    """Return first and last stamps of the events of each bin; a bin without events has none to ask for."""
    segment = events.sample * bins + bin_of
    counts = torch.bincount(segment, minlength=len(events) * bins)
    ends = counts.cumsum(0)
    limit = max(0, events.num_events - 1)
    first, last = (ends - counts).clamp(max=limit), (ends - 1).clamp(0, limit)
    stamps = events.t if events.num_events else events.t.new_zeros(1)
    return Spans(segment=segment, first=stamps[first], last=stamps[last])


def bins_of(events: Events, span: Spans, bins: int) -> Tensor:
    """Return the bin of time of each event, i64[N]: equal parts of the recording."""
    sample = events.sample
    lengths = (span.last - span.first).clamp(min=1)
    numbers = (events.t - span.first[sample]) * bins // lengths[sample]
    return numbers.clamp(0, bins - 1)


def num_features(config: MatrixLstmConfig) -> int:
    """Return F: polarity, stamp over the recording, place in a field of several pixels, time."""
    return 2 + config.abs_ts + 2 * (config.field_px > 1)


def features_of(
    events: Events,
    fields: Fields,
    *,
    config: MatrixLstmConfig,
    geometry: Geometry,
    recording: Spans,
    bins: Spans,
    before: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """Return the features of each entry, f[M, F], in the reference's order.

    `before`: stamp of the last event of each field in an earlier part of the recording, i64[R], -1: none.
    """
    event = fields.event
    stamps = events.t[event]
    columns = [events.p[event].to(dtype)]
    if config.abs_ts:
        columns.append(recording.along(stamps, event, dtype))
    if config.field_px > 1:
        columns += _places(events, fields, geometry, dtype)
    if config.time == "ts":
        columns.append(bins.along(stamps, event, dtype))
    elif config.time == "ts_max":
        columns.append(stamps.to(dtype) / (bins.last.to(dtype) + TINY_US)[bins.segment[event]])
    else:
        delays = _delays(stamps, fields, before).to(dtype)
        if config.time == "delay":
            columns.append(delays / DELAY_UNIT_US)
        else:
            longest = torch.segment_reduce(delays, "max", lengths=fields.lengths, unsafe=True, initial=0.0)
            columns.append(delays / (longest + DELAY_TINY_US)[fields.number])
    return torch.stack(columns, 1)


def _delays(stamps: Tensor, fields: Fields, before: Tensor | None) -> Tensor:
    """Return the time since the field's entry before, in us; 0 for a field's first ever."""
    delays = stamps.diff(prepend=stamps[:1])
    first = stamps[fields.starts]
    delays[fields.starts] = 0 if before is None else torch.where(before < 0, 0, first - before)
    return delays


def _places(events: Events, fields: Fields, geometry: Geometry, dtype: torch.dtype) -> list[Tensor]:
    """Return x and y of each entry from the field's left top corner, 0 .. 1."""
    row = fields.cell // geometry.columns % geometry.rows * geometry.stride_px - geometry.top
    column = fields.cell % geometry.columns * geometry.stride_px - geometry.left
    largest = geometry.field_px - 1
    x = (events.x[fields.event] - column[fields.number]).to(dtype) / largest
    y = (events.y[fields.event] - row[fields.number]).to(dtype) / largest
    return [x, y]
