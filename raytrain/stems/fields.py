"""Events by receptive field: one stable sort of an integer key, for whole batches and all bins of time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from pipelines.views.events import Events


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Receptive fields of K x K pixels every S pixels; where padding is uneven, left and top get more."""

    width: int
    """of the sensor, in px"""
    height: int
    field_px: int = 1
    stride_px: int = 1
    bins: int = 1

    @property
    def columns(self) -> int:
        """Receptive fields in a row: the width over the stride, rounded up."""
        return -(-self.width // self.stride_px)

    @property
    def rows(self) -> int:
        """Rows of receptive fields."""
        return -(-self.height // self.stride_px)

    @property
    def left(self) -> int:
        """Columns of padding on the left."""
        return self._padding(self.columns, self.width)

    @property
    def top(self) -> int:
        """Rows of padding at the top."""
        return self._padding(self.rows, self.height)

    def _padding(self, count: int, size: int) -> int:
        return (max(0, (count - 1) * self.stride_px + self.field_px - size) + 1) // 2


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Events, or entries, of each receptive field that has any, in order of arrival, field after field."""

    event: Tensor
    """i64[M], number of each entry's event; an event in overlapping fields has as many entries"""
    cell: Tensor
    """i64[R], rising: ((sample * bins + bin) * rows + row) * columns + column of each field"""
    lengths: Tensor
    """i64[R], entries of each field, at least 1"""

    @cached_property
    def starts(self) -> Tensor:
        """First entry of each field, i64[R]."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def number(self) -> Tensor:
        """Number 0 .. R - 1 of the field of each entry, i64[M]."""
        numbers = torch.arange(len(self.lengths), device=self.lengths.device)
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.event))


def group(events: Events, bin_of: Tensor | None, geometry: Geometry) -> Fields:
    """Return the events by receptive field; `bin_of` i64[N], bin of time of each event, None: all in one."""
    frame = events.sample if bin_of is None else events.sample * geometry.bins + bin_of
    size = len(events) * geometry.bins * geometry.rows * geometry.columns
    kind = torch.int32 if size < 2**31 else torch.int64  # the narrower the key, the quicker the sort
    if geometry.field_px == 1:
        event = None
        keys = frame.to(kind) * geometry.rows + events.y
        keys = keys.mul_(geometry.columns).add_(events.x)
    else:
        event, rows, columns = _covering(events, geometry)
        keys = ((frame[event] * geometry.rows + rows) * geometry.columns + columns).to(kind)
    keys, order = torch.sort(keys, stable=True)
    cells, lengths = torch.unique_consecutive(keys, return_counts=True)
    return Fields(event=order if event is None else event[order], cell=cells.long(), lengths=lengths)


def _covering(events: Events, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Return event, row and column of each entry: every field that an event lies in, events in order."""
    size, stride = geometry.field_px, geometry.stride_px
    back = torch.arange(-(-size // stride), device=events.device)  # fields that a pixel may lie in, a side

    def along(places: Tensor, padding: int, count: int) -> tuple[Tensor, Tensor]:
        padded = (places + padding)[:, None]
        numbers = padded // stride - back
        return numbers, (numbers >= 0) & (numbers < count) & (padded - numbers * stride < size)

    rows, row_holds = along(events.y.long(), geometry.top, geometry.rows)
    columns, column_holds = along(events.x.long(), geometry.left, geometry.columns)
    event, row, column = (row_holds[:, :, None] & column_holds[:, None, :]).nonzero(as_tuple=True)
    return event, rows[event, row], columns[event, column]


def bound(fields: Fields, max_events: int, keep: Literal["spread", "recent"]) -> Fields:
    """Return the fields with at most `max_events` entries each.

    recent: the newest. spread: the newest, then every step-th older one, step being count // (max_events -
    1), and the very first: as the reference takes them, so that a little above the bound they are the newest
    and the first.
    """
    if not max_events or not len(fields.cell) or int(fields.lengths.max()) <= max_events:
        return fields
    lengths = fields.lengths[fields.number]
    age = fields.starts[fields.number] + lengths - 1
    age -= torch.arange(len(age), device=age.device)  # 0: the newest
    if keep == "recent":
        kept = age < max_events
    else:
        step = lengths // (max_events - 1)
        picked = (age % step.clamp(min=1) == 0) & (age // step.clamp(min=1) < max_events - 1)
        kept = (lengths <= max_events) | picked | (age == lengths - 1)
    return Fields(event=fields.event[kept], cell=fields.cell, lengths=fields.lengths.clamp(max=max_events))
