"""Messages over a pair of pipes: a small pickled head, then raw bytes."""

import os
import pickle
import select
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("<Q")
_PIECE = 1 << 20


class PipeClosedError(Exception):
    """The other side has ended."""


class PipeTimeoutError(Exception):
    """The other side did not answer in time."""


class Pipe:
    """One side of a conversation.

    Args:
        read: file descriptor to read from.
        write: file descriptor to write to.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        os.set_blocking(read, False)
        os.set_blocking(write, False)

    def send(self, head: Any, payloads: Sequence[memoryview | bytes], *, timeout_s: float | None) -> None:
        """Send a message.

        Raises:
            PipeClosedError: the other side has ended.
            PipeTimeoutError: it does not read.
        """
        deadline = _deadline(timeout_s)
        pickled = pickle.dumps((head, [len(payload) for payload in payloads]))
        for part in (_LENGTH.pack(len(pickled)) + pickled, *payloads):
            left = memoryview(part)
            while left:
                try:
                    left = left[os.write(self._write, left[:_PIECE]) :]
                except BlockingIOError:
                    _wait(self._write, select.POLLOUT, deadline)
                except BrokenPipeError:
                    raise PipeClosedError from None

    def receive(self, *, timeout_s: float | None) -> tuple[Any, list[bytearray]]:
        """Return the head and the payloads of the next message.

        Raises:
            PipeClosedError: the other side has ended.
            PipeTimeoutError: nothing came in time.
        """
        deadline = _deadline(timeout_s)
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, deadline))
        head, sizes = pickle.loads(self._take(length, deadline))
        return head, [self._take(size, deadline) for size in sizes]

    def _take(self, size: int, deadline: float) -> bytearray:
        taken = bytearray(size)
        left = memoryview(taken)
        while left:
            try:
                count = os.readv(self._read, [left])
            except BlockingIOError:
                _wait(self._read, select.POLLIN, deadline)
                continue
            if not count:
                raise PipeClosedError
            left = left[count:]
        return taken


def _deadline(timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else time.monotonic() + timeout_s


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise PipeTimeoutError
        if poll.poll(None if left == float("inf") else min(1e3 * left + 1, 1e6)):
            return
