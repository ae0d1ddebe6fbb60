"""Shards of event recordings: Parquet with one recording or slice a row, each readable by one ranged read.

x and y are u16, t is u32 in microseconds from t0, p is u8: little-endian, a blob each, so that any Parquet
reader has them by numpy.frombuffer. Every row is a row group: its four pages of events then follow each other
in the file, and their sizes, which the manifest keeps, are all that reading a single row needs. Lists instead
of blobs are read four to ten times slower.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.forms.bombs import refuse_bomb
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording
from pipelines.storage.event_payload import EventPayload, PackedColumn
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage
from raytrain.errors import StorageError

TYPES = {"x": "<u2", "y": "<u2", "t": "<u4", "p": "<u1"}
_DTYPES = tuple(np.dtype(kind) for kind in TYPES.values())
EVENT_BYTES = 9
"""of an event before compression"""
SCHEMA_VERSION = 1
CODECS = {"none": None, "lz4": "lz4_raw", "zstd": "zstd"}
_ZSTD_LEVEL = 1
_LENGTH_BYTES = 4
_MOST_US = 2**32
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("key", "split", "group")),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("label", "n", "t0", "width", "height")),
        *(pa.field(name, pa.large_binary(), nullable=False) for name in TYPES),
    ],
    {b"raytrain.events": str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """One row of a shard."""

    key: str
    label: int
    split: str
    group: str
    recording: Recording


@dataclass(frozen=True, kw_only=True)
class PlacedRow:
    """Where a row lies in its shard, and what the manifest keeps of it."""

    offset: int
    size: int
    checksum: str
    payload: EventPayload


def check_packable(recording: Recording) -> None:
    """Raise BadSample where a recording is too long for a row."""
    if recording.duration_us >= _MOST_US:
        raise BadSample(
            f"lasts {recording.duration_us} us, a packed recording less than {_MOST_US}; cut it by "
            "data.events.slice_ms, or repair its stamps"
        )


def write_event_shard(storage: Storage, path: str, rows: list[PackedRow], *, codec: str) -> list[PlacedRow]:
    """Write a shard, whole or not at all, and return where its rows lie.

    Raises:
        BadSample: a recording is too long for a row.
        StorageError: the disk is full, or what was written does not read back equal.
    """
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in ("key", "split", "group", "label")
    }
    columns |= {name: [getattr(row.recording, name) for row in rows] for name in ("width", "height")}
    columns |= {"n": [len(row.recording) for row in rows], "t0": [_t0(row.recording) for row in rows]}
    blobs = [_blobs(row.recording) for row in rows]
    columns |= {name: [blob[name] for blob in blobs] for name in TYPES}
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns, _SCHEMA),
        sink,
        row_group_size=1,
        compression=codec,
        compression_level=_ZSTD_LEVEL if codec == "zstd" else None,
        use_dictionary=False,
        write_statistics=False,
        # A page for each blob, however long.
        data_page_size=1,
        write_batch_size=1,
    )
    content = bytes(sink.getvalue())
    placed = _places(content, rows, codec)
    storage.write_atomic(path, content)
    if storage.read_bytes(path) != content:
        raise StorageError(f"{path}: does not read back as it was written; check the disk")
    return placed


def unpack_recording(
    data: bytes | memoryview, payload: EventPayload, *, width: int, height: int
) -> Recording:
    """Return the recording of a row's bytes, as `write_event_shard` placed them.

    Raises:
        BadSample: the bytes are not that row's, or a pixel lies outside the sensor.
    """
    count, start = payload.num_events, 0
    refuse_bomb(count * EVENT_BYTES, len(data), "a packed recording")
    columns = []
    for kind, column in zip(_DTYPES, payload.packed, strict=True):
        start += column.header_bytes
        columns.append(_blob(data, start, column.data_bytes, count=count, kind=kind, codec=payload.codec))
        start += column.data_bytes
    x, y, stamps, p = columns
    if count and ((width and x.max() >= width) or (height and y.max() >= height)):
        raise BadSample(f"a pixel lies outside the sensor of {width} x {height} px; prepare the data again")
    t = stamps.astype(np.int64)
    t += payload.t0_us
    return Recording(x=x, y=y, t=t, p=p, width=width, height=height)


def read_event_shard(data: bytes) -> Iterator[PackedRow]:
    """Yield the rows of a whole shard.

    Raises:
        BadSample: no shard of events.
    """
    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        refuse_bomb(sum(group.total_byte_size for group in groups), len(data), "a shard of events")
        table = pq.read_table(pa.BufferReader(data), schema=None)
        missing = [name for name in _SCHEMA.names if name not in table.column_names]
    except (pa.ArrowException, OSError) as error:
        raise BadSample(f"no shard of events: {str(error)[:120]}") from None
    if missing:
        raise BadSample(f"no shard of events: column {missing[0]} is missing")
    for row in table.to_pylist():
        columns = {name: np.frombuffer(row[name], kind) for name, kind in TYPES.items()}
        if {len(column) for column in columns.values()} != {row["n"]}:
            raise BadSample(f"no shard of events: row {row['key']!r} has columns of several lengths")
        recording = Recording(
            x=columns["x"],
            y=columns["y"],
            t=columns["t"].astype(np.int64) + row["t0"],
            p=columns["p"],
            width=row["width"],
            height=row["height"],
        )
        names = ("key", "label", "split", "group")
        yield PackedRow(**{name: row[name] for name in names}, recording=recording)


def _t0(recording: Recording) -> int:
    return int(recording.t[0]) if len(recording) else 0


def _blobs(recording: Recording) -> dict[str, bytes]:
    check_packable(recording)
    columns: dict[str, NDArray[Any]] = {"x": recording.x, "y": recording.y, "p": recording.p}
    columns["t"] = recording.t - _t0(recording)
    return {name: columns[name].astype(kind).tobytes() for name, kind in TYPES.items()}


def _blob(
    data: bytes | memoryview, start: int, stored: int, *, count: int, kind: np.dtype[Any], codec: str
) -> NDArray[Any]:
    """Return the column of a page, which is four bytes of the blob's length and then the blob."""
    size = _LENGTH_BYTES + count * kind.itemsize
    page, name = data, CODECS[codec]
    if name is not None:
        try:
            page = pa.decompress(memoryview(data)[start : start + stored], size, codec=name, asbytes=True)
        except (pa.ArrowException, OSError) as error:
            reason = str(error)[:80]
            raise BadSample(f"a packed recording cannot be unpacked: {reason}") from None
        start, stored = 0, len(page)
    length = int.from_bytes(page[start : start + _LENGTH_BYTES], "little")
    if stored != size or length != size - _LENGTH_BYTES or start + size > len(page):
        raise BadSample("a packed recording is not as the manifest says; prepare the data again")
    return np.frombuffer(page, kind, count, start + _LENGTH_BYTES)


def _places(content: bytes, rows: list[PackedRow], codec: str) -> list[PlacedRow]:
    metadata = pq.read_metadata(pa.BufferReader(content))
    first = _SCHEMA.get_field_index("x")
    placed = []
    for number, row in enumerate(rows):
        group = metadata.row_group(number)
        chunks = [group.column(first + place) for place in range(len(TYPES))]
        packed = tuple(
            _packed_column(chunk, len(row.recording) * np.dtype(kind).itemsize)
            for chunk, kind in zip(chunks, TYPES.values(), strict=True)
        )
        starts = [chunk.data_page_offset for chunk in chunks]
        sizes = [chunk.total_compressed_size for chunk in chunks]
        if any(start + size != after for start, size, after in zip(starts, sizes, starts[1:], strict=False)):
            raise AssertionError("the columns of a row do not follow each other")
        payload = EventPayload(
            codec=codec, t0_us=_t0(row.recording), num_events=len(row.recording), packed=packed
        )
        place = slice(starts[0], starts[0] + sum(sizes))
        placed.append(
            PlacedRow(offset=place.start, size=sum(sizes), checksum=checksum(content[place]), payload=payload)
        )
    return placed


def _packed_column(chunk: Any, blob_bytes: int) -> PackedColumn:
    """Return the sizes of a chunk of one page, whose data is the blob behind its length."""
    whole, stored = chunk.total_uncompressed_size, chunk.total_compressed_size
    header = whole - _LENGTH_BYTES - blob_bytes
    return PackedColumn(header, stored - header)
