"""The features file: what the frozen encoders make of every sample, written once, read by every measurement.

`<name>.npy` is float16 [N, cells, channels], readable by `numpy.load`; `<name>.json` beside it states the
shape and where it came from, and is written last: features without it are unfinished.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import ConfigError, DataError, StorageError

Mode = Literal["flat", "pooled"]
"""flat: every cell's channels; pooled: their mean over the cells"""

LAYERS = "layers"
BLOCK_BYTES = 64 << 20
GIB = 1 << 30
FLOAT16_MAX = 65504


def control_name(pathway: str) -> str:
    """Return the name of the features of a pathway's initial weights."""
    return f"{pathway}.control"


def layers_name(features: str) -> str:
    """Return the name of the features file that holds all layers of a pathway or its control."""
    return f"{features}.{LAYERS}"


class FeatureWriter:
    """Writes one features file through a memory map; blocks may come in any order, and twice."""

    def __init__(
        self, folder: Path, *, name: str, num_samples: int, cells: int, channels: int, max_gib: float
    ) -> None:
        """Reserve the whole file under a temporary name.

        Raises:
            ConfigError: the features of this folder would exceed `max_gib`.
            StorageError: the disk is too full, or the folder cannot be written.
        """
        shape = (num_samples, cells, channels)
        if min(shape) < 1:
            raise DataError(f"features {name}: shape {shape} holds nothing")
        self.name, self.path = name, Path(folder) / f"{name}.npy"
        self._temporary = self.path.with_name(self.path.name + ".part")
        self._written = np.zeros(num_samples, dtype=np.bool_)
        self._array: np.memmap[Any, np.dtype[np.float16]] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.unlink(missing_ok=True)
            self._check_size(2 * num_samples * cells * channels, max_gib)
            self._array = np.lib.format.open_memmap(self._temporary, mode="w+", dtype=np.float16, shape=shape)
            _reserve(self._temporary)
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one to report
                self.discard()
            raise StorageError(f"{self._temporary}: cannot be written: {error.strerror or error}") from None

    def _check_size(self, num_bytes: int, max_gib: float) -> None:
        folder = self.path.parent
        others = sum(
            path.stat().st_size for path in folder.glob("*.npy*") if not path.name.startswith(self.path.name)
        )
        total_gib = (num_bytes + others) / GIB
        if total_gib > max_gib:
            raise ConfigError(
                f"features {self.name} ({num_bytes / GIB:.3g} GiB) bring {folder} to {total_gib:.3g} GiB, "
                f"more than probe.max_features_gib = {max_gib:g}; raise it, or lower encoder.width"
            )
        free = shutil.disk_usage(folder).free
        if num_bytes > free:
            raise StorageError(
                f"{folder}: features {self.name} need {num_bytes / GIB:.3g} GiB, {free / GIB:.3g} GiB are "
                "free; free some space or name another --out"
            )

    def write(self, start: int, block: ArrayLike) -> None:
        """Store the features [b, cells, channels] of samples start .. start + b.

        Raises:
            DataError: wrong shape or range, or a value that float16 cannot hold.
        """
        array, values = self._open_array(), np.asarray(block)
        stop = start + len(values)
        if values.shape[1:] != array.shape[1:] or start < 0 or stop > len(array):
            raise DataError(
                f"features {self.name}: block {values.shape} at sample {start} does not fit {array.shape}"
            )
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        bad = np.argwhere(~np.isfinite(halves))
        if bad.size:
            value, sample = float(values[tuple(bad[0])]), start + int(bad[0][0])
            problem = "is not a number" if np.isnan(value) else f"exceeds float16 ({FLOAT16_MAX})"
            raise DataError(
                f"features of pathway {self.name}: value {value:.3g} {problem} at sample {sample}; "
                "its activations grew without bound: lower optimizer.learning_rate or use encoder.batch_norm"
            )
        array[start:stop] = halves
        self._written[start:stop] = True

    def close(self, meta: Mapping[str, Any] | None = None) -> Path:
        """Sync, rename and describe the file; return its path. `meta` is kept in the description.

        Raises:
            DataError: some samples were never written.
            StorageError: the file cannot be synced or renamed.
        """
        array, missing = self._open_array(), np.flatnonzero(~self._written)
        if missing.size:
            raise DataError(
                f"features {self.name}: {missing.size} of {self._written.size} samples were never written, "
                f"the first is {missing[0]}; run represent again"
            )
        described = {"shape": list(array.shape), "dtype": "float16", "meta": dict(meta or {})}
        description = _description(self.path)
        temporary = description.with_name(description.name + ".part")
        try:
            array.flush()
            _sync(self._temporary)
            temporary.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
            _sync(temporary)
            # The old description goes first: it must never stand beside other features.
            description.unlink(missing_ok=True)
            self._temporary.replace(self.path)
            temporary.replace(description)
            _sync(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be finished: {error.strerror or error}") from None
        self._array = None
        return self.path

    def discard(self) -> None:
        """Remove the unfinished file; a finished one stays."""
        self._array = None
        self._temporary.unlink(missing_ok=True)

    def _open_array(self) -> "np.memmap[Any, np.dtype[np.float16]]":
        if self._array is None:
            raise DataError(f"features {self.name}: the file is closed already")
        return self._array


class Features(Protocol):
    """What is needed of a features file; see `FeatureFile`."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def width(self, mode: Mode) -> int:
        """Return D, the number of features of a sample."""

    def read(self, rows: ArrayLike, mode: Mode, *, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Return f32[n, D]."""


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """The memory-mapped features of one pathway: `array` is float16 [N, cells, channels]."""

    name: str
    array: NDArray[np.float16]
    meta: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.array)

    def width(self, mode: Mode) -> int:
        """Return D, the number of features of a sample."""
        cells, channels = self.array.shape[1:]
        return int(cells * channels if mode == "flat" else channels)

    def read(self, rows: ArrayLike, mode: Mode, *, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Return the features of the given samples, f32[n, D] or only some of the D columns.

        Beyond the result itself it holds about 64 MiB, whatever n.
        """
        indices = np.asarray(rows, dtype=np.int64)
        matrix = self.array if mode == "pooled" else self.array.reshape(len(self.array), -1)
        width = len(range(*columns.indices(matrix.shape[-1])))
        result = np.empty((len(indices), width), dtype=np.float32)
        per_row = 4 * max(1, width) * (matrix.shape[1] if mode == "pooled" else 1)
        step = max(1, BLOCK_BYTES // per_row)
        for start in range(0, len(indices), step):
            part = matrix[indices[start : start + step], ..., columns]
            if mode == "pooled":
                result[start : start + step] = part.mean(axis=1, dtype=np.float32)
            else:
                result[start : start + step] = part
        return result


def open_features(folder: Path, name: str) -> FeatureFile:
    """Open a finished features file.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = Path(folder) / f"{name}.npy"
    try:
        described = json.loads(_description(path).read_text(encoding="utf-8"))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        expected = tuple(described["shape"])
        meta = described["meta"]
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename}: no finished features {name!r} here; run represent again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged features: {error}; delete it and run represent again") from None
    if array.shape != expected or array.dtype != np.float16 or array.ndim != 3:
        raise DataError(
            f"{path}: {array.dtype} {array.shape}, described as float16 {expected}; "
            "delete it and run represent again"
        )
    return FeatureFile(name=name, array=array, meta=meta)


def _description(path: Path) -> Path:
    return path.with_suffix(".json")


def _reserve(path: Path) -> None:
    """Allocate the blocks now: a full disk met through a memory map kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, path.stat().st_size)
        finally:
            os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
