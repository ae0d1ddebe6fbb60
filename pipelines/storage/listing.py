"""The files below a local folder; the list of a large one is kept between two commands.

To list a file takes a look at it, and a data set of a million files is listed by every command. So the list
of many files is kept in the cache folder, with a stamp of every folder in it: its number and its times of
change. As long as all stamps are what they were, the list is what it was: a look a folder, not a file. A file
that is added, removed, renamed or written anew beside and renamed over changes its folder's stamp.

What a stamp cannot see is a file that is changed in place: its folder stays as it was, and the list still has
its former size. Whoever takes the data's fingerprint looks at every file and sees that: a changed time makes
other data of it, and for a changed size the list is dropped and the command is to be run again.
"""

import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipelines.storage.cache_folder import cache_folder
from raytrain.errors import DataError, why_no_text

KEPT_FROM = 10_000
"""files; fewer are listed in less than a tenth of a second"""
MAX_LISTS = 16
SETTLED_NS = 2 * 10**9
"""a folder that changed so shortly before could change again without another time: its list is not kept"""

Stamp = tuple[int, int, int]
"""a folder's number, and its times of change of content and of state, in ns"""


class FileInfo(NamedTuple):
    """A file found in a folder; `path` is relative to the storage's root, with forward slashes."""

    path: str
    size: int
    """bytes; -1: unknown, e.g. a link that leads nowhere"""


def list_folder(folder: Path, prefix: str = "") -> Iterator[FileInfo]:
    """Yield the files that lie directly in a folder, by name, the prefix before it; see `list_tree`."""
    return _walk(str(folder), prefix, None, ())


def list_tree(folder: Path, prefix: str = "") -> list[FileInfo]:
    """Return the files below a folder in the order of a walk by names, links followed; perhaps a kept list.

    Raises:
        DataError: the folder is missing or unreadable, a link loops, or a name is not UTF-8.
    """
    files = _read_kept(folder)
    if files is None:
        began_ns, stamps = time.time_ns(), dict[str, Stamp]()
        files = list(_walk(str(folder), "", stamps, ()))
        newest_ns = max(max(stamp[1:]) for stamp in stamps.values())
        if len(files) >= KEPT_FROM and newest_ns < began_ns - SETTLED_NS:
            _keep(folder, files, stamps)
    return [FileInfo(prefix + path, size) for path, size in files] if prefix else files


def forget(folder: Path) -> None:
    """Drop the kept list of a folder, if there is one."""
    kept = _kept_path(folder)
    if kept is not None:
        kept.unlink(missing_ok=True)


def list_folders(folder: Path) -> list[str]:
    """Return the names of the folders that lie directly in a folder, sorted."""
    return [entry.name for entry in _sorted_entries(str(folder)) if _is_folder(entry)]


def _walk(
    folder: str, prefix: str, stamps: dict[str, Stamp] | None, above: tuple[tuple[int, int], ...]
) -> Iterator[FileInfo]:
    """Yield a folder's files; `stamps`, which takes those of the folders: what lies in these too."""
    if stamps is not None:
        above = (*above, _stamp_into(stamps, folder, prefix, above))
    for entry in _sorted_entries(folder):
        try:
            is_folder = entry.is_dir()
            is_file = not is_folder and entry.is_file()
            size = entry.stat().st_size if is_file else -1
        except FileNotFoundError:
            is_folder, is_file, size = False, False, -1
        except OSError as error:
            what = "a symbolic link that loops" if error.errno == errno.ELOOP else _why(error)
            raise DataError(f"{folder}/{entry.name}: {what}; remove it") from None
        if is_folder:
            if stamps is not None:
                yield from _walk(entry.path, f"{prefix}{entry.name}/", stamps, above)
        elif is_file or entry.is_symlink():
            yield FileInfo(prefix + entry.name, size)


def _stamp_into(
    stamps: dict[str, Stamp], folder: str, prefix: str, above: tuple[tuple[int, int], ...]
) -> tuple[int, int]:
    """Note a folder's stamp, taken before it is listed; return what tells it from all others."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - making a Path takes longer than the look
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {_why(error)}") from None
    own = (status.st_dev, status.st_ino)
    if own in above:
        real = os.path.realpath(folder)
        raise DataError(f"{folder}: a symbolic link that leads back to {real}; remove it")
    stamps[prefix] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return own


def _sorted_entries(folder: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise DataError(f"{folder}: no such folder") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {_why(error)}") from None
    try:
        "".join([entry.name for entry in found]).encode()
    except UnicodeEncodeError:
        why = next(filter(None, (why_no_text(entry.name) for entry in found)))
        raise DataError(f"{folder}: the file name {why}") from None
    return found


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _kept_path(folder: Path) -> Path | None:
    home = cache_folder()
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:32]
    # With a dot, because what has none there is an entry of the encoder cache, which trims them.
    return None if home is None else home / ".lists" / f"{name}.arrow"


def _read_kept(folder: Path) -> list[FileInfo] | None:
    """Return a kept list whose stamps still hold, else None."""
    kept = _kept_path(folder)
    if kept is None or not kept.exists():
        return None
    try:
        with pa.memory_map(str(kept)) as file:
            table = pa.ipc.open_file(file).read_all()
        stamps = json.loads(table.schema.metadata[b"stamps"])
        for prefix, stamp in stamps.items():
            status = os.stat(f"{folder}/{prefix}")  # noqa: PTH116 - see above
            if [status.st_ino, status.st_mtime_ns, status.st_ctime_ns] != stamp:
                return None
        return list(map(FileInfo, table["path"].to_pylist(), table["size"].to_pylist()))
    except (OSError, pa.ArrowException, KeyError, ValueError):  # of an earlier version, or damaged
        return None


def _keep(folder: Path, files: list[FileInfo], stamps: dict[str, Stamp]) -> None:
    """Keep a list, whole or not at all; where it cannot be kept it is made again, which is slow only."""
    kept = _kept_path(folder)
    if kept is None:
        return
    paths, sizes = zip(*files, strict=True)
    table = pa.table(
        {"path": pa.array(paths, pa.large_string()), "size": pa.array(sizes, pa.int64())},
        metadata={"stamps": json.dumps(stamps)},
    )
    aside = kept.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with pa.ipc.new_file(str(aside), table.schema) as file:
            file.write_table(table)
        aside.replace(kept)
        by_age = sorted(kept.parent.glob("*.arrow"), key=lambda path: path.stat().st_mtime_ns)
        for old in by_age[:-MAX_LISTS]:
            old.unlink(missing_ok=True)
    with suppress(OSError):
        aside.unlink()


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
