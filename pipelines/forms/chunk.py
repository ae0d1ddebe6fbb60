"""A chunk of decoded samples, and its form as an Arrow table whose pixels are read without a copy."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Values of which every sample has its own number, without padding: [n, ...] of all samples in a row."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    """i64[L + 1]; sample i has values[offsets[i] : offsets[i + 1]]"""

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]]) -> "Ragged":
        """Return the parts of consecutive samples, [n_i, ...] each, as one."""
        offsets = np.cumsum([0, *map(len, parts)])
        return cls(np.concatenate(parts), offsets.astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, sample: int) -> NDArray[Any]:
        values: NDArray[Any] = self.values[self.offsets[sample] : self.offsets[sample + 1]]
        return values

    def take(self, samples: NDArray[np.int64]) -> "Ragged":
        """Return some samples, maybe none, in memory of their own."""
        counts = np.diff(self.offsets)[samples]
        parts = [self.values[:0], *(self[int(sample)] for sample in samples)]
        return Ragged(np.concatenate(parts), np.cumsum([0, *counts], dtype=np.int64))


Column = NDArray[Any] | Ragged


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Decoded samples of consecutive positions of one lane; read-only: many pathways share its memory."""

    number: int
    epoch: int
    rows: NDArray[np.int64]
    """manifest rows"""
    positions: NDArray[np.int64]
    valid: NDArray[np.bool_]
    keys: list[str]
    key_hashes: NDArray[np.uint64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    factors: NDArray[np.float32]
    columns: dict[str, Column]
    """what was decoded. image: `images` u8[L, 3, H, W]; clip: see `pipelines.forms.clip_columns`"""
    label_sets: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """u8[L, labels] of 0 and 1; no labels where a sample has one class at most"""
    decodes: int = 0
    """files opened for this chunk"""
    counts: dict[str, int] = field(default_factory=dict)
    """how many samples were special in some way, e.g. `short`: clips whose last frame was repeated"""
    quarantined: list[dict[str, str]] = field(default_factory=list)
    operated: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """outputs of operators placed in the stream, f32[L, C, H, W] by name"""

    def __post_init__(self) -> None:
        if len(self.label_sets) != len(self.rows):
            object.__setattr__(self, "label_sets", np.zeros((len(self.rows), 0), np.uint8))

    def __len__(self) -> int:
        return len(self.rows)

    def without_invalid(self) -> "Chunk":
        """Return the chunk without the samples that are not valid; where all are, itself."""
        if self.valid.all():
            return self
        places = np.flatnonzero(self.valid)

        def take(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: take(inner) for name, inner in value.items()}
            return value.take(places) if isinstance(value, Ragged) else value[places]

        named = (*_SCALARS, *_ARRAYS, "columns", "operated")
        taken = {name: take(getattr(self, name)) for name in named}
        return replace(self, keys=[self.keys[place] for place in places], **taken)

    @property
    def images(self) -> NDArray[np.uint8]:
        """The samples of a chunk of images, u8[L, 3, H, W]."""
        images = self.columns["images"]
        assert isinstance(images, np.ndarray)
        return images


_SCALARS = ("rows", "positions", "valid", "key_hashes", "labels", "groups")
_ARRAYS = ("factors", "label_sets")
_COLUMN, _OPERATED = "column:", "operated:"


def to_table(chunk: Chunk) -> pa.Table:
    """Return a chunk of at least one sample as an Arrow table; arrays become binary columns."""
    arrays: dict[str, Column] = {name: getattr(chunk, name) for name in _ARRAYS}
    arrays |= {f"{_COLUMN}{name}": value for name, value in chunk.columns.items()}
    arrays |= {f"{_OPERATED}{name}": value for name, value in chunk.operated.items()}
    columns: dict[str, Any] = {name: pa.array(getattr(chunk, name)) for name in _SCALARS}
    columns["keys"] = pa.array(chunk.keys, pa.string())
    columns |= {name: _to_arrow(value) for name, value in arrays.items()}
    # In a column, because Ray Data does not promise to keep a table's schema metadata.
    header = {
        "number": chunk.number,
        "epoch": chunk.epoch,
        "decodes": chunk.decodes,
        "counts": chunk.counts,
        "quarantined": chunk.quarantined,
        "arrays": {name: _describe(value) for name, value in arrays.items()},
    }
    columns["header"] = pa.array([json.dumps(header)] + [None] * (len(chunk) - 1), pa.string())
    return pa.table(columns)


def from_table(table: pa.Table) -> Chunk:
    """Return the chunk of a table; its arrays are views of the table's memory.

    Raises: KeyError for a table of an earlier version.
    """
    header = json.loads(table.column("header")[0].as_py())
    arrays: dict[str, Any] = {
        name: _from_arrow(table.column(name), dtype, tuple(shape), kind)
        for name, (dtype, shape, kind) in header["arrays"].items()
    }

    def named(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}

    return Chunk(
        number=header["number"],
        epoch=header["epoch"],
        decodes=header["decodes"],
        counts=header["counts"],
        quarantined=header["quarantined"],
        keys=table.column("keys").to_pylist(),
        columns=named(_COLUMN),
        operated=named(_OPERATED),
        **{name: table.column(name).to_numpy() for name in _SCALARS},
        **{name: arrays[name] for name in _ARRAYS},
    )


def _describe(column: Column) -> tuple[str, tuple[int, ...], str]:
    """Return dtype, shape of one value, and whether a sample has one of them or many."""
    values, kind = (column.values, "ragged") if isinstance(column, Ragged) else (column, "one")
    return str(values.dtype), values.shape[1:], kind


def _to_arrow(column: Column) -> pa.Array:
    if not isinstance(column, Ragged):
        return pack(column)
    values = np.ascontiguousarray(column.values)
    size = values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    buffers = [None, pa.py_buffer(column.offsets * size), pa.py_buffer(values)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(column), buffers)


def _from_arrow(column: pa.ChunkedArray, dtype: str, shape: tuple[int, ...], kind: str) -> Column:
    if kind == "one":
        return unpack(column, dtype, shape)
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    ends = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1, array.offset * 8)
    flat = np.frombuffer(array.buffers()[2], np.uint8) if array.buffers()[2] else np.zeros(0, np.uint8)
    values = flat[ends[0] : ends[-1]].view(dtype).reshape(-1, *shape)
    return Ragged(values, (ends - ends[0]) // size)


def pack(values: NDArray[Any]) -> pa.Array:
    """Return an array [n, ...] as a fixed-size binary column of n values."""
    values = np.ascontiguousarray(values)
    size = int(values.dtype.itemsize * np.prod(values.shape[1:], dtype=np.int64))
    if size == 0:
        return pa.nulls(len(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(values), [None, pa.py_buffer(values)])


def unpack(column: pa.ChunkedArray, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a fixed-size binary column as an array [n, *shape], a view of its memory."""
    if np.prod(shape, dtype=np.int64) == 0 or len(column) == 0:
        return np.zeros((len(column), *shape), dtype=dtype)
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    size = array.type.byte_width
    flat = np.frombuffer(array.buffers()[1], np.uint8, len(array) * size, array.offset * size)
    return flat.view(dtype).reshape(len(array), *shape)
