"""Columns of a manifest in memory: kept small, compared and hashed without a Python object a row.

Text has 64-bit offsets throughout, so no column overflows at 2 GiB; each column is one piece, because rows
are looked up one by one and a column of pieces is copied for that. A column that repeats few texts is kept as
numbers and a dictionary; one that equals the keys, as places and groups of a class folder do, is the keys'
own memory.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.forms.randomness import mix

UInt64s = NDArray[np.uint64]
Column: TypeAlias = pa.ChunkedArray
Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray
"""texts as a list, or as an Arrow column of any text type"""

TEXT = pa.large_string()
CODED = pa.dictionary(pa.int32(), TEXT)

_BLOCK = 2**16
"""rows that are hashed at once"""
_LOOKED_AT = 4096
"""rows that say whether a column repeats itself"""


def text_array(values: Texts) -> pa.Array | pa.ChunkedArray:
    """Return texts with 64-bit offsets, no longer as a dictionary."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == TEXT else values.cast(TEXT)
    return pa.array(values, TEXT)


def compact(column: Column, *, coded: bool, like: Column | None = None) -> Column:
    """Return a column as one piece: text with 64-bit offsets, or coded; `like`, where it equals that."""
    if not _is_text(column.type):
        return _one_piece(column)
    if pa.types.is_dictionary(column.type):
        return _one_piece(column.cast(CODED) if coded else text_array(column))
    column = _one_piece(text_array(column))
    if like is not None and column.equals(like):
        return like
    first = column.slice(0, _LOOKED_AT)
    if not coded or 2 * pc.count_distinct(first, mode="all").as_py() > len(first):
        return column
    found = _one_piece(column.dictionary_encode())
    return found if 2 * len(found.chunk(0).dictionary) <= len(column) else column


def codes_of(column: Column) -> tuple[NDArray[np.int32], pa.Array]:
    """Return the number of each row's text, i32[N], and the texts, in the order of first appearance."""
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = _one_piece(coded).chunk(0)
    # A dictionary may have texts that no row has, and any order.
    numbers = whole.indices.dictionary_encode()
    return np.asarray(numbers.indices.to_numpy(), np.int32), whole.dictionary.take(numbers.dictionary)


def repeated(column: Column) -> tuple[int, str] | None:
    """Return how many rows repeat a former one's text, and one such text; None: all differ."""
    plain = text_array(column)
    if len(plain) < 2 or pc.all(pc.less(plain.slice(0, len(plain) - 1), plain.slice(1))).as_py():
        return None
    # 64-bit hashes say whom to compare: a table of the texts themselves takes five times the memory.
    ordered = text_hashes(plain)
    ordered.sort()
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(shared):
        return None
    counts = plain.take(pa.array(np.flatnonzero(np.isin(text_hashes(plain), shared)))).value_counts()
    surplus = pc.sum(pc.struct_field(counts, "counts")).as_py() - len(counts)
    if not surplus:
        return None
    return surplus, next(item["values"] for item in counts.to_pylist() if item["counts"] > 1)


def text_hashes(column: pa.Array | Column) -> UInt64s:
    """Return a 64-bit hash of each text, u64[N]: for finding equal ones, in this process."""
    found, done = np.empty(len(column), np.uint64), 0
    for block in _blocks(column):
        found[done : done + len(block)] = _hashes(block)
        done += len(block)
    return found


def _hashes(block: pa.Array) -> UInt64s:
    starts, sizes, data = _text_parts(block)
    padded = np.zeros(len(data) + 8, np.uint8)
    padded[: len(data)] = data
    words = np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))  # the eight bytes from each on
    found: UInt64s = mix(sizes.astype(np.uint64))
    with np.errstate(over="ignore"):
        for done in range(0, int(sizes.max(initial=0)), 8):
            rows = np.flatnonzero(sizes > done)
            unused = (8 * np.maximum(0, 8 - (sizes[rows] - done))).astype(np.uint64)
            found[rows] = mix(found[rows] ^ (words[starts[rows] + done] << unused))
    return found


def update_digest(digest: Any, name: str, column: Column) -> None:
    """Feed a column to a digest: its name, kind and values, however it is cut, coded or stored.

    No two columns are fed alike: the length of every text is, and whether a value is null.
    """
    kind = "text" if _is_text(column.type) else "i8" if pa.types.is_integer(column.type) else "f4"
    digest.update(json.dumps([name, kind, len(column), column.null_count]).encode())
    for block in _blocks(column):
        if column.null_count:
            digest.update(np.packbits(block.is_valid().to_numpy(zero_copy_only=False)))
        if kind == "text":
            _, sizes, data = _text_parts(block.drop_null())
            digest.update(sizes.astype("<i8"))
            digest.update(data)
        else:
            values = block.drop_null().to_numpy(zero_copy_only=False)
            digest.update(np.ascontiguousarray(values, f"<{kind}"))


def _text_parts(block: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return each text's first byte and size, i64[n], and the bytes of all, u8[...]; no nulls."""
    plain = text_array(block)
    _, ends, data = plain.buffers()
    if not len(plain) or data is None:
        return np.zeros(len(plain), np.int64), np.zeros(len(plain), np.int64), np.zeros(0, np.uint8)
    bounds = np.frombuffer(ends, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    own = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    return bounds[:-1] - bounds[0], np.diff(bounds), own


def _blocks(column: pa.Array | Column) -> Iterator[pa.Array]:
    """Yield a column in pieces of equally many rows, however it is cut itself."""
    whole = _one_piece(column)
    for start in range(0, len(whole), _BLOCK):
        yield whole.chunk(0).slice(start, _BLOCK)


def _one_piece(column: pa.Array | Column) -> Column:
    if isinstance(column, pa.Array):
        return pa.chunked_array([column])
    if column.num_chunks == 1:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    chunks = column.chunks or [pa.array([], column.type)]
    return pa.chunked_array([pa.concat_arrays(chunks)])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
