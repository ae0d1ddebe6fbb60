"""Shards: many samples in one Parquet file, each readable by one ranged read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.storage.places import Storage
from raytrain.errors import StorageError

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("payload", pa.binary(), nullable=False),
    ]
)


def write_shard(
    storage: Storage, path: str, *, keys: list[str], labels: NDArray[np.int64], payloads: list[bytes]
) -> list[int]:
    """Write a shard, whole or not at all, and return each payload's byte offset in it.

    Uncompressed plain pages hold the payloads as they are, each behind its length of four bytes, so any
    Parquet reader reads the file and a ranged read gets one sample.

    Raises:
        StorageError: the disk is full, or what was written does not read back equal.
    """
    table = pa.table(
        [pa.array(keys, pa.string()), pa.array(labels), pa.array(payloads, pa.binary())], _SCHEMA
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="none",
        use_dictionary=False,
        column_encoding={"key": "PLAIN", "label": "PLAIN", "payload": "PLAIN"},
        write_statistics=False,
        row_group_size=max(1, len(keys)),
        store_schema=False,
    )
    content = bytes(sink.getvalue())
    offsets = _find_payloads(content, payloads)
    storage.write_atomic(path, content)
    if storage.read_bytes(path) != content:
        raise StorageError(f"{path}: does not read back as it was written; check the disk")
    return offsets


def _find_payloads(content: bytes, payloads: list[bytes]) -> list[int]:
    """Return the offset of each payload; only page headers stand between one and the next."""
    offsets, start = [], 0
    for payload in payloads:
        # With its length before it, because a short payload may occur by chance in a page header.
        place = content.find(len(payload).to_bytes(4, "little") + payload, start)
        if place < 0:
            raise AssertionError("a payload is not stored in one piece")
        offsets.append(place + 4)
        start = place + 4 + len(payload)
    return offsets
