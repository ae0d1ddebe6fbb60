"""data.cache = disk: the chunks of epoch 0 in files, so that later epochs and later starts decode nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipelines.forms.chunk import Chunk, from_table, to_table
from raytrain.errors import StorageError


@dataclass(frozen=True)
class DiskCache:
    """Chunks by number in a folder, each written whole or not at all."""

    folder: str

    def read(self, number: int) -> Chunk | None:
        """Return a kept chunk; None where there is none, or none that is whole: it is made again.

        Raises:
            StorageError: the file is there and the disk does not give it.
        """
        path = self._path(number)
        try:
            with pa.memory_map(str(path)) as file:
                return from_table(pa.ipc.open_file(file).read_all())
        except (FileNotFoundError, pa.ArrowInvalid, KeyError):  # KeyError: of an earlier version
            return None
        except OSError as error:
            raise StorageError(
                f"{path}: cached chunk cannot be read: {error.strerror or error}; remove it, or set "
                "data.cache = none"
            ) from None

    def write(self, chunk: Chunk) -> None:
        """Keep a chunk.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        path = self._path(chunk.number)
        aside = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            table = to_table(chunk)
            with pa.ipc.new_file(str(aside), table.schema) as file:
                file.write_table(table)
            aside.rename(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise StorageError(
                f"{path}: cached chunk not written: {error.strerror}; free space or set data.cache = none"
            ) from None

    def _path(self, number: int) -> Path:
        return Path(self.folder) / f"{number:08d}.arrow"
