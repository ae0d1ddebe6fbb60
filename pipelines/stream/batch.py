"""The batch: what one step of a pathway reads, copied out of the stream's shared memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.forms.chunk import Chunk
from pipelines.forms.randomness import hash_sequence
from pipelines.modalities import modality_of
from pipelines.modalities.base import gather
from pipelines.modalities.parts import Part, num_samples
from pipelines.order.plan import BatchPlan, Cursor
from pipelines.stream.buffers import Buffers, FreshBuffers
from pipelines.stream.stage import staged_name
from pipelines.views.events import Events
from raytrain.config.pathway import PathwayConfig


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
    pixels: Tensor | Events
    """what the samples show: u8[B, 3, H, W], u8[B, T, 3, H, W] or recordings of events"""
    labels: Tensor
    """i64[B]; -1: none"""
    factors: Tensor
    """f32[B, F]; F = 0 where the data set has none"""
    label_sets: Tensor = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.uint8))
    """u8[B, L] of 0 and 1; L = 0 where a sample has one class at most"""
    motion: Tensor | None = None
    """i64[B, 2], kind and speed, where the pathway asked for clips of known motion"""
    operated: dict[str, Tensor] = field(default_factory=dict)
    """outputs of operators placed in the stream, by name"""

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


class BatchReader:
    """Cuts a rank's batches out of its lanes' chunks, each copied into memory of its own.

    The copy is needed: chunks are shared memory, and an operation in place would corrupt every other pathway.

    Args:
        plan: which positions this rank reads.
        take: returns a chunk by number; called once for each, in ascending order.
        pathway: what is read of the samples, and whether its operator's output comes from the stream.
        buffers: the memory of batches that are read without naming another.
    """

    def __init__(
        self,
        plan: BatchPlan,
        take: Callable[[int], Chunk],
        pathway: PathwayConfig,
        *,
        buffers: Buffers | None = None,
    ) -> None:
        self.plan = plan
        self._take, self._kind = take, modality_of(pathway)
        self._request, self._staged = self._kind.request(pathway), staged_name(pathway)
        self._buffers = FreshBuffers() if buffers is None else buffers
        self._open: dict[int, Chunk] = {}

    def read(self, cursor: Cursor, *, buffers: Buffers | None = None) -> Batch:
        """Return the batch at a cursor."""
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
        batch = self._copy(cursor, positions, parts, self._buffers if buffers is None else buffers)
        for number, part in zip(needed, parts, strict=True):
            if part.offsets[-1] + 1 == len(part.chunk):  # read to its end: its shared memory is let go
                del self._open[number]
        return batch

    def _copy(
        self, cursor: Cursor, positions: NDArray[np.int64], parts: list[Part], buffers: Buffers
    ) -> Batch:
        room = buffers.take
        joined = self._kind.join(parts, self._request, room)
        moved: dict[str, Any] = {
            name: gather(name, [getattr(part.chunk, name) for part in parts], parts, room)
            for name in ("labels", "factors", "label_sets")
        }
        operated = {
            name: gather(name, [part.chunk.operated[name] for part in parts], parts, room)
            for name in ([self._staged] if self._staged else [])
        }
        kept: dict[str, Any] = {name: _array(name, parts) for name in ("key_hashes", "valid", "groups")}
        return Batch(
            epoch=cursor.epoch,
            step=cursor.step,
            keys=_keys(parts),
            positions=positions,
            pixels=joined.pixels,
            motion=joined.motion,
            operated=operated,
            **kept,
            **moved,
        )


def _keys(parts: Sequence[Part]) -> list[str]:
    keys = [""] * num_samples(parts)
    for part in parts:
        part.copy_list(part.chunk.keys, keys)
    return keys


def _array(name: str, parts: Sequence[Part]) -> NDArray[Any]:
    """Return a column that stays on the host."""
    first = getattr(parts[0].chunk, name)
    joined = np.empty((num_samples(parts), *first.shape[1:]), first.dtype)
    for part in parts:
        part.copy(getattr(part.chunk, name), joined)
    return joined
