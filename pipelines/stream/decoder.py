"""Make a chunk from its samples' rows: what a decode task does. No ray, no torch, no manifest."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk, Column, Ragged
from pipelines.forms.clips import ClipPlanner
from pipelines.forms.quarantine import LATE, BadSample
from pipelines.modalities import MODALITIES
from pipelines.modalities.base import DecodedSample, Modality
from pipelines.storage.patience import PATIENCE
from pipelines.storage.places import Storage
from pipelines.storage.prefetched import PrefetchedStorage
from pipelines.storage.rows import Rows
from pipelines.stream.disk_cache import DiskCache
from raytrain.config.data import DataConfig

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


@dataclass(frozen=True, kw_only=True)
class ChunkTask:
    """One chunk that is to be made: which samples stand in it; all that is sent for it."""

    rows: Rows
    positions: Int64s
    """of the samples in their epoch, i64[n]"""
    number: int = 0
    epoch: int = 0
    cached_chunks: Int64s | None = None
    """the chunk of epoch 0 that holds each sample, i64[n]; None: nothing is kept of epoch 0"""
    cached_offsets: Int64s | None = None
    """its place there, i64[n]"""

    @property
    def needed(self) -> list[int]:
        """The chunks of epoch 0 that hold the samples, ascending; none where nothing is kept."""
        return [] if self.cached_chunks is None else np.unique(self.cached_chunks).tolist()


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """What the tasks of a stream have in common; its size does not depend on the data set's."""

    root: str
    """of the storage that the rows' uris are relative to"""
    modality: str
    data: DataConfig
    sensor: tuple[int, int] = (0, 0)
    clips: ClipPlanner | None = None
    """which frames of clips are decoded"""
    name: str = "main"
    """of the stream"""
    cache_folder: str = ""
    """where data.cache = disk keeps the chunks of epoch 0"""
    on_decoded: Callable[[DecodeCount], None] | None = None
    _storage: list[Storage] = field(default_factory=list, compare=False, repr=False)

    def __getstate__(self) -> dict[str, object]:
        """Leave out open files when sent to another process."""
        return {**self.__dict__, "_storage": []}

    @property
    def storage(self) -> Storage:
        """The storage of the root, opened once a process."""
        if not self._storage:
            timeout_s, retries = self.data.read_timeout_s, self.data.read_retries
            self._storage.append(Storage(self.root, read_timeout_s=timeout_s, read_retries=retries))
        return self._storage[0]

    def make(self, task: ChunkTask, cached: CachedChunk | None = None) -> Chunk:
        """Make a chunk: decode its samples, or take them from cached chunks of epoch 0.

        Raises:
            StorageError: storage failed for longer than the retries, or the disk cache cannot be used.
        """
        disk = DiskCache(self.cache_folder) if self.cache_folder else None
        if disk is None:
            return self._decode(task, cached if task.epoch else None)
        if task.epoch:
            return self._decode(task, disk.read)
        kept = disk.read(task.number)
        if kept is not None and np.array_equal(kept.rows, task.rows.numbers):
            return kept
        made = self._decode(task, None)
        disk.write(made)
        return made

    def _decode(self, task: ChunkTask, cached: CachedChunk | None) -> Chunk:
        """Return the chunk; a bad sample's place is filled by the nearest good one."""
        rows, blank = task.rows, partial(self._blank, task.epoch)
        samples = _take_cached(task, cached)
        valid = np.array([sample is not None and sample.valid for sample in samples], np.bool_)
        missing = [place for place, sample in enumerate(samples) if sample is None]
        quarantined: list[dict[str, str]] = []
        for place, found in self._read_all(task, missing).items():
            if isinstance(found, BadSample):
                quarantined.append({"key": rows.keys[place], "reason": found.reason, "fate": found.fate})
            else:
                samples[place], valid[place] = found, True
        counts = Counter(note for sample in samples if sample is not None for note in sample.notes)
        if self.on_decoded:
            self.on_decoded(DecodeCount(self.name, task.number, len(missing), quarantined, dict(counts)))
        return Chunk(
            number=task.number,
            epoch=task.epoch,
            rows=rows.numbers,
            positions=task.positions,
            valid=valid,
            keys=list(rows.keys),
            key_hashes=rows.key_hashes,
            labels=rows.labels,
            groups=rows.groups,
            factors=rows.factors,
            columns=_stack(_filled_from_nearest(samples, valid, blank), blank, self._kind.ragged),
            label_sets=rows.label_sets,
            decodes=len(missing),
            counts=dict(counts),
            quarantined=quarantined,
        )

    @property
    def _kind(self) -> Modality:
        return MODALITIES[self.modality]

    def _read_all(self, task: ChunkTask, places: list[int]) -> dict[int, DecodedSample | BadSample]:
        """Read samples by their place; those that are missing once more, together, after one pause."""
        rows = {place: task.rows[place] for place in places}
        storage = PrefetchedStorage(self.storage, rows.values())

        def attempt(place: int) -> DecodedSample | BadSample:
            try:
                return self._kind.read(rows[place], storage, self.data, planner=self.clips, epoch=task.epoch)
            except BadSample as bad:
                return bad

        found = {place: attempt(place) for place in places}
        gone = [place for place, one in found.items() if isinstance(one, BadSample) and one.fate == "missing"]
        if gone:
            PATIENCE.pause()
        for place in gone:
            again = attempt(place)
            if isinstance(again, DecodedSample):
                again = replace(again, notes=(*again.notes, LATE))
            found[place] = again
        return found

    def _blank(self, epoch: int) -> DecodedSample:
        """Return a sample that shows nothing, for a chunk without any good one."""
        return self._kind.blank(self.data, sensor=self.sensor, planner=self.clips, epoch=epoch)


def _take_cached(task: ChunkTask, cached: CachedChunk | None) -> list[DecodedSample | None]:
    """Return the samples that chunks of epoch 0 hold, None for the others."""
    samples: list[DecodedSample | None] = [None] * len(task.rows)
    chunks, offsets = task.cached_chunks, task.cached_offsets
    if cached is None or chunks is None or offsets is None:
        return samples
    for number in task.needed:
        chunk = cached(number)
        if chunk is None:
            continue
        places = np.flatnonzero(chunks == number)
        if not _holds(chunk, offsets[places], task.rows.numbers[places]):
            continue  # kept of other chunks: decoded again
        for place, offset in zip(places, offsets[places], strict=True):
            valid = bool(chunk.valid[offset])
            columns = {name: np.asarray(column[offset]) for name, column in chunk.columns.items()}
            samples[place] = DecodedSample(columns, valid=valid)
    return samples


def _holds(chunk: Chunk, offsets: Int64s, numbers: Int64s) -> bool:
    """Return whether a chunk has the rows of these numbers at these offsets."""
    return bool(offsets.max() < len(chunk)) and np.array_equal(chunk.rows[offsets], numbers)


def _filled_from_nearest(
    samples: list[DecodedSample | None], valid: NDArray[np.bool_], blank: Callable[[], DecodedSample]
) -> list[DecodedSample]:
    """Return the samples with the nearest valid one (of two the earlier) in each invalid place."""
    good = np.flatnonzero(valid)
    filled: list[DecodedSample] = []
    for place in range(len(samples)):
        source = place if valid[place] or not len(good) else good[np.abs(good - place).argmin()]
        sample = samples[source] if len(good) else None
        filled.append(blank() if sample is None else sample)
    return filled


def _stack(
    samples: list[DecodedSample], blank: Callable[[], DecodedSample], ragged: tuple[str, ...]
) -> dict[str, Column]:
    """Return the samples' columns as those of their chunk, which may be empty."""
    columns: dict[str, Column] = {}
    for name, like in (samples[0] if samples else blank()).columns.items():
        parts = [sample.columns[name] for sample in samples]
        if name in ragged:
            columns[name] = Ragged.of(parts) if parts else Ragged(like[:0], np.zeros(1, np.int64))
        else:
            columns[name] = np.stack(parts) if parts else np.zeros((0, *like.shape), like.dtype)
    return columns
