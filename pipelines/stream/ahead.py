"""Batches read one ahead of their use: while a step is computed, a thread copies what the next one needs."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Full, Queue, SimpleQueue
from typing import Any

import torch

from pipelines.order.plan import Cursor
from pipelines.stream.batch import Batch, BatchReader
from pipelines.stream.buffers import Buffers, buffers_for

NUM_BUFFERS = 3
"""one in use, one ready, one being written"""
_POLL_S = 0.2


@dataclass(frozen=True, eq=False)
class _Ready:
    """A batch that is read."""

    batch: Batch
    buffers: Buffers
    copied: Any = None
    """the event on the device after which it is there"""


class BatchAhead:
    """A rank's batches from a cursor on, in kept memory; to a GPU they are copied by a stream of their own.

    A batch on the CPU is overwritten after the next call: nobody keeps one.

    Args:
        reader: from now on for the thread alone.
        start: the first batch.
        num_epochs: where the batches end.
        device: where the batches are to be.
    """

    def __init__(self, reader: BatchReader, start: Cursor, num_epochs: int, *, device: torch.device) -> None:
        self._reader, self._device = reader, device
        self._side: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._free: SimpleQueue[Buffers] = SimpleQueue()
        for _ in range(NUM_BUFFERS):
            self._free.put(buffers_for(device))
        self._ready: Queue[_Ready | BaseException] = Queue(maxsize=1)
        self._used: Buffers | None = None
        self._closed = False
        cursors = reader.plan.cursors(start, num_epochs)
        threading.Thread(target=self._run, args=(cursors,), daemon=True, name="batches").start()

    def __call__(self) -> Batch:
        """Return the next batch.

        Raises:
            StorageError, DataError, ClusterError: whatever ended the stream.
        """
        if self._used is not None:
            self._free.put(self._used)
            self._used = None
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        self._used = item.buffers
        if self._side is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(item.copied)
            for tensor in item.batch.tensors():
                tensor.record_stream(current)
        return item.batch

    def close(self) -> None:
        """End the thread, once it has what it waits for."""
        self._closed = True
        self._free.put(buffers_for(torch.device("cpu")))  # in case the thread waits for some

    def _run(self, cursors: Iterator[Cursor]) -> None:
        try:
            for cursor in cursors:
                buffers = self._free.get()
                if self._closed:
                    return
                batch = self._reader.read(cursor, buffers=buffers)
                self._put(self._moved(batch, buffers))
            self._put(RuntimeError("a batch was asked for behind the last one"))
        except BaseException as error:  # raised where the batch is asked for
            self._put(error)

    def _moved(self, batch: Batch, buffers: Buffers) -> "_Ready":
        """Return a batch on its way to the device."""
        if self._side is None:
            return _Ready(batch, buffers)
        with torch.cuda.stream(self._side):
            return _Ready(batch.to(self._device), buffers, copied=self._side.record_event())

    def _put(self, item: "_Ready | BaseException") -> None:
        while not self._closed:
            try:
                self._ready.put(item, timeout=_POLL_S)
                return
            except Full:
                continue
