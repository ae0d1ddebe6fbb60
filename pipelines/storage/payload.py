"""A sample's stored bytes: opened once, their number and checksum checked."""

import hashlib

from pipelines.forms.quarantine import BadSample
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.ranges import Range
from pipelines.storage.raw import is_raw
from pipelines.storage.rows import Row


def read_payload(row: Row, storage: Storage) -> bytes:
    """Return a row's stored bytes, their number and checksum checked; this counts as an opening.

    Raises:
        BadSample: missing, or changed since the manifest was made.
        StorageError: storage failed for longer than the retries.
    """
    count_opened()
    place = range_of(row)
    if place is None:
        payload = storage.read_bytes(row.uri)
    else:
        payload = storage.read_bytes(row.uri, offset=place.offset, length=place.length)
    if row.size not in (-1, len(payload)):
        raise BadSample(f"size: {len(payload)} bytes, but the manifest says {row.size}; the file has changed")
    if row.checksum and checksum(payload) != row.checksum:
        raise BadSample("checksum differs from the manifest; the file has changed or is damaged")
    return payload


def range_of(row: Row) -> Range | None:
    """Return where in its file a row's payload lies; None: it is the whole file."""
    # An encoded payload at offset 0 is a whole file: shards and archives begin with something else.
    return Range(row.uri, row.offset, row.size) if row.offset or is_raw(row.payload) else None


def checksum(payload: bytes) -> str:
    """Return the BLAKE2b-128 checksum, hex."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()
