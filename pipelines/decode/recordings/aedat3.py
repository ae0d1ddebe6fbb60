"""AEDAT-3.1 (cAER, the original DVS128 Gesture): a text header, then packets behind headers of 28 bytes.

Packets of polarity events have type 1 and little-endian events of 8 bytes: bit 0 valid, bit 1 polarity, bits
2-16 y, bits 17-31 x, then 31 bits of time in microseconds, whose overflows the packet counts.
Source: iniVation's description of the format.
"""

import struct

import numpy as np

from pipelines.decode.recordings.columns import Columns
from pipelines.forms.quarantine import BadSample

RECORD_BYTES = 8
_HEADER = struct.Struct("<hhiiiiii")
_END = b"#!END-HEADER"
_POLARITY = 1


def decode_aedat3(data: bytes) -> Columns:
    """Return the valid polarity events; other packets are passed over.

    Raises:
        BadSample: a header without end, or it ends within a packet.
    """
    words: list[np.ndarray] = []
    stamps: list[np.ndarray] = []
    start = _header_bytes(data)
    while start < len(data):
        if start + _HEADER.size > len(data):
            raise BadSample("AEDAT-3.1: ends within the header of a packet; cut off")
        kind, _, size, offset, overflow, capacity, count, _ = _HEADER.unpack_from(data, start)
        start += _HEADER.size
        stored = max(capacity, count)
        if size <= 0 or count < 0 or start + size * stored > len(data):
            raise BadSample(f"AEDAT-3.1: a packet of {stored} events ends after the file; cut off or damaged")
        if kind == _POLARITY and (size, offset) == (RECORD_BYTES, 4):
            pairs = np.frombuffer(data, "<u4", 2 * count, start).reshape(count, 2)
            pairs = pairs[(pairs[:, 0] & 1) == 1]
            words.append(pairs[:, 0])
            stamps.append(pairs[:, 1].astype(np.int64) + (overflow << 31))
        start += size * stored
    word = np.concatenate(words) if words else np.zeros(0, np.uint32)
    return Columns(
        x=(word >> 17).astype(np.uint16),
        y=(word >> 2 & 0x7FFF).astype(np.uint16),
        t=np.concatenate(stamps) if stamps else np.zeros(0, np.int64),
        p=(word >> 1 & 1).astype(np.uint8),
    )


def _header_bytes(data: bytes) -> int:
    place = data.find(_END)
    end = data.find(b"\n", place)
    if place < 0 or end < 0:
        raise BadSample("AEDAT-3.1: the header has no end; cut off")
    return end + 1
