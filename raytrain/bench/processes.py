"""What processes take: peak memory, and processor time with all that they start, ended meanwhile or not."""

import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from raytrain.errors import ConfigError

PROC = Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
LOOK_S = 1.0
"""of a process that ends unwaited for, at most so much is missed; a look takes some milliseconds"""
SIGCHLD_BIT = 1 << 16


def peak_mib() -> float:
    """Return the largest resident memory that this process has had, in MiB."""
    status = PROC / "self" / "status"
    if status.exists():  # unlike ru_maxrss it does not remember the parent's size over exec
        line = next(
            line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True, kw_only=True)
class _Reading:
    ticks: int
    """its own, and those of the children that it waited for"""
    forgotten: bool
    """whether its parent ignores the ends of its children, whose time is then in nobody's when they end"""


class CpuMeter:
    """Adds up the seconds of all cores that a process, its children, and theirs take.

    What has ended is in the time of the parent that waited for it; where the parent does not wait, as Ray's
    raylet does not for its workers, the last reading of it is kept. A process that outlived its parent is
    lost.
    """

    def __init__(self, pid: int, *, proc: Path = PROC) -> None:
        """Begin.

        Raises:
            ConfigError: there is no /proc, which only Linux has.
        """
        self._pid, self._proc = pid, proc
        if not (proc / str(pid) / "stat").exists():
            raise ConfigError(f"{proc}/{pid}/stat: no such file; the time of processes is read on Linux only")
        self._last: dict[tuple[int, int], _Reading] = {}
        self._ended_ticks = 0
        self._lock, self._over = threading.Lock(), threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._keep_looking, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def seconds(self) -> float:
        """Return what was taken so far; what counts is the difference of two calls."""
        with self._lock:
            found = dict(self._family())
            ended = self._last.keys() - found.keys()
            self._ended_ticks += sum(self._last[key].ticks for key in ended if self._last[key].forgotten)
            self._last = found
            return (self._ended_ticks + sum(one.ticks for one in found.values())) / TICKS_A_SECOND

    def _keep_looking(self) -> None:
        while not self._over.wait(LOOK_S):
            self.seconds()

    def _family(self) -> Iterator[tuple[tuple[int, int], _Reading]]:
        """Yield the living, each by its number and the time of its start."""
        fields = dict(_processes(self._proc))
        parents = {number: int(found[1]) for number, found in fields.items()}
        ignoring: dict[int, bool] = {}
        for number, found in fields.items():
            if _descends(number, self._pid, parents):
                parent = parents[number]
                if parent not in ignoring:
                    ignoring[parent] = _ignores_children(self._proc / str(parent))
                ticks = sum(map(int, found[11:15]))
                yield (number, int(found[19])), _Reading(ticks=ticks, forgotten=ignoring[parent])


def _processes(proc: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every process with what its `stat` says behind its name, which may hold blanks and brackets.

    State, parent, ..., from the twelfth on the time in the program and in the kernel, then both of the
    children that were waited for; the twentieth is the start.
    """
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(encoding="utf-8")
            except OSError:  # it ended a moment ago
                continue
            yield int(folder.name), text[text.rindex(")") + 2 :].split()


def _descends(number: int, pid: int, parents: dict[int, int]) -> bool:
    while number != pid and number in parents:
        number = parents[number]
    return number == pid


def _ignores_children(folder: Path) -> bool:
    try:
        lines = (folder / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:")]
    return any(mask & SIGCHLD_BIT for mask in masks)
