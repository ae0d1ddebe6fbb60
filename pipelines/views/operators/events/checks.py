"""Event columns as the surfaces rely on them, whatever whole-number types they come in."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipelines.views.events import Events

COLUMN_TYPES = {"x": torch.int32, "y": torch.int32, "t": torch.int64, "p": torch.uint8}


def checked(events: Events, *, user: str) -> Events:
    """Return the events with columns i32, i32, i64, u8, or i64 where they were of other types.

    True and false are polarities 1 and 0; the caller's columns stay as they are. Waits for the device once.

    Raises: ValueError for fractions, columns of different lengths, offsets that do not share out the events,
        pixels outside the sensor, polarities other than 0 and 1, stamps that fall within a recording.
    """
    if events.width < 1 or events.height < 1:
        raise ValueError(f"{user}: the sensor is {events.width} x {events.height} px; state its size")
    changed: dict[str, Any] = {}
    for name, wanted in COLUMN_TYPES.items():
        column = getattr(events, name)
        _check_column(column, len(events.x), name=name, user=user)
        if column.dtype != wanted:  # never narrowed: a value that wraps would pass as a right one
            changed[name] = column.to(torch.int64)
    offsets = events.offsets
    if offsets.ndim != 1 or len(offsets) < 1 or offsets.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{user}: offsets are {_said(offsets)}; give int64[B + 1]")
    if offsets.dtype != torch.int64:
        changed["offsets"] = offsets.long()
    if changed:
        events = replace(events, **changed)
    _check_values(events, user=user)
    return events


def _check_column(column: Tensor, length: int, *, name: str, user: str) -> None:
    whole = not (column.is_floating_point() or column.is_complex())
    if column.ndim != 1 or not whole or (column.dtype == torch.bool and name != "p"):
        raise ValueError(f"{user}: column {name} is {_said(column)}; give whole numbers [N], not padded")
    if len(column) != length:
        raise ValueError(f"{user}: column {name} has {len(column)} events, x has {length}")


def _check_values(events: Events, *, user: str) -> None:
    num_events, offsets = events.num_events, events.offsets
    facts = [offsets[0], offsets[-1], (offsets[1:] < offsets[:-1]).sum()]
    if num_events:
        for column in (events.x, events.y, events.p):
            facts.extend(bound.long() for bound in column.aminmax())
        falls = torch.zeros(num_events + 1, dtype=torch.bool, device=events.device)
        torch.lt(events.t[1:], events.t[:-1], out=falls[1:num_events])
        falls[offsets.clamp(0, num_events)] = False  # between two recordings stamps may fall
        facts.append(falls.sum())
    first, last, num_backward, *rest = torch.stack(facts).tolist()
    if first != 0 or last != num_events or num_backward:
        raise ValueError(
            f"{user}: offsets run from {first} to {last} for {num_events} events; they must rise 0..N"
        )
    if not rest:
        return
    for name, side, low, high in (
        ("x", events.width, rest[0], rest[1]),
        ("y", events.height, rest[2], rest[3]),
        ("p", 2, rest[4], rest[5]),
    ):
        if low < 0 or high >= side:
            raise ValueError(f"{user}: {name} runs from {low} to {high}; it must lie in 0..{side - 1}")
    if rest[6]:
        raise ValueError(f"{user}: stamps fall {rest[6]} times within a recording; sort its events by t")


def _said(column: Tensor) -> str:
    return f"{str(column.dtype).removeprefix('torch.')}{list(column.shape)}"
