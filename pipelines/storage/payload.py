"""A sample's stored bytes: opened once, their number and checksum checked."""

import hashlib

from pipelines.forms.quarantine import BadSample
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.raw import is_raw


def read_payload(manifest: Manifest, index: int, storage: Storage) -> bytes:
    """Return a row's stored bytes, their number and checksum checked; this counts as an opening.

    Raises:
        BadSample: missing, or changed since the manifest was made.
        StorageError: storage failed for longer than the retries.
    """
    count_opened()
    table = manifest.table
    size, offset = table["bytes"][index].as_py(), table["offset"][index].as_py()
    # An encoded payload at offset 0 is a whole file: shards and archives begin with something else.
    ranged = {"offset": offset, "length": size} if offset or is_raw(manifest.payload_of(index)) else {}
    payload = storage.read_bytes(table["uri"][index].as_py(), **ranged)
    if size not in (-1, len(payload)):
        raise BadSample(f"size: {len(payload)} bytes, but the manifest says {size}; the file has changed")
    expected = table["checksum"][index].as_py()
    if expected and checksum(payload) != expected:
        raise BadSample("checksum differs from the manifest; the file has changed or is damaged")
    return payload


def checksum(payload: bytes) -> str:
    """Return the BLAKE2b-128 checksum, hex."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()
