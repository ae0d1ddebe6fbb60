"""The same training in one process without Ray: for a debugger, a machine without ray, a measure."""

import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from queue import Full, Queue
from typing import Any

import torch

from pipelines.forms.chunk import Chunk
from pipelines.stream.batch import BatchReader
from pipelines.stream.buffers import buffers_for
from pipelines.stream.source import StreamSource
from pipelines.stream.stage import OperatorStage, StageSettings
from raytrain.cpu import prepare_cpu
from raytrain.errors import ConfigError, DataError
from raytrain.training.loop import PathwayLoop
from raytrain.training.paths import QUARANTINE
from raytrain.training.plan import RunSetup
from raytrain.training.recorder import Recorder


class ChunkAhead:
    """Makes a stream's chunks one ahead of their use, in a thread; several pathways take the same ones."""

    def __init__(self, source: StreamSource, numbers: Iterator[int], stage: OperatorStage | None) -> None:
        self._source, self._stage = source, stage
        self._queue: Queue[Chunk | BaseException] = Queue(maxsize=1)
        self._current: dict[int, Chunk] = {}
        self._cached: dict[int, Chunk] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(numbers,), daemon=True)
        self._thread.start()

    def __call__(self, number: int) -> Chunk:
        """Return a chunk, made in ascending order; it is kept until `forget`."""
        while number not in self._current:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            self._current[item.number] = item
        return self._current[number]

    def forget(self, number: int) -> None:
        """Drop the chunks before `number`: no pathway reads them any more."""
        self._current = {n: chunk for n, chunk in self._current.items() if n >= number}

    def close(self) -> None:
        """Stop the thread."""
        self._closed = True
        self._thread.join(timeout=10)

    def _run(self, numbers: Iterator[int]) -> None:
        try:
            for number in numbers:
                chunk = self._source.chunk(number, self._cached.get if self._cached else None)
                if self._source.data.cache == "memory" and chunk.epoch == 0:
                    self._cached[number] = chunk
                self._put(self._stage.operate(chunk) if self._stage else chunk)
            self._put(RuntimeError("a chunk was asked for behind the end of the stream"))
        except BaseException as error:
            self._put(error)

    def _put(self, item: Chunk | BaseException) -> None:
        while not self._closed:
            try:
                self._queue.put(item, timeout=0.2)
                return
            except Full:
                continue


def train_inline(
    setup: RunSetup,
    recorder: Recorder,
    *,
    names: Collection[str],
    stop: Callable[[], bool],
    tick: Callable[[], Any],
) -> list[dict[str, Any]]:
    """Train pathways step by step in turn; return their outcomes.

    Args:
        names: the pathways.
        stop: asked before each step.
        tick: called after each step, to print progress.

    Raises:
        ConfigError: more than one worker a pathway.
    """
    for name in setup.config.pathways:
        if setup.config.workers(name) > 1:
            raise ConfigError(
                f"pathways.{name}.workers is {setup.config.workers(name)}, but training.executor = inline "
                "has one process; use --training.executor ray"
            )
    prepare_cpu(threads=setup.config.training.threads_per_worker)
    if setup.cold_cache:
        recorder.event(setup.cold_cache)
    outcomes: dict[str, dict[str, Any]] = {}
    for stream, members in setup.streams().items():
        if own := [name for name in members if name in names]:
            outcomes |= _train_stream(setup, recorder, stream, own, stop, tick)
    return [outcomes[name] for name in setup.config.pathways if name in outcomes]


def _train_stream(
    setup: RunSetup,
    recorder: Recorder,
    stream: str,
    names: list[str],
    stop: Callable[[], bool],
    tick: Callable[[], Any],
) -> dict[str, dict[str, Any]]:
    device = torch.device(setup.device)
    loops = {name: _build_loop(setup, recorder, name, device) for name in names}
    start = min(loop.cursor for loop in loops.values())
    plan = setup.plan(names[0])
    epochs = max(setup.config.epochs(name) for name in names)
    ahead = _open_stream(setup, recorder, stream, plan.needed_chunks(start, epochs))
    # A step is done with its batch before the next is read: one batch's memory a pathway is enough.
    readers = {
        name: BatchReader(plan, ahead, setup.config.pathways[name], buffers=buffers_for(device))
        for name in names
    }
    cursor, stopped = start, False
    budget = setup.config.data.quarantine_budget * setup.num_samples
    try:
        while not stopped and not all(loop.finished for loop in loops.values()):
            stopped = stop()
            for name, loop in loops.items():
                if loop.cursor == cursor and not loop.finished:
                    with loop.ledger.time("data"):
                        batch = readers[name].read(cursor)
                    loop.advance(batch, stop=stopped)
            cursor = plan.after(cursor)
            ahead.forget(int(plan.chunks.locate(cursor.epoch, plan.positions(cursor))[0].min()))
            check_quarantine(recorder.counts()["quarantined"], budget, setup)
            tick()
    finally:
        ahead.close()
    return {name: loop.outcome(stopped=not loop.finished) for name, loop in loops.items()}


def _open_stream(setup: RunSetup, recorder: Recorder, stream: str, numbers: Iterator[int]) -> ChunkAhead:
    source = replace(setup.source(stream), on_decoded=recorder.decoded)
    staged = setup.staged(stream)
    stage = None
    if staged:
        stage = OperatorStage(
            StageSettings(
                staged, setup.config.data.canvas_px, setup.config.seed, recorder.operated, device=setup.device
            )
        )
    return ChunkAhead(source, numbers, stage)


def _build_loop(setup: RunSetup, recorder: Recorder, name: str, device: torch.device) -> PathwayLoop:
    loop = PathwayLoop(
        setup.pathway(name, device),
        setup.config,
        plan=setup.plan(name),
        folder=setup.checkpoints(name),
        record=recorder.log,
    )
    recorder.started(name, 0, loop.restore(), f"process {os.getpid()}")
    return loop


def check_quarantine(quarantined: int, budget: float, setup: RunSetup) -> None:
    """Raise DataError when more samples are quarantined than the budget allows."""
    if quarantined > budget:
        raise DataError(
            f"{quarantined} of {setup.num_samples} samples could not be decoded, more than "
            f"data.quarantine_budget {setup.config.data.quarantine_budget:g} allows; "
            f"see {setup.folder / QUARANTINE}"
        )
