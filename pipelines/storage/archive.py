"""A .tar or .zip as a data.root: its members as files, read from where they lie in the archive.

A .tar.gz is compressed as a whole: to read one image all before it must be decompressed. It is not trained
from; `raytrain prepare` decompresses it once and packs its samples into shards.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.forms.quarantine import BadSample
from pipelines.storage.archive_members import ZIP_MARK, Member, check_ratio, index_tar, index_zip, top_folder
from pipelines.storage.columns import TEXT
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from pipelines.storage.raw import is_raw
from raytrain.errors import ConfigError, DataError, StorageError

ARCHIVES = (".tar", ".zip")
GZIPPED = (".tar.gz", ".tgz")
_PIECE_BYTES = 2**20


def is_archive(root: str) -> bool:
    """Return whether a root is called like an archive that samples can be read from."""
    return root.endswith(ARCHIVES)


def is_gzipped(root: str) -> bool:
    """Return whether a root is called like a tar that is compressed as a whole."""
    return root.endswith(GZIPPED)


class ArchiveStorage(Storage):
    """The files of an archive, below its one top folder where it has one; read-only.

    Raises:
        DataError: the archive is damaged or unsafe.
    """

    def __init__(self, root: str, *, read_timeout_s: float = 60.0, read_retries: int = 3) -> None:
        super().__init__(root, read_timeout_s=read_timeout_s, read_retries=read_retries)
        folder, _, self.name = root.rpartition("/")
        self.outer = Storage(folder or "/", read_timeout_s=read_timeout_s, read_retries=read_retries)
        self.notes: tuple[str, ...]
        index = index_zip if root.endswith(".zip") else index_tar
        with self.outer.open_input(self.name) as file:
            members, self.notes = index(file, root)
        self.top = top_folder(members)
        self.members: dict[str, Member] = {
            name.removeprefix(self.top): member
            for name, member in members.items()
            if name.startswith(self.top)
        }
        self._folders = {"", *(folder for name in self.members for folder in _folders_of(name))}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.root, self.read_timeout_s, self.read_retries)

    def read_bytes(self, uri: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a member's bytes, or the `length` bytes from `offset` on; see Storage."""
        member = self.members.get(uri)
        if member is None:
            raise BadSample(f"missing: no member {uri!r} in {self.root}", "missing")
        rest = max(0, member.size - offset)
        wanted = rest if length is None else min(length, rest)
        if member.offset < 0:
            return self.outer.read_bytes(self._zipped(uri))[offset : offset + wanted]
        return self.outer.read_bytes(self.name, offset=member.offset + offset, length=wanted)

    def exists(self, uri: str) -> bool:
        """Return whether a member or folder is there."""
        return uri.rstrip("/") in self._folders or uri in self.members

    def list_files(self, folder: str = "", recursive: bool = True) -> Iterator[FileInfo]:
        """Yield the members below a folder, in the order in which a folder of them is walked."""
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        for name in sorted(self.members, key=lambda name: name.split("/")):
            if name.startswith(prefix) and (recursive or "/" not in name.removeprefix(prefix)):
                yield FileInfo(name, self.members[name].size)

    def list_folders(self, folder: str = "") -> list[str]:
        """Return the folders that lie directly in a folder, by path, in the order of their names."""
        above = folder.rstrip("/")
        return sorted(name for name in self._folders if name and name.rpartition("/")[0] == above)

    def open_input(self, uri: str) -> BinaryIO:
        """Refuse: members are read whole or by ranges."""
        raise DataError(f"{self.root}: the member {uri!r} is an archive in an archive; unpack it")

    def write_atomic(self, path: str, data: bytes) -> None:
        """Refuse: an archive is not written to."""
        raise StorageError(f"{self.root}: {path} cannot be written into an archive; name a folder")

    def place(self, manifest: Manifest) -> Manifest:
        """Return the manifest with each sample where it lies: a range of the archive, or a zipped member.

        Raises:
            DataError: samples lie within a compressed member, which would be unpacked for each of them.
        """
        table = manifest.table
        uris, offsets, sizes = (table[name].to_pylist() for name in ("uri", "offset", "bytes"))
        for row, uri in enumerate(uris):
            member = self.members[uri]
            if member.offset >= 0:
                sizes[row] = member.size - offsets[row] if sizes[row] < 0 else sizes[row]
                uris[row], offsets[row] = self.name, member.offset + offsets[row]
            elif offsets[row] or is_raw(manifest.payload_of(row)):
                raise DataError(
                    f"{self.root}: {uri} is compressed, so that single images cannot be read from it; unpack "
                    "the archive and name the folder, or pack it with zip -0"
                )
            else:
                uris[row] = self._zipped(uri)
        columns = {"uri": pa.array(uris, TEXT), "offset": pa.array(offsets, pa.int64())}
        for name, column in {**columns, "bytes": pa.array(sizes, pa.int64())}.items():
            table = table.set_column(table.column_names.index(name), name, column)
        notes = (*self.notes, *manifest.notes)
        return replace(manifest, table=table, root=self.outer.root, notes=notes)

    def _zipped(self, uri: str) -> str:
        return f"{self.name.removesuffix('.zip')}{ZIP_MARK}{self.top}{uri}"


def refuse_gzipped(root: str) -> ConfigError:
    """Return the error of a root that is compressed as a whole."""
    return ConfigError(
        f"data.root {root}: is compressed as a whole, so that single images cannot be read from it; run "
        f"`raytrain prepare --data.root {root} --shards encoded --out DIR` once and use data.root DIR"
    )


def unpack_gzip(path: Path, target: Path) -> None:
    """Decompress a .tar.gz to a plain tar, which takes over its time of change; no member is unpacked.

    Raises:
        DataError: damaged, or it grows like a decompression bomb.
        StorageError: the disk is full.
    """
    done = 0
    try:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as file, target.open("wb") as out:
            while piece := file.read(_PIECE_BYTES):
                done += len(piece)
                check_ratio(done, packed.tell(), str(path))
                _write(out, piece, target)
        os.utime(target, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a whole gzip file: {error}; copy or download it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None


def _write(out: BinaryIO, piece: bytes, target: Path) -> None:
    try:
        out.write(piece)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written: {error.strerror}; free space or choose another --out"
        ) from None


def _folders_of(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _rebuild(root: str, read_timeout_s: float, read_retries: int) -> ArchiveStorage:
    return ArchiveStorage(root, read_timeout_s=read_timeout_s, read_retries=read_retries)
