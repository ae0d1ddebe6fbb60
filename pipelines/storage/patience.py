"""A pause before what is missing is looked for again: bounded, for a folder that lacks many files."""

import threading
import time
from collections.abc import Callable

PAUSE_S = 0.5
"""long enough for a lost mount or a refused token that comes back by itself"""
FREE_S = 2.0
SHARE = 0.1
"""of a process's time that pauses may take, beside the first FREE_S"""


class Patience:
    """Pauses that together take at most FREE_S and a tenth of the time since the first; for any thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._began: float | None = None
        self._spent_s = 0.0

    def pause(self) -> float:
        """Sleep PAUSE_S, or what is left of the share; return for how many seconds."""
        with self._lock:
            now = self._clock()
            self._began = now if self._began is None else self._began
            left = FREE_S + SHARE * (now - self._began) - self._spent_s
            seconds = max(0.0, min(PAUSE_S, left))
            self._spent_s += seconds
        self._sleep(seconds)
        return seconds


PATIENCE = Patience()
"""of this process"""
