"""Ctrl-C and SIGTERM: the first asks for a checkpoint and a clean stop, a third ends at once."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from raytrain.errors import Interrupted


class StopSignal:
    """A context in which SIGINT and SIGTERM set a flag; enter it after `ray.init`, which sets its own."""

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
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._message and self._count == 1:
            raise Interrupted(self._message)
        if self._count == 1:
            name = signal.Signals(number).name
            sys.stderr.write(f"\n{name}: writing checkpoints and stopping; twice more ends at once\n")
        if self._count >= 3:
            os._exit(130)
