"""The only place that opens data: a local folder now, any pyarrow file system by its URI.

A uri such as `images.zip!/cat/1.png` is a member of a zip archive. Local files go through the operating
system itself, which opens a small file about ten times faster than `pyarrow.fs` does; everything else goes
through `pyarrow.fs`.
"""

import errno
import os
import queue
import secrets
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pyarrow import fs

from pipelines.forms.quarantine import BadSample
from pipelines.storage.archive_members import ZIP_MARK, read_zip_member
from pipelines.storage.listing import FileInfo, forget, list_folder, list_folders, list_tree
from pipelines.storage.ranges import Range, read_joined, read_range
from raytrain.errors import DataError, StorageError

T = TypeVar("T")

# Conditions that no retry can change: the sample is gone, or is no file.
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_GONE_CODES = (errno.ELOOP, errno.ENAMETOOLONG)
_FIRST_PAUSE_S = 0.05

FILE_SYSTEMS = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""schemes of uris that `pyarrow.fs` reads; a uri with another one is no stored place"""

_opened = 0
_opened_lock = threading.Lock()


def opened() -> int:
    """Return how many samples this process has opened for decoding."""
    return _opened


def count_opened() -> None:
    """Count one opening of a sample; called by the opener, however the sample is stored."""
    global _opened
    with _opened_lock:
        _opened += 1


class Storage:
    """Files below a root, read with a time limit and retries, written whole or not at all."""

    def __init__(self, root: str, *, read_timeout_s: float = 60.0, read_retries: int = 3) -> None:
        self.root = root
        self.read_timeout_s = read_timeout_s
        self.read_retries = read_retries
        self._readers = threading.local()
        self.listed: list[FileInfo] | None = None
        """what `all_files` has listed; None: nothing yet"""
        self.lists: set[str] = set()
        """files that a source read because they tell of its samples"""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.root, self.read_timeout_s, self.read_retries)

    def read_bytes(self, uri: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a file's bytes, or the `length` bytes from `offset` on (fewer where the file ends).

        Raises:
            BadSample: the file is missing, may not be read, or is a damaged member of an archive.
            StorageError: time-outs and other failures outlived the retries.
        """
        place, zipped, member = uri.partition(ZIP_MARK)
        target = self._locate(place + zipped.removesuffix("!/"))
        failure = ""
        for attempt in range(self.read_retries + 1):
            if attempt:
                time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                if zipped:
                    return self._within_limit(lambda: _read_zipped(target, member))
                return self._within_limit(lambda: read_range(target, offset, length))
            except TimeoutError:
                failure = f"no answer within {self.read_timeout_s:g} s"
            except OSError as error:
                if isinstance(error, _GONE) or error.errno in _GONE_CODES:
                    raise BadSample(f"missing: {_why(error)}", "missing") from None
                failure = _why(error)
        raise StorageError(
            f"{uri}: cannot be read after {self.read_retries + 1} attempts: {failure}; "
            "check the storage, or raise data.read_timeout_s and data.read_retries"
        )

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes | BadSample]:
        """Return the bytes of many ranges in their order, and what is wrong with those that have none.

        All are handed to the reader thread at once, which opens each file once and reads neighbours in one
        piece. What this way does not get within the time limit is read again by itself, as by `read_bytes`.

        Raises:
            StorageError: time-outs and other failures outlived the retries.
        """
        places: dict[str, list[int]] = defaultdict(list)
        for number, wanted in enumerate(ranges):
            if ZIP_MARK not in wanted.uri:
                places[wanted.uri].append(number)
        targets = {uri: self._locate(uri) for uri in places}
        got: dict[int, bytes] = {}

        def read_all() -> None:
            for uri, numbers in places.items():
                with suppress(OSError):  # which one it is, and whether for good, is found out below
                    read_joined(targets[uri], {number: ranges[number] for number in numbers}, got)

        with suppress(TimeoutError):
            self._within_limit(read_all)
        # Copied, for a reader that was given up may still add to it.
        whole = dict(got)
        return [
            whole[number] if number in whole else self._read_alone(wanted)
            for number, wanted in enumerate(ranges)
        ]

    def _read_alone(self, wanted: Range) -> bytes | BadSample:
        try:
            return self.read_bytes(wanted.uri, offset=wanted.offset, length=wanted.length)
        except BadSample as bad:
            return bad

    def open_input(self, uri: str) -> BinaryIO:
        """Return a file opened for reading here and there in it.

        Raises:
            DataError: it is missing or may not be read.
        """
        target = self._locate(uri)
        try:
            return _open(target)
        except OSError as error:
            raise DataError(f"{self.root}/{uri}: cannot be opened: {_why(error)}") from None

    def exists(self, uri: str) -> bool:
        """Return whether a file or folder is there."""
        target = self._locate(uri)
        if isinstance(target, Path):
            return target.exists()
        system, path = target
        return bool(system.get_file_info(path).type != fs.FileType.NotFound)

    def is_local(self, uri: str) -> bool:
        """Return whether a place is on this machine's own file system, where a look at it is cheap."""
        return "://" not in uri and "://" not in self.root

    def sizes_and_times(self, uris: Sequence[str]) -> list[tuple[int, int]]:
        """Return bytes and time of change in ns of each file or folder: -1 and 0 where that is not known."""
        if "://" in self.root or any("://" in uri for uri in uris):
            return [self._size_and_time(uri) for uri in uris]
        folder = f"{self.root}/" if self.root else ""
        return [_stat(folder + uri) for uri in uris]

    def _size_and_time(self, uri: str) -> tuple[int, int]:
        target = self._locate(uri)
        if isinstance(target, Path):
            return _stat(target)
        try:
            info = target[0].get_file_info(target[1])
        except OSError:
            return -1, 0
        return -1 if info.size is None else info.size, info.mtime_ns or 0

    def list_files(self, folder: str = "", recursive: bool = True) -> Iterator[FileInfo]:
        """Yield the files of a folder in the order of their names; links are followed.

        Raises:
            DataError: the folder is missing or unreadable, a link loops, or a name is not UTF-8.
        """
        target = self._locate(folder)
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        if isinstance(target, Path):
            yield from list_tree(target, prefix) if recursive else list_folder(target, prefix)
        else:
            yield from _list_remote(*target, prefix, recursive)

    def all_files(self) -> list[FileInfo]:
        """Return all files below the root, listed once for as long as this is used.

        Raises:
            DataError: as `list_files`.
        """
        if self.listed is None:
            self.listed = list(self.list_files())
        return self.listed

    def forget_lists(self, uri: str) -> None:
        """Drop the kept lists that a file is in: they are not true any more."""
        target = self._locate(uri)
        for folder in target.parents if isinstance(target, Path) else ():
            forget(folder)

    def list_folders(self, folder: str = "") -> list[str]:
        """Return the folders that lie directly in a folder, by path, in the order of their names.

        Raises:
            DataError: the folder is missing or unreadable, or a name is not UTF-8.
        """
        target = self._locate(folder)
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        if isinstance(target, Path):
            return [prefix + name for name in list_folders(target)]
        names = [info.base_name for info in _list_level(*target) if info.type == fs.FileType.Directory]
        return [prefix + name for name in sorted(names)]

    def write_atomic(self, path: str, data: bytes) -> None:
        """Write a file so that it is there whole or, after any failure, as it was before.

        Raises:
            StorageError: the disk is full or the place cannot be written.
        """
        target = self._locate(path)
        try:
            if isinstance(target, Path):
                _write_local(target, data)
            else:
                system, remote = target
                with system.open_output_stream(remote) as stream:
                    stream.write(data)
        except OSError as error:
            raise StorageError(
                f"{path or self.root}: cannot be written: {_why(error)}; free space or choose another folder"
            ) from None

    def remove_folder(self, folder: str) -> None:
        """Remove a folder and all in it; what cannot be removed stays."""
        target = self._locate(folder)
        if isinstance(target, Path):
            shutil.rmtree(target, ignore_errors=True)
            return
        system, path = target
        with suppress(OSError):
            system.delete_dir(path)

    def _locate(self, uri: str) -> "Path | tuple[fs.FileSystem, str]":
        full = uri if "://" in uri else "/".join(part for part in (self.root, uri) if part)
        if "://" not in full:
            return Path(self.root, uri)
        try:
            system, path = fs.FileSystem.from_uri(full)
        except (ValueError, OSError) as error:
            raise DataError(f"{full}: not a place that data can be read from: {error}") from None
        return Path(path) if isinstance(system, fs.LocalFileSystem) else (system, path)

    def _within_limit(self, work: Callable[[], T]) -> T:
        """Run the work in this thread's reader thread, which is given up when it does not answer."""
        reader: _Reader | None = getattr(self._readers, "reader", None)
        if reader is None or reader.process != os.getpid():
            reader = self._readers.reader = _Reader()
        try:
            return reader.call(work, self.read_timeout_s)
        except queue.Empty:
            del self._readers.reader
            raise TimeoutError from None


class _Reader:
    """A daemon thread for one caller: a read that hangs in the kernel can only be left behind."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.tasks: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self.tasks, self.answers), daemon=True, name="storage").start()

    def __del__(self) -> None:
        self.tasks.put(None)

    def call(self, work: Callable[[], T], timeout_s: float) -> T:
        """Return the work's result or raise what it raised; queue.Empty after the time limit."""
        self.tasks.put(work)
        result: T
        result, error = self.answers.get(timeout=timeout_s)
        if error is not None:
            raise error
        return result


def _serve(
    tasks: "queue.SimpleQueue[Callable[[], Any] | None]",
    answers: "queue.SimpleQueue[tuple[Any, BaseException | None]]",
) -> None:
    while (work := tasks.get()) is not None:
        try:
            answers.put((work(), None))
        except BaseException as error:  # handed over to the caller, who raises it
            answers.put((None, error))
        del work


def _rebuild(root: str, read_timeout_s: float, read_retries: int) -> Storage:
    return Storage(root, read_timeout_s=read_timeout_s, read_retries=read_retries)


def _stat(path: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - making a Path takes longer than the look
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _open(target: "Path | tuple[fs.FileSystem, str]") -> BinaryIO:
    if isinstance(target, Path):
        return target.open("rb")
    system, path = target
    opened_file: BinaryIO = system.open_input_file(path)
    return opened_file


def _read_zipped(target: "Path | tuple[fs.FileSystem, str]", member: str) -> bytes:
    if isinstance(target, Path):
        status = target.stat()
        state = (str(target), status.st_size, status.st_mtime_ns)
    else:
        info = target[0].get_file_info(target[1])
        state = (f"{target[0].type_name}:{target[1]}", info.size or 0, info.mtime_ns or 0)
    return read_zip_member(state, lambda: _open(target), member)


def _list_level(system: Any, path: str, recursive: bool = False) -> list[Any]:
    try:
        return list(system.get_file_info(fs.FileSelector(path, recursive=recursive)))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed: {_why(error)}") from None


def _list_remote(system: Any, path: str, prefix: str, recursive: bool) -> Iterator[FileInfo]:
    files = [info for info in _list_level(system, path, recursive) if info.type == fs.FileType.File]
    # By the parts of the path, which is the order of a walk through sorted folders.
    for info in sorted(files, key=lambda info: info.path.split("/")):
        yield FileInfo(prefix + info.path[len(path) :].lstrip("/"), int(info.size))


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
