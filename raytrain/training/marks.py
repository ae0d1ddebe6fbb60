"""Marks of what is being trained, in the encoder cache: two runs do not train the same thing at one time.

A mark is a file, made exclusively, that names its process; its time of change is the heartbeat. One whose
process is gone, or that was silent for too long, is taken over. A run holds marks of what it is training
only, and none while it waits, so that no two wait for each other.
"""

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

FOLDER = ".making"
BEAT_S = 10.0
STALE_S = 60.0
"""a mark that was silent for longer is taken over"""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who trains something."""

    process: int
    host: str
    since: float
    token: str

    @property
    def text(self) -> str:
        """E.g. `process 17 on host a (since 14:03:20)`."""
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on host {self.host} (since {since})"

    @property
    def is_gone(self) -> bool:
        """Whether the process is one of this machine that has ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:  # of another user: it is there
            return False
        return False


@dataclass
class Marks:
    """The marks of one run, kept alive by a thread while it is entered."""

    cache: Path
    """folder of the encoder cache"""
    clock: Callable[[], float] = time.time
    _own: dict[Path, Holder] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Marks":
        threading.Thread(target=self._beat_on, daemon=True, name="marks").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.release()

    def claim(self, key: str, steps: int) -> Holder | None:
        """Mark a training of so many steps; None: it is this run's.

        Or return who trains it, or as much of it as a longer training can go on from. Where no mark can be
        written the training is this run's too: it is made twice then, and the same.
        """
        path = self.cache / FOLDER / f"{key}-{steps:08d}.json"
        with contextlib.suppress(OSError), self._locked():
            for other in sorted(path.parent.glob(f"{key}-*.json")):
                holder = self._read(other)
                if holder is None or other in self._own:
                    continue
                if holder.is_gone or self.clock() - other.stat().st_mtime > STALE_S:
                    other.unlink()
                elif int(other.stem.rpartition("-")[2]) <= steps:
                    return holder
            if path not in self._own:
                self._write(path)
        return None

    def release(self) -> None:
        """Take the marks of this run away; one that was taken over meanwhile is another's."""
        with contextlib.suppress(OSError), self._locked():
            for path, holder in self._own.items():
                if self._read(path) == holder:
                    path.unlink()
        self._own = {}

    def beat(self) -> None:
        """Say that this run's trainings go on."""
        now = self.clock()
        for path, holder in list(self._own.items()):
            with contextlib.suppress(OSError):
                if self._read(path) == holder:
                    os.utime(path, (now, now))

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.beat()

    def _write(self, path: Path) -> None:
        now = self.clock()
        holder = Holder(process=os.getpid(), host=socket.gethostname(), since=now, token=secrets.token_hex(8))
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(vars(holder)))
        os.utime(path, (now, now))
        self._own[path] = holder

    def _read(self, path: Path) -> Holder | None:
        """Return whose mark a file is; None where it is gone or was cut off, which then holds nobody up."""
        try:
            return Holder(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time read and change marks, for the moment that this takes."""
        folder = self.cache / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
