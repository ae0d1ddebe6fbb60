"""Prophesee .dat (N-CARS): a text header of lines that begin with %, event type and size, then 8-byte events.

A file without that header, as their toolbox reads it, holds 2D events. An event is u32 time in microseconds,
then x in 14 bits, y in 14 and polarity in 4, little-endian.
"""

import re

import numpy as np

from pipelines.decode.recordings.columns import Columns, unwrap, whole_records
from pipelines.forms.quarantine import BadSample

RECORD_BYTES = 8
_TYPES = (0x00, 0x0C)
"""event types of this layout: 2D events, and contrast detector events"""


def header_bytes(data: bytes) -> int:
    """Return where the events begin; `data` may be the first kilobytes of the file.

    Raises:
        BadSample: no .dat, or events of another kind.
    """
    if not data.startswith(b"%"):
        return 0
    start = 0
    while data[start : start + 1] == b"%":
        end = data.find(b"\n", start)
        if end < 0:
            raise BadSample(".dat: the header has no end; cut off")
        start = end + 1
    if len(data) < start + 2:
        raise BadSample(".dat: ends within its header; cut off")
    kind, size = data[start], data[start + 1]
    if size != RECORD_BYTES or kind not in _TYPES:
        raise BadSample(f".dat: events of type {kind} and {size} bytes; type 0 or 12 of 8 bytes can be read")
    return start + 2


def decode_dat(data: bytes) -> Columns:
    """Return the events; time that runs over 2^32 us goes on.

    Raises:
        BadSample: no .dat, or it ends within an event.
    """
    start = header_bytes(data)
    count = whole_records(memoryview(data)[start:], RECORD_BYTES, ".dat")
    words = np.frombuffer(data, "<u4", 2 * count, start).reshape(count, 2)
    places = words[:, 1]
    if count and places.max() >= 2 << 28:
        raise BadSample(f".dat: polarity {places.max() >> 28}; it must be 0 or 1: damaged")
    return Columns(
        x=(places & 0x3FFF).astype(np.uint16),
        y=(places >> 14 & 0x3FFF).astype(np.uint16),
        t=unwrap(words[:, 0].astype(np.int64), 32),
        p=(places >> 28).astype(np.uint8),
        width=_named(data[:start], rb"Width"),
        height=_named(data[:start], rb"Height"),
    )


def _named(header: bytes, name: bytes) -> int:
    found = re.search(rb"(?m)^% *" + name + rb" +(\d+)\s*$", header)
    return int(found[1]) if found else 0
