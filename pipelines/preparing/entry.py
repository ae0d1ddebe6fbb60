"""What `prepare` keeps of each sample until its part is written."""

from dataclasses import dataclass

import pyarrow as pa

from pipelines.forms.recording import Recording


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One sample of a part; `payload` is what goes into the shard."""

    row: int
    uri: str = ""
    offset: int = 0
    size: int = -1
    checksum: str = ""
    reason: str = ""
    fate: str = ""
    """of a bad one, see `BadSample`"""
    addition: str = ""
    """to the key: which slice of a recording it is"""
    kind: str = ""
    """the manifest's payload of a packed recording"""
    num_events: int = -1
    payload: bytes = b""
    recording: Recording | None = None
    """what goes into a shard of events"""


PART_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "uri": pa.string(),
        "offset": pa.int64(),
        "size": pa.int64(),
        "checksum": pa.string(),
        "reason": pa.string(),
        "fate": pa.string(),
        "addition": pa.string(),
        "kind": pa.string(),
        "num_events": pa.int64(),
    }
)
"""columns of a part; the names are those of an entry"""
