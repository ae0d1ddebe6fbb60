"""Bytes out of files, as few calls and copies as may be: one range, or many that lie near each other."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

_JOINED_GAP = 2**14
"""ranges of a file no farther apart are read in one piece: a call costs as much as so many bytes"""
_JOINED_BYTES = 2**24
"""of one piece at most, for what is read and not wanted stays in memory until the piece is cut"""


@dataclass(frozen=True)
class Range:
    """Bytes of a file, or of less where it ends."""

    uri: str
    offset: int
    length: int


def read_range(target: "Path | tuple[fs.FileSystem, str]", offset: int, length: int | None) -> bytes:
    """Return a file's bytes from `offset` on; length None: all, else so many, or fewer where it ends."""
    with _RangeReader(target) as file:
        return file.read(offset, file.size if length is None else length)


def read_joined(
    target: "Path | tuple[fs.FileSystem, str]", ranges: dict[int, Range], got: dict[int, bytes]
) -> None:
    """Add a file's ranges to `got` by their numbers, opened once and read in as few pieces as may be."""
    with _RangeReader(target) as file:
        for piece in _pieces(ranges):
            start = ranges[piece[0]].offset
            end = max(ranges[number].offset + ranges[number].length for number in piece)
            data = file.read(start, end - start)
            for number in piece:
                first = ranges[number].offset - start
                got[number] = data[first : first + ranges[number].length]


def _pieces(ranges: dict[int, Range]) -> Iterator[list[int]]:
    """Yield the numbers of ranges that are read together, ascending by offset."""
    piece: list[int] = []
    start = end = 0
    for number in sorted(ranges, key=lambda number: ranges[number].offset):
        wanted = ranges[number]
        last = wanted.offset + wanted.length
        if piece and (wanted.offset > end + _JOINED_GAP or last - start > _JOINED_BYTES):
            yield piece
            piece = []
        if not piece:
            start = end = wanted.offset
        piece.append(number)
        end = max(end, last)
    if piece:
        yield piece


class _RangeReader:
    """A file opened for ranged reads, by the operating system where it is local."""

    def __init__(self, target: "Path | tuple[fs.FileSystem, str]") -> None:
        if isinstance(target, Path):
            self._local = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._local).st_size
        else:
            self._local = -1
            self._remote = target[0].open_input_file(target[1])
            self.size = self._remote.size()

    def __enter__(self) -> "_RangeReader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._local >= 0:
            os.close(self._local)
        else:
            self._remote.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset` on, fewer where the file ends."""
        wanted = max(0, min(length, self.size - offset))
        if self._local < 0:
            return bytes(self._remote.read_at(wanted, min(offset, self.size)))
        data = os.pread(self._local, wanted, offset)
        while len(data) < wanted and (more := os.pread(self._local, wanted - len(data), offset + len(data))):
            data += more  # one call gives 2 GiB at most
        return data


def read_local(path: Path, *, offset: int = 0, length: int | None = None) -> bytes:
    """Return a local file's bytes, or the `length` bytes from `offset` on (fewer where the file ends).

    By system calls alone: Python's own file object takes as long again as a small file's bytes.

    Raises:
        OSError: the file is missing or may not be read.
    """
    with _RangeReader(path) as file:
        return file.read(offset, file.size if length is None else length)
