"""What a .tar or .zip holds and where: names that stay inside, sizes that are no bomb, offsets.

Nothing is ever unpacked under a member's name, so an archive can write nowhere; names are checked all
the same.
"""

import contextlib
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO

from pipelines.forms.bombs import MAX_RATIO, most_bytes
from pipelines.forms.quarantine import BadSample
from raytrain.errors import DataError

ZIP_MARK = ".zip!/"
MAX_MEMBERS = 5_000_000
MAX_NAME_CHARS = 1_000
MAX_LOADED_BYTES = 2**30
"""of a compressed member, which is decompressed as a whole"""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = 30
_OPEN_ARCHIVES = 4
_PIECE_BYTES = 2**20

State = tuple[str, int, int]
"""path, bytes and time of change: another state, another archive"""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    size: int
    """bytes, unpacked"""
    offset: int
    """of its bytes in the archive; -1: compressed"""


def index_tar(file: BinaryIO, archive: str) -> tuple[dict[str, Member], tuple[str, ...]]:
    """Return the files of an uncompressed tar by their names, and notes on what is odd about it.

    Tars that were joined by `cat` are read to the end of the last: tarfile alone stops at the first end. Of
    members of one name the last counts, as where tar unpacks them: `tar -r` only ever adds.

    Raises:
        DataError: no tar, damaged, or it holds links, unsafe names or too many members.
    """
    members: dict[str, Member] = {}
    again: list[str] = []
    notes: list[str] = []
    try:
        end = _add_tar(members, again, file, archive)
        first_end = end
        while (start := _skip_zeros(file, end)) is not None:
            if start == end:
                raise tarfile.ReadError(f"no member begins at byte {start}, where the next one should")
            end = _add_tar(members, again, file, archive)
        behind = [name for name, member in members.items() if member.offset > first_end]
        if behind:
            notes.append(
                f"{archive}: {len(behind)} members lie behind the first end of the archive, e.g. {behind[0]} "
                "(several tars joined in one file); they are read too"
            )
        if again:
            notes.append(
                f"{archive}: {len(again)} members have the name of an earlier one, e.g. {again[0]}; "
                "the last counts"
            )
        if members and end == file.seek(0, os.SEEK_END):
            last = next(reversed(members))
            notes.append(f"{archive}: has no end mark, so that it may be cut off behind its member {last}")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{archive}: not a whole tar archive: {error}; copy or download it again") from None
    return members, tuple(notes)


def _add_tar(members: dict[str, Member], again: list[str], file: BinaryIO, archive: str) -> int:
    """Add the members of the tar that begins where the file stands; return where its end mark begins.

    again: gets the names that were there before.
    """
    with tarfile.open(fileobj=file, mode="r:", errorlevel=2, encoding="utf-8") as tar:
        for info in tar:
            name = _safe_name(info.name, archive)
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                kind = "a link" if info.islnk() or info.issym() else "no plain file"
                raise DataError(
                    f"{archive}: the member {info.name!r} is {kind}; pack plain files only "
                    "(tar --dereference --hard-dereference)"
                )
            if members.pop(name, None) is not None:
                again.append(name)
            _add(members, name, Member(info.size, info.offset_data), archive)
        return int(tar.offset)


def _skip_zeros(file: BinaryIO, place: int) -> int | None:
    """Go on to the first block that is not all zeros; return its place, None: there is none."""
    file.seek(place)
    while piece := file.read(_PIECE_BYTES):
        if rest := piece.lstrip(b"\0"):
            place += (len(piece) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            return file.seek(place)
        place += len(piece)
    return None


def index_zip(file: BinaryIO, archive: str) -> tuple[dict[str, Member], tuple[str, ...]]:
    """Return the files of a zip by their names, and no notes: what is odd about a zip is refused.

    Raises:
        DataError: no zip, damaged, or it holds links, unsafe names, encrypted members or a bomb.
    """
    members: dict[str, Member] = {}
    try:
        with zipfile.ZipFile(file) as zipped:
            _check_count(len(zipped.infolist()), archive)
            _check_first(file, zipped, archive)
            for info in zipped.infolist():
                name = _safe_name(info.filename, archive)
                if info.is_dir():
                    continue
                _check_zip_member(info, archive)
                stored = info.compress_type == zipfile.ZIP_STORED
                offset = _stored_offset(file, info) if stored else -1
                _add(members, name, Member(info.file_size, offset), archive)
    except (zipfile.BadZipFile, EOFError, struct.error, OSError, NotImplementedError) as error:
        raise DataError(f"{archive}: not a whole zip archive: {error}; copy or download it again") from None
    total, stored_bytes = sum(member.size for member in members.values()), file.seek(0, os.SEEK_END)
    check_ratio(total, stored_bytes, archive)
    return members, ()


def check_ratio(size: int, stored: int, what: str) -> None:
    """Raise DataError where unpacking makes far more bytes than there are."""
    if size > most_bytes(stored):
        raise DataError(
            f"{what}: unpacks {stored} bytes to {size}, more than {MAX_RATIO} times; this looks like a "
            "decompression bomb; unpack it yourself if you trust it"
        )


_open_zips: "OrderedDict[tuple[int, State], _OpenZip]" = OrderedDict()
_open_zips_lock = Lock()


class _OpenZip:
    """A zip that this process has opened, with its members by their cleaned names."""

    def __init__(self, file: BinaryIO, archive: str) -> None:
        self._file = file
        try:
            self.zipped = zipfile.ZipFile(file)
            self.infos = {_safe_name(info.filename, archive): info for info in self.zipped.infolist()}
        except BaseException:
            file.close()
            raise

    def __del__(self) -> None:
        # Not sooner: another thread may still read from an archive that is no longer kept.
        self._file.close()


def read_zip_member(state: State, open_file: Callable[[], BinaryIO], member: str) -> bytes:
    """Return a member's bytes, its own checksum checked; each process opens an archive once.

    Raises:
        BadSample: the member is missing or damaged, or the archive is.
    """
    archive = state[0]
    try:
        opened = _opened_zip(state, open_file)
        info = opened.infos[member]
        _check_zip_member(info, archive)
        return opened.zipped.read(info)
    except KeyError:
        raise BadSample(f"missing: no member {member!r} in {archive}", "missing") from None
    except DataError as error:
        raise BadSample(str(error)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadSample(f"damaged in the archive: {error}") from None


def _opened_zip(state: State, open_file: Callable[[], BinaryIO]) -> _OpenZip:
    # By process too: a forked one shares its parent's place in the file.
    key = (os.getpid(), state)
    with _open_zips_lock:
        if key not in _open_zips:
            _open_zips[key] = _OpenZip(open_file(), state[0])
            while len(_open_zips) > _OPEN_ARCHIVES:
                _open_zips.popitem(last=False)
        _open_zips.move_to_end(key)
        return _open_zips[key]


def _check_first(file: BinaryIO, zipped: zipfile.ZipFile, archive: str) -> None:
    """Raise DataError where another zip lies before the members that the list at the end names."""
    before = min((info.header_offset for info in zipped.infolist()), default=0)
    file.seek(0)
    if before and file.read(4) == b"PK\3\4":
        raise DataError(
            f"{archive}: its first {before} bytes are another zip, whose members are not in its list; unpack "
            "both and name the folder"
        )


def _check_zip_member(info: zipfile.ZipInfo, archive: str) -> None:
    what = f"{archive}: the member {info.filename!r}"
    if info.flag_bits & 1:
        raise DataError(f"{what} is encrypted; pack it without a password")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{what} is a link; pack plain files only")
    if info.compress_type not in _METHODS:
        raise DataError(
            f"{what} is packed by method {info.compress_type}; known: {zipfile.ZIP_STORED} (store), "
            f"{zipfile.ZIP_DEFLATED} (deflate); pack it again"
        )
    stored = info.compress_type == zipfile.ZIP_STORED
    if stored and info.file_size != info.compress_size:
        raise DataError(
            f"{what} is stored as {info.compress_size} bytes but states {info.file_size}; pack it again"
        )
    if not stored and info.file_size > MAX_LOADED_BYTES:
        raise DataError(
            f"{what} unpacks to {info.file_size} bytes, more than {MAX_LOADED_BYTES}; unpack the archive and "
            "name the folder"
        )
    check_ratio(info.file_size, info.compress_size, what)


def _stored_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of an uncompressed member begin, behind its local header."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if header[:4] != b"PK\3\4":
        raise zipfile.BadZipFile(f"no header of {info.filename!r}")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER + int(name_bytes) + int(extra_bytes)


def _add(members: dict[str, Member], name: str, member: Member, archive: str) -> None:
    if name in members:
        raise DataError(f"{archive}: holds two members called {name!r}; pack it again with one of them")
    members[name] = member
    _check_count(len(members), archive)


def _check_count(count: int, archive: str) -> None:
    if count > MAX_MEMBERS:
        raise DataError(f"{archive}: holds more than {MAX_MEMBERS} members; pack it as several archives")


def _safe_name(name: str, archive: str) -> str:
    """Return a member's name with forward slashes and without `.` parts."""
    clean = name.replace("\\", "/")
    parts = [part for part in clean.split("/") if part not in ("", ".")]
    if len(name) > MAX_NAME_CHARS:
        raise DataError(
            f"{archive}: the member {name[:40]!r}... has a name of {len(name)} characters, more than "
            f"{MAX_NAME_CHARS}; rename it"
        )
    if clean.startswith("/") or re.match("[A-Za-z]:/", clean) or ".." in parts or "\0" in name:
        raise DataError(
            f"{archive}: the member {name!r} leads out of the archive; pack it with relative names"
        )
    with contextlib.suppress(UnicodeEncodeError):
        name.encode()
        return "/".join(parts)
    raise DataError(f"{archive}: the member name {name!r} is not UTF-8; rename it")


def top_folder(names: Iterable[str]) -> str:
    """Return the one folder that all names lie in, with its slash; "" where there is none.

    Names that start with a dot and __MACOSX are left out of account, as everywhere.
    """
    tops = set()
    for name in names:
        top, slash, _ = name.partition("/")
        if not top.startswith(".") and top != "__MACOSX":
            tops.add(top + slash)
    only = tops.pop() if len(tops) == 1 else ""
    return only if only.endswith("/") else ""
