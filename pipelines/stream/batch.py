"""The batch: what one step of a pathway reads, copied out of the stream's shared memory."""

from collections.abc import Callable
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
        pin: page-locked buffers, for copies to a GPU.
    """

    def __init__(
        self, plan: BatchPlan, take: Callable[[int], Chunk], *, request: str = "", pin: bool = False
    ) -> None:
        self._plan, self._take, self._request, self._pin = plan, take, request, pin
        self._open: dict[int, Chunk] = {}

    def read(self, cursor: Cursor, staged: str = "") -> Batch:
        """Return the batch at a cursor; `staged` names an output of the stage that is wanted too."""
        positions = self._plan.positions(cursor)
        numbers, offsets = self._plan.chunks.locate(cursor.epoch, positions)
        needed = [int(number) for number in np.unique(numbers)]
        self._open = {number: chunk for number, chunk in self._open.items() if number >= needed[0]}
        for number in needed:
            if number not in self._open:
                self._open[number] = self._take(number)
        parts = [(self._open[number], np.flatnonzero(numbers == number)) for number in needed]
        return self._copy(cursor, positions, [(chunk, here, offsets[here]) for chunk, here in parts], staged)

    def _copy(
        self, cursor: Cursor, positions: NDArray[np.int64], parts: list[tuple[Chunk, Any, Any]], staged: str
    ) -> Batch:
        def gather(name: str) -> NDArray[Any]:
            first = getattr(parts[0][0], name)
            joined = np.empty((len(positions), *first.shape[1:]), first.dtype)
            for chunk, here, offsets in parts:
                joined[here] = getattr(chunk, name)[offsets]
            return joined

        def gather_tensor(arrays: list[NDArray[Any]]) -> Tensor:
            joined = self._buffer((len(positions), *arrays[0].shape[1:]), arrays[0].dtype)
            target = joined.numpy()
            for array, (_, here, offsets) in zip(arrays, parts, strict=True):
                target[here] = array[offsets]
            return joined

        keys = [""] * len(positions)
        for chunk, here, offsets in parts:
            for place, offset in zip(here, offsets, strict=True):
                keys[place] = chunk.keys[offset]
        common: dict[str, Any] = {
            "epoch": cursor.epoch,
            "step": cursor.step,
            "keys": keys,
            "positions": positions,
            **{name: gather(name) for name in ("key_hashes", "valid", "groups")},
            **{
                name: gather_tensor([getattr(chunk, name) for chunk, *_ in parts])
                for name in ("labels", "factors", "label_sets")
            },
        }
        if self._request == EVENTS:
            return EventBatch(**common, events=self._events(len(positions), parts))
        if self._request:
            return ClipBatch(**common, **self._clips(len(positions), parts))
        operated = {staged: gather_tensor([chunk.operated[staged] for chunk, *_ in parts])} if staged else {}
        images = gather_tensor([chunk.images for chunk, *_ in parts])
        return ImageBatch(**common, images=images, operated=operated)

    def _clips(self, num_samples: int, parts: list[tuple[Chunk, Any, Any]]) -> dict[str, Any]:
        """Return the frames that the request takes of each sample, and the motion where it is known."""
        frames = self._buffer((num_samples, *clip_shape(parts[0][0], self._request)), np.dtype(np.uint8))
        motions = np.zeros((num_samples, 2), np.int64)
        target, known = frames.numpy(), False
        for chunk, here, offsets in parts:
            for place, offset in zip(here, offsets, strict=True):
                copy_clip(chunk, int(offset), self._request, target[place])
                motion = motion_of(chunk, int(offset), self._request)
                if motion is not None:
                    known, motions[place] = True, motion
        return {"frames": frames, "motion": torch.from_numpy(motions) if known else None}

    def _events(self, num_samples: int, parts: list[tuple[Chunk, Any, Any]]) -> Events:
        places: list[tuple[Chunk, int]] = [(parts[0][0], 0)] * num_samples
        for chunk, here, offsets in parts:
            for place, offset in zip(here, offsets, strict=True):
                places[place] = (chunk, int(offset))
        return join_events(places, pin=self._pin)

    def _buffer(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        like = torch.from_numpy(np.empty(0, dtype))
        return torch.empty(shape, dtype=like.dtype, pin_memory=self._pin)
