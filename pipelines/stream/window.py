"""The rule of the broadcast, without Ray: which chunk to make next, which to keep, who holds the others up.

The producer always makes the smallest missing chunk inside [floor, floor + size), floor being the slowest
reader's cursor. Going back for a reader that died, a restart of the producer and a late reader are then not
special cases.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
STARTING, DECODING, REPLAYING = "starting", "decoding", "replaying"


@dataclass
class _Reader:
    cursor: int | None = None
    """the next chunk that it wants; None: not heard of yet"""
    heard: float = 0.0
    done: bool = False


@dataclass
class Window(Generic[T]):
    """Chunks between the slowest reader and the front, bounded in number.

    Args:
        readers: all readers that must be heard of before anything is dropped.
        size: chunks that may be held at a time, at least 2.
        num_chunks: chunks of the whole run.
        lease_s: a reader unheard of for longer no longer holds the others.
        unused: says of a chunk that nobody will read it, so that it is not made.
    """

    readers: Iterable[str]
    size: int
    num_chunks: int
    lease_s: float
    clock: Callable[[], float] = time.monotonic
    unused: Callable[[int], bool] = lambda chunk: False
    _readers: dict[str, _Reader] = field(init=False)
    _chunks: dict[int, T] = field(init=False, default_factory=dict)
    _front: int = field(init=False, default=0)
    """one past the largest chunk ever made here"""

    def __post_init__(self) -> None:
        now = self.clock()
        self._readers = {name: _Reader(heard=now) for name in self.readers}
        self.size = max(2, self.size)

    def hear(self, reader: str, cursor: int) -> None:
        """Note that a reader wants chunk `cursor` and no earlier one."""
        entry = self._readers.setdefault(reader, _Reader())
        entry.cursor, entry.heard, entry.done = cursor, self.clock(), False
        self._drop()

    def hint(self, reader: str, cursor: int) -> None:
        """Note where a reader that has not called yet will start; its lease starts with its first call."""
        self._readers[reader].cursor = cursor

    def expect(self, first_contact_s: float) -> None:
        """Give readers that have not called yet this long to start, instead of the lease."""
        for entry in self._readers.values():
            entry.heard = self.clock() + first_contact_s - self.lease_s

    def finish(self, reader: str) -> None:
        """Note that a reader wants nothing more."""
        self._readers.setdefault(reader, _Reader()).done = True
        self._drop()

    def was_lost(self, reader: str) -> bool:
        """Return whether a reader has outlived its lease, so that the others have moved on."""
        entry = self._readers.get(reader)
        return entry is not None and not entry.done and self.clock() - entry.heard > self.lease_s

    @property
    def floor(self) -> int | None:
        """The slowest reader's cursor; None while a reader has not been heard of."""
        cursors = [entry.cursor for name, entry in self._readers.items() if self._counts(name)]
        if not cursors or any(cursor is None for cursor in cursors):
            return None
        return min(cursor for cursor in cursors if cursor is not None)

    @property
    def finished(self) -> bool:
        """Whether every reader is done."""
        return all(entry.done for entry in self._readers.values())

    def next_missing(self) -> int | None:
        """Return the chunk to make now, or None when there is nothing to make or no room.

        Within reach of the slowest reader a chunk is always made; beyond that only while there is room.
        """
        floor = self.floor
        if floor is None:
            return None
        end = min(floor + self.size, self.num_chunks)
        missing = next(iter(self._missing(floor, end)), None)
        if missing is None or missing <= floor + 1 or len(self._chunks) < self.size:
            return missing
        return None

    def upcoming(self, count: int) -> list[int]:
        """Return the chunks to make from the next missing one on, in order, beyond the window too."""
        first = self.next_missing()
        if first is None:
            return []
        return list(self._missing(first, min(self.num_chunks, first + count)))

    def put(self, chunk: int, value: T) -> None:
        """Hold a made chunk; when the window is over-full the farthest one is given up."""
        floor = self.floor
        if floor is not None and chunk < floor:
            return
        self._chunks[chunk] = value
        self._front = max(self._front, chunk + 1)
        while len(self._chunks) > self.size:
            del self._chunks[max(self._chunks)]

    def forget(self, chunk: int) -> None:
        """Drop a chunk, so that it is made again."""
        self._chunks.pop(chunk, None)

    def get(self, chunk: int) -> T | None:
        """Return a held chunk."""
        return self._chunks.get(chunk)

    def cause(self, reader: str, chunk: int) -> str:
        """Say what a reader that waits for a chunk is waiting for: a slower reader's name, or the making."""
        floor = self.floor
        if floor is None:
            return STARTING
        if chunk < floor + self.size and chunk >= self._front:
            return DECODING
        if chunk < floor + 2:
            return REPLAYING
        slowest = [n for n, entry in self._readers.items() if self._counts(n) and entry.cursor == floor]
        return slowest[0] if slowest and slowest[0] != reader else REPLAYING

    def _missing(self, first: int, end: int) -> Iterator[int]:
        return (chunk for chunk in range(first, end) if chunk not in self._chunks and not self.unused(chunk))

    def _counts(self, reader: str) -> bool:
        entry = self._readers[reader]
        return not entry.done and self.clock() - entry.heard <= self.lease_s

    def _drop(self) -> None:
        floor = self.floor
        if floor is None:
            return
        for chunk in [chunk for chunk in self._chunks if chunk < floor]:
            del self._chunks[chunk]
