"""One stream, many readers: an actor runs Ray Data and hands the same block references to every pathway.

This is the only module that touches Ray Data's internals. The actor keeps no state that matters: readers ask
by chunk number, asking acknowledges everything before it, and whatever is missing is made again.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from pipelines.forms.chunk import Chunk, from_table, to_table
from pipelines.stream import blocks
from pipelines.stream.decoder import ChunkTask
from pipelines.stream.reader import SLICE_S, Reply
from pipelines.stream.source import StreamSource
from pipelines.stream.stage import OperatorStage, StageSettings
from pipelines.stream.window import Window
from raytrain.errors import describe

SEGMENT_S = 120.0  # what one Ray Data execution is to last: at its end the pipeline drains
FIRST_SEGMENT, LARGEST_SEGMENT = 64, 2048  # chunks of one execution, whose tasks are all made at its start
FIRST_CONTACT_S = 900.0  # a reader that never came may take this long to start


@dataclass(frozen=True, kw_only=True)
class StreamRequest:
    """One stream of a run, as the broadcast actor is asked to run it."""

    source: StreamSource
    cursors: dict[str, int]
    """the chunk at which each reader starts"""
    num_chunks: int
    num_used: Sequence[int]
    """positions that are read of each epoch; chunks that hold only others are not made"""
    window_chunks: int
    chunk_bytes: int
    """about the size of a chunk as it is handed out"""
    stage: StageSettings | None = None
    """operators placed in the stream"""
    stage_num_gpus: float = 0.0
    decode_tasks: int = 2
    """at a time"""

    def unused(self, chunk: int) -> bool:
        """Return whether nobody reads a chunk."""
        plan = self.source.plan
        return plan.first_position(chunk) >= self.num_used[chunk // plan.chunks_per_epoch]


def make_block(decoder: Any, task: ChunkTask, pinned: dict[int, Any]) -> list[pa.Table]:
    """Make one chunk in a decode task.

    Args:
        decoder: reference of the stream's `Decoder`.
        pinned: references of cached chunks of epoch 0 by number.
    """
    pa.set_cpu_count(1)

    def cached(chunk: int) -> Chunk | None:
        with contextlib.suppress(ray.exceptions.ObjectLostError):  # its samples are decoded again
            return from_table(ray.get(pinned[chunk])) if chunk in pinned else None
        return None

    return [to_table(ray.get(decoder).make(task, cached if pinned else None))]


def segment_chunks(made: int, seconds: float) -> int:
    """Return how many chunks the next execution is to make, at the pace of the last one."""
    at_this_pace = int(SEGMENT_S * made / max(seconds, 1e-3))
    return min(max(FIRST_SEGMENT, at_this_pace), LARGEST_SEGMENT)


@dataclass(frozen=True, eq=False)
class _Bell:
    """Wakes a reader's call, which waits in the actor's event loop, from the stream's thread."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event


class _Stream:
    """A window, and the thread that keeps it filled by Ray Data executions."""

    def __init__(self, request: StreamRequest, *, known: bool) -> None:
        data = request.source.data
        self.request = request
        self.window: Window[Any] = Window(
            request.cursors,
            request.window_chunks,
            request.num_chunks,
            data.lease_s,
            unused=request.unused,
        )
        self.window.expect(FIRST_CONTACT_S)
        if known:
            for reader, cursor in request.cursors.items():
                self.window.hint(reader, cursor)
        self.changed = threading.Condition()
        self.error: tuple[str, str] | None = None
        self.closed = False
        self._decoder = ray.put(request.source.decoder)
        self._pinned: dict[int, Any] = {}
        self._segment_chunks = FIRST_SEGMENT
        self._bells: dict[int, list[_Bell]] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                numbers = self._segment()
                if numbers:  # a reader may have ended since
                    began = time.monotonic()
                    made = self._execute(numbers)
                    self._segment_chunks = segment_chunks(made, time.monotonic() - began)
        except Exception as error:
            with self.changed:
                self.error = describe(error)
                for number in list(self._bells):
                    self._ring(number)

    def _segment(self) -> list[int]:
        with self.changed:
            numbers = self.window.upcoming(self._segment_chunks)
        if self.request.source.data.cache == "memory" and numbers and numbers[0] < self._num_cached:
            # Later epochs are cut from the cached chunks of the first: it has to be complete.
            numbers = [number for number in numbers if number < self._num_cached]
        return numbers

    def _execute(self, numbers: list[int]) -> int:
        """Put chunks into the window until the segment ends or another is wanted first; return how many."""
        made = self._blocks(numbers)
        count = 0
        with contextlib.closing(made):  # type: ignore[type-var]
            for count, (number, block) in enumerate(zip(numbers, made, strict=False), start=1):
                if self.request.source.data.cache == "memory" and number < self._num_cached:
                    self._pinned[number] = block
                with self.changed:
                    self.window.put(number, block)
                    self._ring(number)
                if count == len(numbers) or not self._wait_for_work():
                    break
                with self.changed:
                    wanted = self.window.next_missing()
                if wanted is not None and wanted != numbers[count]:
                    break
        return count

    async def news_of(self, number: int, timeout_s: float) -> None:
        """Return when a chunk is there, the stream has failed, or the time is over."""
        bell = _Bell(asyncio.get_running_loop(), asyncio.Event())
        with self.changed:
            if self.error or self.window.get(number) is not None:
                return
            self._bells.setdefault(number, []).append(bell)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(bell.event.wait(), timeout_s)
        with self.changed:
            waiting = self._bells.get(number, [])
            if bell in waiting:
                waiting.remove(bell)
            if not waiting:
                self._bells.pop(number, None)

    def _ring(self, number: int) -> None:
        for bell in self._bells.pop(number, []):
            bell.loop.call_soon_threadsafe(bell.event.set)

    @property
    def _num_cached(self) -> int:
        return self.request.source.plan.chunks_per_epoch

    def _wait_for_work(self) -> bool:
        with self.changed:
            while not self.closed and self.window.next_missing() is None:
                self.changed.wait(SLICE_S)
            return not self.closed

    def _blocks(self, numbers: list[int]) -> Iterator[Any]:
        dataset = blocks.ordered_dataset([self._task(number) for number in numbers])
        num_cpus = self.request.decode_tasks
        if self.request.stage is not None:
            num_cpus += 1
            dataset = blocks.add_stage(
                dataset,
                OperatorStage,
                (self.request.stage,),
                compute=ray.data.ActorPoolStrategy(size=1),
                num_cpus=1,
                num_gpus=self.request.stage_num_gpus or None,
            )
        # What was made ahead of the window is lost when the stream goes back: as much again as the window.
        held = 2 * self.window.size + num_cpus
        if self.request.source.data.cache == "memory":
            held += self._num_cached
        num_bytes = held * self.request.chunk_bytes
        return blocks.block_references(dataset, num_cpus=num_cpus, num_bytes=num_bytes)

    def _task(self, number: int) -> Callable[[], list[pa.Table]]:
        task = self.request.source.task(number)
        pinned = {chunk: self._pinned[chunk] for chunk in task.needed if chunk in self._pinned}
        return partial(make_block, self._decoder, task, pinned)

    def forget(self, number: int) -> None:
        """Drop a chunk whose block was lost."""
        self.window.forget(number)
        self._pinned.pop(number, None)

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class Broadcast:
    """The broadcast actor: streams by name, asked by readers; a lost reader that returns gets its own."""

    def __init__(self) -> None:
        blocks.quiet()
        self.requests: dict[str, StreamRequest] = {}
        self.streams: dict[str, _Stream] = {}
        self.private: dict[str, str] = {}
        self.stopping = False
        self._restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._serves = asyncio.Event()

    @ray.method(max_task_retries=-1)
    async def serve(
        self, requests: dict[str, StreamRequest], started: Callable[[int, bool], None] | None = None
    ) -> None:
        """Start the streams; called once by the driver, before anyone can be answered.

        It never returns: a call that has not ended is Ray's to make again, with the same arguments, in the
        process that comes after this one. Arguments of the constructor might be lost by then.

        Args:
            requests: the streams by name.
            started: told the process number, and whether another process died before.
        """
        if not self._serves.is_set():
            if started is not None:
                started(os.getpid(), self._restarted)
            self.requests = requests
            self.streams = {
                name: _Stream(request, known=not self._restarted) for name, request in requests.items()
            }
            self._serves.set()
        await asyncio.Event().wait()

    async def fetch(self, stream: str, reader: str, number: int, *, lost: bool = False) -> Reply:
        """Return chunk `number`, acknowledging all before it; after half a second say what is waited for.

        `lost`: the block handed out before cannot be read any more; it is made again.
        """
        active = await self._stream_of(stream, reader, number)
        with active.changed:
            active.window.hear(reader, number)
            if lost:
                active.forget(number)
            active.changed.notify_all()
        deadline = time.monotonic() + SLICE_S
        while True:
            block = active.window.get(number)
            if block is not None:
                return Reply(block=[block], stop=self.stopping)
            left_s = deadline - time.monotonic()
            if active.error or left_s <= 0:
                cause = active.window.cause(reader, number)
                return Reply(cause=cause, stop=self.stopping, error=active.error)
            await active.news_of(number, left_s)

    async def ping(self, stream: str, reader: str, number: int) -> bool:
        """Note a reader's sign of life; return whether it is asked to stop."""
        active = await self._stream_of(stream, reader, number)
        with active.changed:
            active.window.hear(reader, number)
        return self.stopping

    async def finish(self, stream: str, reader: str) -> None:
        """Note that a reader wants nothing more; a shared stream stays, for one that comes back."""
        await self._serves.wait()
        name = self.private.pop(reader, stream)
        active = self.streams[name]
        with active.changed:
            active.window.finish(reader)
            active.changed.notify_all()
        if name != stream:
            active.close()
            del self.streams[name]

    async def wants(self) -> bool:
        """Return whether a chunk is to be made now."""
        for active in self.streams.values():
            with active.changed:
                if active.window.next_missing() is not None:
                    return True
        return False

    async def stop(self) -> None:
        """Ask all readers to stop at their next step."""
        self.stopping = True

    async def _stream_of(self, stream: str, reader: str, number: int) -> _Stream:
        await self._serves.wait()
        if reader in self.private:
            return self.streams[self.private[reader]]
        shared = self.streams[stream]
        floor = shared.window.floor
        if shared.window.was_lost(reader) and floor is not None and number < floor:
            request = self.requests[stream]
            own = StreamRequest(**{**request.__dict__, "cursors": {reader: number}})
            self.private[reader] = f"{stream}/{reader}"
            self.streams[self.private[reader]] = _Stream(own, known=True)
            shared.window.finish(reader)
            return self.streams[self.private[reader]]
        return shared
