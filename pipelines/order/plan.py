"""Which position stands where: lanes, chunks and batches as pure functions of numbers.

Position n of epoch e is perm(seed, e)[n], see `pipelines.order.permutation`. Batch g is positions
[g B, (g + 1) B), or what `EventLimits` says. Position n lies in lane (n div 2) mod V; a chunk is L
consecutive positions of one lane; chunks are numbered through all epochs, first by place, then by lane.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import ConfigError

Int64s = NDArray[np.int64]

CHUNK_BYTES, LEAST_SAMPLES, CHUNKS_A_LANE = 32 * 2**20, 64, 16
"""of a chunk whose size nobody has set, see `default_chunk_samples`"""


@dataclass(frozen=True, order=True)
class Cursor:
    """The stream's whole state: the epoch and the next batch in it."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """How one epoch's positions are cut into lanes and chunks."""

    num_samples: int
    chunk_samples: int
    """L; even, so that pairs stay together"""
    num_lanes: int = 1

    def __post_init__(self) -> None:
        if self.chunk_samples < 2 or self.chunk_samples % 2:
            raise ValueError(f"chunk_samples is {self.chunk_samples}; it must be even and at least 2")

    @property
    def places(self) -> int:
        """Chunks of one lane in one epoch."""
        pairs = -(-self.num_samples // 2)
        return -(-2 * -(-pairs // self.num_lanes) // self.chunk_samples)

    @property
    def chunks_per_epoch(self) -> int:
        """Chunks of all lanes in one epoch."""
        return self.places * self.num_lanes

    def positions(self, chunk: int) -> tuple[int, Int64s]:
        """Return (epoch, positions i64[<= L]) of a chunk; the last chunk of a lane may be short or empty."""
        epoch, rest = divmod(chunk, self.chunks_per_epoch)
        place, lane = divmod(rest, self.num_lanes)
        within = np.arange(place * self.chunk_samples, (place + 1) * self.chunk_samples)
        positions = (within // 2 * self.num_lanes + lane) * 2 + within % 2
        return epoch, positions[positions < self.num_samples]

    def first_position(self, chunk: int) -> int:
        """Return the first position of a chunk, without making the others."""
        place, lane = divmod(chunk % self.chunks_per_epoch, self.num_lanes)
        return (place * self.chunk_samples // 2 * self.num_lanes + lane) * 2

    def locate(self, epoch: int, positions: Int64s) -> tuple[Int64s, Int64s]:
        """Return (chunk, offset in the chunk) of each position of an epoch."""
        pairs = positions // 2
        lanes = pairs % self.num_lanes
        places, offsets = np.divmod(pairs // self.num_lanes * 2 + positions % 2, self.chunk_samples)
        return (epoch * self.places + places) * self.num_lanes + lanes, offsets


class BatchLimits(Protocol):
    """Where the batches of each epoch begin and end, one behind the other from position 0 on."""

    def num_steps(self, epoch: int) -> int:
        """Return the batches of an epoch, at least 1."""

    def num_used(self, epoch: int) -> int:
        """Return the positions of an epoch that its batches hold; the rest, at its end, is left out."""

    def steps_before(self, epoch: int) -> int:
        """Return the batches of all epochs before one."""

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a batch that is counted through all epochs."""

    def span(self, epoch: int, step: int) -> tuple[int, int]:
        """Return a batch's first position, and the one behind its last."""


@dataclass(frozen=True, kw_only=True)
class SampleLimits:
    """Batches of B samples each; the last N mod B positions of an epoch are left out."""

    num_samples: int
    batch_size: int

    def num_steps(self, epoch: int) -> int:
        """Return N div B."""
        return self.num_samples // self.batch_size

    def num_used(self, epoch: int) -> int:
        """Return B (N div B)."""
        return self.num_steps(epoch) * self.batch_size

    def steps_before(self, epoch: int) -> int:
        """Return the batches of all epochs before one."""
        return epoch * self.num_steps(epoch)

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a batch that is counted through all epochs."""
        return step // self.num_steps(0)

    def span(self, epoch: int, step: int) -> tuple[int, int]:
        """Return g B and (g + 1) B."""
        return step * self.batch_size, (step + 1) * self.batch_size


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Which positions a rank reads at each step."""

    chunks: ChunkPlan
    batch_size: int
    """B: samples of a batch over all ranks; the most of one where `limits` say more"""
    rank: int = 0
    num_workers: int = 1
    limits: BatchLimits | None = None
    """where batches end that are bounded by something else too"""

    def __post_init__(self) -> None:
        if self.batch_size > self.chunks.num_samples:
            raise ConfigError(
                f"training.batch_size {self.batch_size} is larger than the {self.chunks.num_samples} samples "
                f"of the pretrain split; use at most {self.chunks.num_samples}"
            )

    @cached_property
    def _limits(self) -> BatchLimits:
        if self.limits is not None:
            return self.limits
        return SampleLimits(num_samples=self.chunks.num_samples, batch_size=self.batch_size)

    def num_steps(self, epoch: int) -> int:
        """Return the batches of an epoch."""
        return self._limits.num_steps(epoch)

    def steps_before(self, epoch: int) -> int:
        """Return the batches of all epochs before one: of E epochs in all, for `epoch` E."""
        return self._limits.steps_before(epoch)

    def cursor_at(self, step: int) -> Cursor:
        """Return the place of the batch that follows `step` batches of all epochs."""
        epoch = self._limits.epoch_of(step)
        return Cursor(epoch, step - self.steps_before(epoch))

    def positions(self, cursor: Cursor) -> Int64s:
        """Return this rank's positions of a batch, ascending: i64[B / W], or fewer where `limits` say so."""
        batch = np.arange(*self._limits.span(cursor.epoch, cursor.step))
        if self.num_workers == 1:
            return batch
        own: Int64s = batch[(batch // 2 % self.chunks.num_lanes) % self.num_workers == self.rank]
        return own

    def needed_chunks(self, start: Cursor, num_epochs: int) -> Iterator[int]:
        """Yield, ascending, the chunks that this rank reads from a cursor to the end of the last epoch."""
        last = -1
        for cursor in self.cursors(start, num_epochs):
            for chunk in np.unique(self.chunks.locate(cursor.epoch, self.positions(cursor))[0]):
                if chunk > last:
                    last = int(chunk)
                    yield last

    def cursors(self, start: Cursor, num_epochs: int) -> Iterator[Cursor]:
        """Yield the batches from a cursor to the end of the last epoch."""
        cursor = start
        while cursor.epoch < num_epochs:
            if cursor.step < self.num_steps(cursor.epoch):
                yield cursor
            cursor = self.after(cursor)

    def num_used(self, epoch: int) -> int:
        """Return the positions of an epoch that training reads; the rest, at its end, is left out."""
        return self._limits.num_used(epoch)

    def after(self, cursor: Cursor) -> Cursor:
        """Return the cursor one batch later."""
        if cursor.step + 1 >= self.num_steps(cursor.epoch):
            return Cursor(cursor.epoch + 1, 0)
        return Cursor(cursor.epoch, cursor.step + 1)


def chunk_samples(sample_bytes: int, *, chunk_mib: float, num_samples: int, num_lanes: int) -> int:
    """Return L for chunks of at most about `chunk_mib`: even, and the chunks of a lane of about one length.

    Of one length, so that the positions that training leaves out do not make a chunk that nobody reads.

    Args:
        chunk_mib: 0: as `default_chunk_samples` says.
    """
    lane = -(-num_samples // num_lanes)
    fitting = int(chunk_mib * 2**20 / max(1, sample_bytes))
    most = max(2, fitting) if chunk_mib else default_chunk_samples(sample_bytes, lane)
    length = -(-lane // -(-lane // most))
    return length + length % 2


def default_chunk_samples(sample_bytes: int, lane_samples: int) -> int:
    """Return the most samples of a chunk where nobody has set its size.

    A block costs the broadcast and each reader some 12 ms of CPU, whatever is in it: so a chunk is as large
    as CHUNK_BYTES. Of a small data set it is the CHUNKS_A_LANE-th part of a lane, that several tasks may
    decode at a time, but not less than LEAST_SAMPLES.
    """
    part = max(LEAST_SAMPLES, -(-lane_samples // CHUNKS_A_LANE))
    return max(2, min(CHUNK_BYTES // max(1, sample_bytes), part))
