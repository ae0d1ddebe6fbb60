"""Ctrl-C, SIGTERM, a closed terminal: the first asks for a checkpoint and a stop, a third ends at once."""

import contextlib
import errno
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from raytrain.errors import Interrupted


class StopSignal:
    """A context in which SIGINT, SIGTERM and SIGHUP set a flag; enter it after `ray.init`, which sets some.

    What `nohup` ignores stays ignored: such a run goes on without its terminal.
    """

    def __init__(self) -> None:
        self._count = 0
        self._message = ""
        self._former: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self._count > 0

    def end_at_once(self, message: str) -> None:
        """From now on a signal raises Interrupted(message): nothing is left that a checkpoint could keep."""
        self._message = message
        if self._count:
            raise Interrupted(message)

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if number == signal.SIGHUP:
            _leave_terminal()
        if self._message and self._count == 1:
            raise Interrupted(self._message)
        if self._count == 1:
            name = signal.Signals(number).name
            sys.stderr.write(f"\n{name}: writing checkpoints and stopping; twice more ends at once\n")
        if self._count >= 3:
            os._exit(130)


def _leave_terminal() -> None:
    """Write to nowhere instead of to a terminal that is gone, where every line would be an error."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:  # ENOTTY: a file or a pipe, which stays
            if error.args[0] == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


@contextlib.contextmanager
def outliving_the_terminal() -> Iterator[None]:
    """Let the processes that are started within ignore a closed terminal, which is the driver's to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, former)
