"""Messages over a pair of pipes: a small JSON head, then raw bytes. Nothing that is read is run."""

import json
import operator
import os
import select
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("<Q")
_PIECE = 1 << 20
MOST_HEAD_BYTES = 2**20


class PipeClosedError(Exception):
    """The other side has ended."""


class PipeMessageError(Exception):
    """The other side sent what is no message, or more than was asked for."""


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
        """Send a message; `head`: what JSON can hold.

        Raises:
            PipeClosedError: the other side has ended.
            PipeTimeoutError: it does not read.
        """
        deadline = _deadline(timeout_s)
        text = json.dumps([head, [len(payload) for payload in payloads]]).encode()
        for part in (_LENGTH.pack(len(text)) + text, *payloads):
            left = memoryview(part)
            while left:
                try:
                    left = left[os.write(self._write, left[:_PIECE]) :]
                except BlockingIOError:
                    _wait(self._write, select.POLLOUT, deadline)
                except BrokenPipeError:
                    raise PipeClosedError from None

    def receive(
        self, *, timeout_s: float | None, most_bytes: int | None = None
    ) -> tuple[Any, list[bytearray]]:
        """Return the head and the payloads of the next message.

        Args:
            timeout_s: how long it may take to come; None: for ever.
            most_bytes: of all payloads together; None: whatever comes.

        Raises:
            PipeClosedError: the other side has ended.
            PipeTimeoutError: nothing came in time.
            PipeMessageError: no message, or a longer one.
        """
        deadline = _deadline(timeout_s)
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, deadline))
        if length > MOST_HEAD_BYTES:
            raise PipeMessageError(f"a head of {length} bytes")
        try:
            head, sizes = json.loads(self._take(length, deadline))
            sizes = [operator.index(size) for size in sizes]
        except (ValueError, TypeError, RecursionError) as error:
            raise PipeMessageError(f"a head that cannot be read: {error}") from None
        if min(sizes, default=0) < 0 or (most_bytes is not None and sum(sizes) > most_bytes):
            raise PipeMessageError(f"payloads of {sizes} bytes")
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
