"""The batch: what one step of a pathway reads, copied out of the stream's shared memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.forms.chunk import Chunk
from pipelines.forms.clip_columns import clip_shape, copy_clip, motion_of
from pipelines.forms.randomness import hash_sequence
from pipelines.order.plan import BatchPlan, Cursor
from pipelines.stream.buffers import Buffers, FreshBuffers
from pipelines.stream.parts import Part
from pipelines.views.events import Events, join_events

EVENTS = "events"
"""the request of pathways that read recordings"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A rank's share of one batch, in ascending position order: one entry a sample in everything."""

    epoch: int
    step: int
    """number of the batch in its epoch"""
    keys: list[str]
    key_hashes: NDArray[np.uint64]
    positions: NDArray[np.int64]
    valid: NDArray[np.bool_]
    """False where a quarantined sample's place was filled by a neighbour"""
    groups: NDArray[np.int64]
    labels: Tensor
    """i64[B]; -1: none"""
    factors: Tensor
    """f32[B, F]; F = 0 where the data set has none"""
    label_sets: Tensor = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.uint8))
    """u8[B, L] of 0 and 1; L = 0 where a sample has one class at most"""
    motion: Tensor | None = None
    """i64[B, 2], kind and speed, where the pathway asked for clips of known motion"""

    def __post_init__(self) -> None:
        if len(self.label_sets) != len(self.keys):
            object.__setattr__(self, "label_sets", torch.zeros((len(self.keys), 0), dtype=torch.uint8))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sequence_hash(self) -> str:
        """Which sample stands at which position, 16 hex digits."""
        return f"{hash_sequence(self.key_hashes, self.positions):016x}"

    @property
    def pixels(self) -> Tensor | Events:
        """What the samples show: u8[B, ..., 3, H, W], or recordings of events."""
        raise NotImplementedError

    @property
    def targets(self) -> Tensor:
        """The classes as they are taught: i64[B], or i64[B, L] of 0 and 1; -1: unknown."""
        if self.label_sets.shape[1] == 0:
            return self.labels
        return torch.where(self.labels[:, None] < 0, -1, self.label_sets.long())

    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors that `to` moves."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            for part in value.values() if isinstance(value, dict) else (value,):
                if isinstance(part, Events):
                    yield from part.tensors()
                elif isinstance(part, Tensor):
                    yield part

    def without_invalid(self) -> Self:
        """Return the batch without the samples that are not valid; where all are, itself."""
        if self.valid.all():
            return self
        places = np.flatnonzero(self.valid)

        def take(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: take(inner) for name, inner in value.items()}
            if isinstance(value, Events):
                return value.take(places)
            if isinstance(value, Tensor):
                return value[torch.from_numpy(places).to(value.device)]
            if isinstance(value, np.ndarray):
                return value[places]
            return [value[place] for place in places] if isinstance(value, list) else value

        return replace(self, **{entry.name: take(getattr(self, entry.name)) for entry in fields(self)})

    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on `device`; on the same device itself."""
        if self.labels.device == device:
            return self

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: move(inner) for name, inner in value.items()}
            return value.to(device, non_blocking=True) if isinstance(value, Tensor | Events) else value

        return replace(self, **{entry.name: move(getattr(self, entry.name)) for entry in fields(self)})


@dataclass(frozen=True, kw_only=True)
class ImageBatch(Batch):
    """A batch of images."""

    images: Tensor
    """u8[B, 3, H, W]"""
    operated: dict[str, Tensor] = field(default_factory=dict)
    """outputs of operators placed in the stream, by name"""

    @property
    def pixels(self) -> Tensor:
        """The images, u8[B, 3, H, W]."""
        return self.images


@dataclass(frozen=True, kw_only=True)
class ClipBatch(Batch):
    """A batch of clips: of each the frames that one pathway asked for."""

    frames: Tensor
    """u8[B, T, 3, H, W]"""

    @property
    def pixels(self) -> Tensor:
        """The frames, u8[B, T, 3, H, W]."""
        return self.frames


@dataclass(frozen=True, kw_only=True)
class EventBatch(Batch):
    """A batch of event recordings, without padding."""

    events: Events

    @property
    def pixels(self) -> Events:
        """The recordings, flat columns and offsets."""
        return self.events


class BatchReader:
    """Cuts a rank's batches out of its lanes' chunks, each copied into memory of its own.

    The copy is needed: chunks are shared memory, and an operation in place would corrupt every other pathway.

    Args:
        plan: which positions this rank reads.
        take: returns a chunk by number; called once for each, in ascending order.
        request: name of the frames that are read of clips; EVENTS: recordings; "": images.
        buffers: the memory of batches that are read without naming another.
    """

    def __init__(
        self,
        plan: BatchPlan,
        take: Callable[[int], Chunk],
        *,
        request: str = "",
        buffers: Buffers | None = None,
    ) -> None:
        self.plan = plan
        self._take, self._request = take, request
        self._buffers = FreshBuffers() if buffers is None else buffers
        self._open: dict[int, Chunk] = {}

    def read(self, cursor: Cursor, staged: str = "", *, buffers: Buffers | None = None) -> Batch:
        """Return the batch at a cursor; `staged` names an output of the stage that is wanted too."""
        positions = self.plan.positions(cursor)
        numbers, offsets = self.plan.chunks.locate(cursor.epoch, positions)
        needed = [int(number) for number in np.unique(numbers)]
        self._open = {number: chunk for number, chunk in self._open.items() if number >= needed[0]}
        parts: list[Part] = []
        for number in needed:
            if number not in self._open:
                self._open[number] = self._take(number)
            here = np.flatnonzero(numbers == number)
            parts.append(Part(self._open[number], here, offsets[here]))
        room = self._buffers if buffers is None else buffers
        batch = _Copy(cursor, positions, parts, self._request, room).batch(staged)
        for number, part in zip(needed, parts, strict=True):
            if part.offsets[-1] + 1 == len(part.chunk):  # read to its end: its shared memory is let go
                del self._open[number]
        return batch


@dataclass(frozen=True)
class _Copy:
    """The copying of one batch."""

    cursor: Cursor
    positions: NDArray[np.int64]
    parts: list[Part]
    request: str
    buffers: Buffers

    def batch(self, staged: str) -> Batch:
        common: dict[str, Any] = {
            "epoch": self.cursor.epoch,
            "step": self.cursor.step,
            "keys": self._keys(),
            "positions": self.positions,
            **{name: self._array(name) for name in ("key_hashes", "valid", "groups")},
            **{
                name: self._tensor(name, [getattr(part.chunk, name) for part in self.parts])
                for name in ("labels", "factors", "label_sets")
            },
        }
        if self.request == EVENTS:
            return EventBatch(**common, events=self._events())
        if self.request:
            return ClipBatch(**common, **self._clips())
        operated = {}
        if staged:
            maps = [part.chunk.operated[staged] for part in self.parts]
            operated = {staged: self._tensor(staged, maps)}
        images = self._tensor("images", [part.chunk.images for part in self.parts])
        return ImageBatch(**common, images=images, operated=operated)

    def _keys(self) -> list[str]:
        keys = [""] * len(self.positions)
        for part in self.parts:
            part.copy_list(part.chunk.keys, keys)
        return keys

    def _array(self, name: str) -> NDArray[Any]:
        """Return a column that stays on the host."""
        first = getattr(self.parts[0].chunk, name)
        joined = np.empty((len(self.positions), *first.shape[1:]), first.dtype)
        for part in self.parts:
            part.copy(getattr(part.chunk, name), joined)
        return joined

    def _tensor(self, name: str, columns: list[NDArray[Any]]) -> Tensor:
        joined = self._room(name, columns[0].shape[1:], columns[0].dtype)
        for part, column in zip(self.parts, columns, strict=True):
            part.copy(column, joined.numpy())
        return joined

    def _clips(self) -> dict[str, Any]:
        """Return the frames that the request takes of each sample, and the motion where it is known."""
        frames = self._room("frames", clip_shape(self.parts[0].chunk, self.request), np.dtype(np.uint8))
        motions = self._room("motion", (2,), np.dtype(np.int64))
        target, moved, known = frames.numpy(), motions.numpy(), False
        for part in self.parts:
            for place, offset in part.items():
                copy_clip(part.chunk, offset, self.request, target[place])
                motion = motion_of(part.chunk, offset, self.request)
                if motion is not None:
                    known, moved[place] = True, motion
        return {"frames": frames, "motion": motions if known else None}

    def _events(self) -> Events:
        places: list[tuple[Chunk, int]] = [(self.parts[0].chunk, 0)] * len(self.positions)
        for part in self.parts:
            for place, offset in part.items():
                places[place] = (part.chunk, offset)
        return join_events(places, room=self.buffers.take)

    def _room(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        like = torch.from_numpy(np.empty(0, dtype))
        return self.buffers.take(name, (len(self.positions), *shape), like.dtype)
