"""The stream: order + manifest -> decoded chunks, each a pure function of its number. No ray, no torch."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.decode.read_image import read_sample
from pipelines.forms import clip_columns, event_columns
from pipelines.forms.chunk import Chunk, Column, Ragged, from_table, to_table
from pipelines.forms.clips import ClipPlanner
from pipelines.forms.quarantine import BadSample
from pipelines.order.plan import ChunkPlan, inverse_permutation, permutation
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import StorageError

Int64s = NDArray[np.int64]
CachedChunk = Callable[[int], Chunk | None]
"""Returns a chunk of epoch 0 when it is cached, else None."""


@dataclass(frozen=True)
class DecodeCount:
    """What the making of one chunk cost, told to `on_decoded`."""

    stream: str
    chunk: int
    decodes: int
    quarantined: list[dict[str, str]]
    counts: dict[str, int] = field(default_factory=dict)
    """how many of its samples were special in some way, see `Chunk.counts`"""


@dataclass(frozen=True)
class Sample:
    """One decoded sample, as the columns of a chunk without their first dimension."""

    columns: dict[str, NDArray[Any]]
    notes: tuple[str, ...] = ()
    """what is counted of it, e.g. `short`"""
    valid: bool = True


@dataclass(frozen=True, kw_only=True)
class StreamSource:
    """Everything that the making of a chunk needs; small enough to be sent to every decode task."""

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
    _storage: list[Storage] = field(default_factory=list, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        """Leave out open files when sent to another process."""
        return {**self.__dict__, "_storage": []}

    @property
    def storage(self) -> Storage:
        """The storage of the manifest's root, opened once a process."""
        if not self._storage:
            self._storage.append(
                Storage(
                    self.manifest.root,
                    read_timeout_s=self.data.read_timeout_s,
                    read_retries=self.data.read_retries,
                )
            )
        return self._storage[0]

    def rows_at(self, epoch: int, positions: Int64s) -> Int64s:
        """Return the manifest row at each position of an epoch."""
        if not self.shuffle:
            return self.rows[positions]
        return self.rows[permutation(self.plan.num_samples, self.seed, epoch)[positions]]

    def first_rows(self, count: int) -> Int64s:
        """Return the manifest rows of the first positions of epoch 0."""
        return self.rows_at(0, np.arange(min(count, self.plan.num_samples)))

    def chunk(self, number: int, cached: CachedChunk | None = None) -> Chunk:
        """Make a chunk: decode its samples, or take them from cached chunks of epoch 0.

        Raises:
            StorageError: storage failed for longer than the retries.
        """
        epoch, positions = self.plan.positions(number)
        if self.cache_folder:
            kept = self._read_kept(number) if epoch == 0 else None
            if kept is not None:
                return kept
            cached = self._read_kept
        made = self.decode_rows(
            self.rows_at(epoch, positions), cached=cached if epoch else None, number=number, epoch=epoch
        )
        made = replace(made, positions=positions)
        if self.cache_folder and epoch == 0:
            self._keep(made)
        return made

    def _kept_path(self, number: int) -> Path:
        return Path(self.cache_folder) / f"{number:08d}.arrow"

    def _read_kept(self, number: int) -> Chunk | None:
        try:
            with pa.memory_map(str(self._kept_path(number))) as file:
                kept = from_table(pa.ipc.open_file(file).read_all())
        except (FileNotFoundError, pa.ArrowInvalid, KeyError):  # KeyError: of an earlier version
            return None
        expected = self.rows_at(0, self.plan.positions(number)[1])
        return kept if np.array_equal(kept.rows, expected) else None

    def _keep(self, chunk: Chunk) -> None:
        path = self._kept_path(chunk.number)
        aside = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            table = to_table(chunk)
            with pa.ipc.new_file(str(aside), table.schema) as file:
                file.write_table(table)
            aside.rename(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise StorageError(
                f"{path}: cached chunk not written: {error.strerror}; free space or set data.cache = none"
            ) from None

    def decode_rows(
        self, rows: Int64s, *, cached: CachedChunk | None = None, number: int = 0, epoch: int = 0
    ) -> Chunk:
        """Decode manifest rows into a chunk; a bad sample's place is filled by the nearest good one."""
        samples: list[Sample | None] = [None] * len(rows)
        blank = partial(self._blank, epoch)
        if cached:
            samples = self._take_cached(rows, cached)
        valid = np.array([sample is not None and sample.valid for sample in samples], np.bool_)
        missing = [place for place, sample in enumerate(samples) if sample is None]
        quarantined: list[dict[str, str]] = []
        for place in missing:
            row = int(rows[place])
            try:
                samples[place] = self._read(row, epoch)
                valid[place] = True
            except BadSample as bad:
                quarantined.append({"key": self.manifest.keys[row], "reason": bad.reason})
        counts = Counter(note for sample in samples if sample is not None for note in sample.notes)
        if self.on_decoded:
            self.on_decoded(DecodeCount(self.name, number, len(missing), quarantined, dict(counts)))
        return Chunk(
            number=number,
            epoch=epoch,
            rows=rows,
            positions=np.arange(len(rows)),
            valid=valid,
            keys=[self.manifest.keys[row] for row in rows],
            key_hashes=self.manifest.key_hashes[rows],
            labels=self.manifest.labels[rows],
            groups=self.manifest.group_ids[rows],
            factors=self.manifest.factors[rows],
            columns=_stack(_filled_from_nearest(samples, valid, blank), blank),
            label_sets=self.manifest.label_sets[rows],
            decodes=len(missing),
            counts=dict(counts),
            quarantined=quarantined,
        )

    def cached_chunks_of(self, number: int) -> Int64s:
        """Return the chunks of epoch 0 that hold a chunk's samples."""
        epoch, positions = self.plan.positions(number)
        return np.unique(self._cached_places(self.rows_at(epoch, positions))[0])

    def _cached_places(self, rows: Int64s) -> tuple[Int64s, Int64s]:
        """Return (chunk of epoch 0, offset) of each manifest row."""
        samples = np.searchsorted(self.rows, rows)  # rows are in manifest order
        if self.shuffle:
            samples = inverse_permutation(self.plan.num_samples, self.seed, 0)[samples]
        return self.plan.locate(0, samples)

    def _take_cached(self, rows: Int64s, cached: CachedChunk) -> list[Sample | None]:
        """Return the images that chunks of epoch 0 hold, None for the others."""
        samples: list[Sample | None] = [None] * len(rows)
        chunks, offsets = self._cached_places(rows)
        for number in np.unique(chunks):
            chunk = cached(int(number))
            if chunk is None:
                continue
            for place in np.flatnonzero(chunks == number):
                offset = offsets[place]
                samples[place] = Sample({"images": chunk.images[offset]}, valid=bool(chunk.valid[offset]))
        return samples

    def _read(self, row: int, epoch: int) -> Sample:
        if self.manifest.modality == "events":
            from pipelines.decode.read_events import read_events

            recording = read_events(self.manifest, row, self.storage, self.data)
            return Sample(event_columns.event_columns(recording))
        if self.clips is None:
            return Sample({"images": read_sample(self.manifest, row, self.storage, self.data)})
        # PyAV and decord are imported where there are clips only.
        from pipelines.decode.read_clip import read_clip

        made = read_clip(self.manifest, row, self.storage, self.data, planner=self.clips, epoch=epoch)
        return Sample(*made)

    def _blank(self, epoch: int) -> Sample:
        """Return a black sample, for a chunk without any good one."""
        size = self.data.canvas_px
        if self.manifest.modality == "events":
            return Sample(
                event_columns.blank_columns(self.manifest.sensor_width, self.manifest.sensor_height)
            )
        if self.clips is None:
            return Sample({"images": np.zeros((3, size, size), np.uint8)})
        return Sample(clip_columns.blank_columns(self.clips, size, epoch=epoch))


def first_samples(
    manifest: Manifest, data: DataConfig, *, seed: int, count: int, clips: ClipPlanner | None = None
) -> Chunk:
    """Decode the first positions of epoch 0 of the pretrain split, apart from any stream."""
    rows = manifest.indices("pretrain")
    plan = ChunkPlan(num_samples=len(rows), chunk_samples=2)
    source = StreamSource(manifest=manifest, rows=rows, data=data, seed=seed, plan=plan, clips=clips)
    return source.decode_rows(source.first_rows(count))


def _filled_from_nearest(
    samples: list[Sample | None], valid: NDArray[np.bool_], blank: Callable[[], Sample]
) -> list[Sample]:
    """Return the samples with the nearest valid one (of two the earlier) in each invalid place."""
    good = np.flatnonzero(valid)
    filled: list[Sample] = []
    for place in range(len(samples)):
        source = good[np.abs(good - place).argmin()] if len(good) else place
        sample = samples[source] if len(good) else None
        filled.append(blank() if sample is None else sample)
    return filled


def _stack(samples: list[Sample], blank: Callable[[], Sample]) -> dict[str, Column]:
    """Return the samples' columns as those of their chunk, which may be empty."""
    columns: dict[str, Column] = {}
    for name, like in (samples[0] if samples else blank()).columns.items():
        parts = [sample.columns[name] for sample in samples]
        if name in clip_columns.RAGGED or name in event_columns.RAGGED:
            columns[name] = Ragged.of(parts) if parts else Ragged(like[:0], np.zeros(1, np.int64))
        else:
            columns[name] = np.stack(parts) if parts else np.zeros((0, *like.shape), like.dtype)
    return columns


def row_chunks(rows: Int64s, size: int) -> Iterable[Int64s]:
    """Yield consecutive pieces of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
