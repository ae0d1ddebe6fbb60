"""Event recordings: flat columns of all samples, and where each begins; no padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.forms.chunk import Chunk
from pipelines.forms.event_columns import RAGGED, column_of
from pipelines.forms.recording import Recording, count_picture

_TYPES = {"x": torch.int32, "y": torch.int32, "t": torch.int64, "p": torch.uint8}


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of B samples in a row, in the order of their stamps within each sample.

    Example: sample b has x[offsets[b] : offsets[b + 1]].
    """

    x: Tensor
    """i32[N], column in px, 0 .. width - 1"""
    y: Tensor
    """i32[N], row in px, 0 .. height - 1"""
    t: Tensor
    """i64[N], stamp in microseconds, never falling within a sample"""
    p: Tensor
    """u8[N], polarity: 1 brighter, 0 darker"""
    offsets: Tensor
    """i64[B + 1]"""
    width: int
    """of the sensor, in px"""
    height: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_events(self) -> int:
        """N: events of all samples."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where the columns are."""
        return self.x.device

    @cached_property
    def counts(self) -> Tensor:
        """Events of each sample, i64[B]."""
        return self.offsets.diff()

    @cached_property
    def sample(self) -> Tensor:
        """Number of the sample that each event belongs to, i64[N]."""
        numbers = torch.arange(len(self), device=self.device)
        return torch.repeat_interleave(numbers, self.counts, output_size=self.num_events)

    @cached_property
    def first(self) -> Tensor:
        """First stamp of each sample, i64[B]; 0 where it has no event."""
        return self._stamps(self.offsets[:-1])

    @cached_property
    def last(self) -> Tensor:
        """Last stamp of each sample, i64[B]; 0 where it has no event."""
        return self._stamps(self.offsets[1:] - 1)

    def take(self, samples: NDArray[np.int64]) -> "Events":
        """Return some samples, named in ascending order and once each, in memory of their own."""
        kept = torch.from_numpy(np.isin(np.arange(len(self)), samples)).to(self.device)
        chosen = kept[self.sample]
        columns = {name: getattr(self, name)[chosen] for name in RAGGED}
        offsets = functional.pad(self.counts[kept].cumsum(0), (1, 0))
        return Events(**columns, offsets=offsets, width=self.width, height=self.height)

    def to(self, device: torch.device, *, non_blocking: bool = True) -> "Events":
        """Return the events on `device`; on the same device themselves."""
        if self.device == device:
            return self
        columns = {
            name: getattr(self, name).to(device, non_blocking=non_blocking) for name in ("x", "y", "t", "p")
        }
        offsets = self.offsets.to(device, non_blocking=non_blocking)
        return Events(**columns, offsets=offsets, width=self.width, height=self.height)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the columns and the offsets."""
        return self.x, self.y, self.t, self.p, self.offsets

    def _stamps(self, places: Tensor) -> Tensor:
        if not self.num_events:
            return torch.zeros_like(self.counts)
        stamps = self.t[places.clamp(0, self.num_events - 1)]
        return torch.where(self.counts > 0, stamps, 0)


Room = Callable[[str, tuple[int, ...], torch.dtype], Tensor]
"""gives memory for a tensor by name, shape and type"""


def _new_room(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


def join_events(parts: Sequence[tuple[Chunk, int]], *, room: Room = _new_room) -> Events:
    """Return the recordings of samples, each named by chunk and place, in memory that `room` gives."""
    counts = [len(column_of(chunk, "t")[sample]) for chunk, sample in parts]
    offsets = room("offsets", (len(parts) + 1,), torch.int64)
    offsets[0] = 0
    np.cumsum(counts, out=offsets.numpy()[1:])
    columns: dict[str, torch.Tensor] = {}
    for name in RAGGED:
        joined = room(name, (int(offsets[-1]),), _TYPES[name])
        target, start = joined.numpy(), 0
        for (chunk, sample), count in zip(parts, counts, strict=True):
            target[start : start + count] = column_of(chunk, name)[sample]
            start += count
        columns[name] = joined
    width, height = (int(value) for value in parts[0][0].columns["sensor"][parts[0][1]])
    return Events(**columns, offsets=offsets, width=width, height=height)


def event_pictures(events: Events) -> NDArray[np.uint8]:
    """Return recordings as images u8[B, 3, H, W]: brighter events red, darker ones blue."""
    columns = {name: getattr(events, name).cpu().numpy() for name in RAGGED}
    whole = Recording(**columns, width=events.width, height=events.height)
    ends = events.offsets.tolist()
    return np.stack([count_picture(whole.part(first, last)) for first, last in pairwise(ends)])


def polarities(maps: NDArray[np.float32], num_polarities: int) -> NDArray[np.float32]:
    """Return a surface's sum over its bins: two polarities as colours, one as grey; f32[N, 1 or 3, H, W]."""
    if num_polarities == 1:
        return np.asarray(maps.sum(axis=1, keepdims=True), np.float32)
    darker, brighter = maps.reshape(len(maps), 2, -1, *maps.shape[2:]).sum(axis=2).transpose(1, 0, 2, 3)
    return np.asarray(np.stack([brighter, np.zeros_like(darker), darker], axis=1), np.float32)
