"""A reader's end of the broadcast: a pathway rank's chunks, fetched ahead by a thread."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions

from pipelines.forms.chunk import Chunk, from_table
from raytrain.errors import ClusterError, raise_described

SLICE_S = 0.5  # a waiting reader asks again this often: its sign of life
BLOCK_S = 60.0  # a block that is promised and not here by then is lost, whatever Ray still hopes for
RESTART_S = 300.0  # a broadcast that is gone for longer does not come back
LOST = (ray.exceptions.ObjectLostError, ray.exceptions.GetTimeoutError)
RETRIED = (
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.ActorDiedError,
    ray.exceptions.OwnerDiedError,
    *LOST,
)


@dataclass(frozen=True)
class Reply:
    """What a reader gets: a block, or why not yet."""

    block: list[Any] = field(default_factory=list)
    cause: str = ""
    stop: bool = False
    error: tuple[str, str] | None = None


class ChunkReader:
    """A pathway rank's end of the broadcast: a thread fetches its chunks ahead, a call hands out the next."""

    def __init__(
        self, actor: Any, stream: str, reader: str, chunks: Iterator[int], *, ahead: int = 2
    ) -> None:
        self._actor, self._stream, self._reader = actor, stream, reader
        self._queue: queue.Queue[tuple[int, Chunk] | BaseException] = queue.Queue(maxsize=ahead)
        self.causes: dict[str, float] = {}
        """seconds that the fetching waited, by cause"""
        self.stop_requested = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(chunks,), daemon=True)
        self._thread.start()

    def __call__(self, number: int) -> Chunk:
        """Return the next chunk, which must be `number`.

        Raises:
            StorageError, DataError, ClusterError: whatever ended the stream.
        """
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        if item[0] != number:
            raise RuntimeError(f"{self._reader} asked for chunk {number} and got {item[0]}")
        return item[1]

    def abandon(self) -> None:
        """Stop fetching without a word, so that the stream waits for the one that comes back."""
        self._closed = True

    def close(self) -> None:
        """Tell the actor that nothing more is wanted."""
        self._closed = True
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.finish.remote(self._stream, self._reader), timeout=10)

    def _run(self, chunks: Iterator[int]) -> None:
        number = -1
        try:
            for number in chunks:
                item = self._fetch(number)
                while not self._closed:
                    try:
                        self._queue.put((number, item), timeout=SLICE_S)
                        break
                    except queue.Full:
                        self._ping(number)
                if self._closed:
                    return
            while number >= 0 and not self._closed:  # the last chunks are still being trained on
                self._ping(number)
                time.sleep(SLICE_S)
        except BaseException as error:
            self._queue.put(error)
        finally:
            if self._closed:  # whoever still waits for a chunk is let go
                with contextlib.suppress(queue.Full):
                    self._queue.put_nowait(ClusterError(f"{self._reader} was closed"))

    def _ping(self, number: int) -> None:
        with contextlib.suppress(*RETRIED):
            reply = self._actor.ping.remote(self._stream, self._reader, number)
            self.stop_requested |= ray.get(reply, timeout=5)

    def _fetch(self, number: int) -> Chunk:
        started, cause = time.monotonic(), "decoding"
        answered, lost = started, False
        while not self._closed:
            try:
                asked = self._actor.fetch.remote(self._stream, self._reader, number, lost=lost)
                reply: Reply = ray.get(asked)
                answered, lost = time.monotonic(), False
                self.stop_requested |= reply.stop
                if reply.error:
                    raise_described(reply.error)
                if reply.block:
                    self._count(cause, started)
                    return from_table(self._table(number, reply.block[0]))
                self._count(reply.cause, started)
                started, cause = time.monotonic(), reply.cause
            except RETRIED as error:
                lost = isinstance(error, LOST)
                if time.monotonic() - answered > RESTART_S:
                    raise ClusterError(
                        f"{self._reader}: the broadcast has not come back for {RESTART_S:g} s; the last "
                        "checkpoints are kept, run the same command again"
                    ) from None
                self._count("broadcast restarting", started)
                started = time.monotonic()
                time.sleep(0.2)
        raise ClusterError(f"{self._reader} was closed while it waited for chunk {number}")

    def _table(self, number: int, block: Any) -> Any:
        """Return a block's table, with signs of life while it is on its way."""
        given_up = time.monotonic() + BLOCK_S
        while True:
            try:
                return ray.get(block, timeout=SLICE_S)
            except ray.exceptions.GetTimeoutError:
                if time.monotonic() > given_up or self._closed:
                    raise
                self._ping(number)

    def _count(self, cause: str, started: float) -> None:
        self.causes[cause] = self.causes.get(cause, 0.0) + time.monotonic() - started
