"""A text file that grows by whole lines and outlives a full disk."""

import errno
import os
from pathlib import Path

MOST_WAITING = 10_000


class LineFile:
    """Appends lines; what cannot be written waits for the next call, and what to say of it is in `news`.

    Args:
        path: the file, made when there is a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._num_lost = 0
        self._in_trouble = False
        self.news: list[str] = []
        """what went wrong, once, and that it is over: taken away by whoever says it"""

    def write(self, line: str) -> None:
        """Append a line, behind those that wait."""
        self._waiting.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits, if anything does."""
        if not self._waiting:
            return
        try:
            _append(self._path, "".join(f"{line}\n" for line in self._waiting).encode())
        except OSError as error:
            if not self._in_trouble:
                self.news.append(
                    f"warning: {self._path}: cannot be written: {error.strerror or error}; the run goes on "
                    "and lines wait in memory: free space before it ends"
                )
            self._in_trouble = True
            if len(self._waiting) > MOST_WAITING:
                self._waiting.pop(0)
                self._num_lost += 1
            return
        if self._in_trouble:
            lost = f", {self._num_lost} were lost" if self._num_lost else ""
            self.news.append(f"{self._path}: {len(self._waiting)} lines that waited are written{lost}")
        self._waiting, self._num_lost, self._in_trouble = [], 0, False


def _append(path: Path, data: bytes) -> None:
    """Append bytes, all of them or none.

    Raises:
        OSError: there is no room for all, or the file cannot be written.
    """
    with path.open("ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise
