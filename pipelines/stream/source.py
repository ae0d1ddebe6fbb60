"""The stream: order + manifest -> chunks, each a pure function of its number. No ray, no torch.

The manifest stays here, with whoever hands out the work: a chunk's task carries its own rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk
from pipelines.forms.clips import ClipPlanner
from pipelines.order.permutation import epoch_order
from pipelines.order.plan import ChunkPlan
from pipelines.storage.manifest import Manifest
from pipelines.stream.decoder import CachedChunk, ChunkTask, DecodeCount, Decoder
from raytrain.config.data import DataConfig

Int64s = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamSource:
    """Which samples stand in which chunk, and how they are decoded."""

    manifest: Manifest
    rows: Int64s
    """manifest rows of the split, in manifest order"""
    data: DataConfig
    seed: int
    plan: ChunkPlan
    clips: ClipPlanner | None = None
    """which frames are decoded; None: the samples are images"""
    name: str = "main"
    shuffle: bool = True
    cache_folder: str = ""
    """where data.cache = disk keeps the chunks of epoch 0"""
    on_decoded: Callable[[DecodeCount], None] | None = None

    @cached_property
    def decoder(self) -> Decoder:
        """What makes the chunks; sent once to every process that decodes."""
        return Decoder(
            root=self.manifest.root,
            modality=self.manifest.modality,
            data=self.data,
            sensor=(self.manifest.sensor_width, self.manifest.sensor_height),
            clips=self.clips,
            name=self.name,
            cache_folder=self.cache_folder,
            on_decoded=self.on_decoded,
        )

    def rows_at(self, epoch: int, positions: Int64s) -> Int64s:
        """Return the manifest row at each position of an epoch."""
        if not self.shuffle:
            return self.rows[positions]
        return self.rows[epoch_order(self.plan.num_samples, self.seed, epoch).samples_at(positions)]

    def first_rows(self, count: int) -> Int64s:
        """Return the manifest rows of the first positions of epoch 0."""
        return self.rows_at(0, np.arange(min(count, self.plan.num_samples)))

    def task(self, number: int) -> ChunkTask:
        """Return a chunk's rows, and where the samples of a later epoch are kept of epoch 0."""
        epoch, positions = self.plan.positions(number)
        rows = self.rows_at(epoch, positions)
        chunks, offsets = self._cached_places(rows) if epoch and self.data.cache != "none" else (None, None)
        return ChunkTask(
            rows=self.manifest.rows(rows),
            positions=positions,
            number=number,
            epoch=epoch,
            cached_chunks=chunks,
            cached_offsets=offsets,
        )

    def chunk(self, number: int, cached: CachedChunk | None = None) -> Chunk:
        """Make a chunk here: decode its samples, or take them from cached chunks of epoch 0.

        Raises:
            StorageError: storage failed for longer than the retries.
        """
        return self.decoder.make(self.task(number), cached)

    def decode_rows(self, rows: Int64s, *, epoch: int = 0) -> Chunk:
        """Decode manifest rows into a chunk; a bad sample's place is filled by the nearest good one."""
        task = ChunkTask(rows=self.manifest.rows(rows), positions=np.arange(len(rows)), epoch=epoch)
        return self.decoder.make(task)

    def _cached_places(self, rows: Int64s) -> tuple[Int64s, Int64s]:
        """Return (chunk of epoch 0, offset) of each manifest row."""
        samples = np.searchsorted(self.rows, rows)  # rows are in manifest order
        if self.shuffle:
            samples = epoch_order(self.plan.num_samples, self.seed, 0).positions_of(samples)
        return self.plan.locate(0, samples)


def first_samples(
    manifest: Manifest, data: DataConfig, *, seed: int, count: int, clips: ClipPlanner | None = None
) -> Chunk:
    """Decode the first positions of epoch 0 of the pretrain split, apart from any stream."""
    rows = manifest.indices("pretrain")
    plan = ChunkPlan(num_samples=len(rows), chunk_samples=2)
    source = StreamSource(manifest=manifest, rows=rows, data=data, seed=seed, plan=plan, clips=clips)
    return source.decode_rows(source.first_rows(count))


def row_chunks(rows: Int64s, size: int) -> Iterable[Int64s]:
    """Yield consecutive pieces of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
