"""A chunk of decoded samples, and its form as an Arrow table whose pixels are read without a copy."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


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
    images: NDArray[np.uint8]
    """u8[L, 3, H, W]"""
    label_sets: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """u8[L, labels] of 0 and 1; no labels where a sample has one class at most"""
    decodes: int = 0
    """files opened for this chunk"""
    quarantined: list[dict[str, str]] = field(default_factory=list)
    operated: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """outputs of operators placed in the stream, f32[L, C, H, W] by view name"""

    def __post_init__(self) -> None:
        if len(self.label_sets) != len(self.rows):
            object.__setattr__(self, "label_sets", np.zeros((len(self.rows), 0), np.uint8))

    def __len__(self) -> int:
        return len(self.rows)


_SCALARS = ("rows", "positions", "valid", "key_hashes", "labels", "groups")
_ARRAYS = ("factors", "images", "label_sets")


def to_table(chunk: Chunk) -> pa.Table:
    """Return a chunk of at least one sample as an Arrow table; arrays become fixed-size binary columns."""
    arrays = {name: getattr(chunk, name) for name in _ARRAYS}
    arrays |= {f"operated:{name}": value for name, value in chunk.operated.items()}
    columns: dict[str, Any] = {name: pa.array(getattr(chunk, name)) for name in _SCALARS}
    columns["keys"] = pa.array(chunk.keys, pa.string())
    columns |= {name: pack(value) for name, value in arrays.items()}
    # In a column, because Ray Data does not promise to keep a table's schema metadata.
    header = {
        "number": chunk.number,
        "epoch": chunk.epoch,
        "decodes": chunk.decodes,
        "quarantined": chunk.quarantined,
        "arrays": {name: [str(value.dtype), value.shape[1:]] for name, value in arrays.items()},
    }
    columns["header"] = pa.array([json.dumps(header)] + [None] * (len(chunk) - 1), pa.string())
    return pa.table(columns)


def from_table(table: pa.Table) -> Chunk:
    """Return the chunk of a table; its arrays are views of the table's memory."""
    header = json.loads(table.column("header")[0].as_py())
    arrays = {
        name: unpack(table.column(name), dtype, tuple(shape))
        for name, (dtype, shape) in header["arrays"].items()
    }
    prefix = "operated:"
    return Chunk(
        number=header["number"],
        epoch=header["epoch"],
        decodes=header["decodes"],
        quarantined=header["quarantined"],
        keys=table.column("keys").to_pylist(),
        operated={
            name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)
        },
        **{name: table.column(name).to_numpy() for name in _SCALARS},
        # Chunks kept by an earlier version have no label sets.
        **{name: arrays[name] for name in _ARRAYS if name in arrays},
    )


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
