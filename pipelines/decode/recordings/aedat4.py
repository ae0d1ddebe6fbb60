"""AEDAT4 (DV, CIFAR10-DVS): a flatbuffer of what is recorded, then compressed packets of flatbuffers.

Only what leads to the events is read: the header's description of the streams, and of each packet of the
first event stream its vector of 16-byte events (i64 microseconds, i16 x, i16 y, u8 polarity).
Source: iniVation's description of the format.
"""

import re
import struct

import numpy as np
import pyarrow as pa

from pipelines.decode.recordings.columns import Columns
from pipelines.forms.bombs import MAX_RATIO, most_bytes
from pipelines.forms.quarantine import BadSample

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
_KIND = b"EVTS"
_CODECS = {0: None, 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}
_PIECE_BYTES = 2**18
_CUT_OFF = "AEDAT4: cut off or damaged"


def decode_aedat4(data: bytes) -> Columns:
    """Return the events of the first event stream.

    Raises:
        BadSample: damaged, cut off, or without an event stream.
    """
    try:
        return _decode(data)
    except (struct.error, IndexError, ValueError, OverflowError, pa.ArrowException, OSError) as error:
        raise BadSample(f"{_CUT_OFF} ({type(error).__name__})") from None


def _decode(data: bytes) -> Columns:
    start = len(MAGIC)
    header_end = start + 4 + struct.unpack_from("<I", data, start)[0]
    table = _root(data, start + 4)
    place = _field(data, table, 0)
    number = struct.unpack_from("<i", data, place)[0] if place else 0
    if number not in _CODECS:
        raise BadSample(f"AEDAT4: compression {number} is not known; damaged")
    codec = _CODECS[number]
    place = _field(data, table, 1)
    end = struct.unpack_from("<q", data, place)[0] if place else -1
    end = end if end > 0 else len(data)  # a recorder that was killed wrote no table of contents
    streams = _event_streams(data, table)
    stream, width, height = streams[0]
    if end > len(data):
        raise BadSample(_CUT_OFF)
    packets, start, left = [], header_end, most_bytes(len(data))
    while start < end:
        number, size = struct.unpack_from("<ii", data, start)
        start += 8
        if size < 0 or start + size > end:
            raise BadSample(_CUT_OFF)
        if number == stream:
            unpacked = _unpack(data[start : start + size], codec, left)
            left -= len(unpacked)
            packets.append(_events(unpacked))
        start += size
    events = np.concatenate(packets) if packets else np.zeros(0, EVENT)
    return Columns(
        x=events["x"],
        y=events["y"],
        t=events["t"].copy(),
        p=events["p"] != 0,
        width=width,
        height=height,
        read_as=f"the first of {len(streams)} streams of events" if len(streams) > 1 else "",
    )


def _event_streams(data: bytes, table: int) -> list[tuple[int, int, int]]:
    """Return number, width and height of each event stream; sizes are 0 where they are not said."""
    place = _field(data, table, 2)
    if not place:
        raise BadSample("AEDAT4: the header describes no streams; damaged")
    place += struct.unpack_from("<I", data, place)[0]
    length = struct.unpack_from("<I", data, place)[0]
    text = data[place + 4 : place + 4 + length].decode("utf-8", "replace")
    # A whole XML parser would fail where a later part of the header is odd; a stream is a numbered node.
    streams = []
    pieces = re.split(r'<node name="(\d+)"', text)
    for number, description in zip(pieces[1::2], pieces[2::2], strict=True):
        if re.search(r'key="typeIdentifier"[^>]*>EVTS<', description):
            found = (re.search(rf'key="size{axis}"[^>]*>(\d+)<', description) for axis in "XY")
            width, height = (int(size[1]) if size else 0 for size in found)
            streams.append((int(number), width, height))
    if not streams:
        raise BadSample("AEDAT4: holds no stream of events")
    return streams


def _unpack(packed: bytes, codec: str | None, most: int) -> bytes:
    """Return a packet's flatbuffer; in pieces, because nothing says how long it will be."""
    if codec is None:
        return packed
    pieces, size = [], 0
    with pa.CompressedInputStream(pa.BufferReader(packed), codec) as stream:
        while piece := stream.read(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise BadSample(
                    f"AEDAT4: a packet of {len(packed)} bytes unpacks to more than the {most} bytes left of "
                    f"{MAX_RATIO} times the file; this looks like a decompression bomb"
                )
    return b"".join(pieces)


def _events(data: bytes) -> np.ndarray:
    if data[8:12] != _KIND:
        raise BadSample("AEDAT4: a packet of the event stream holds something else; damaged")
    place = _field(data, _root(data, 4), 0)
    if not place:
        return np.zeros(0, EVENT)
    place += struct.unpack_from("<I", data, place)[0]
    count = struct.unpack_from("<I", data, place)[0]
    return np.frombuffer(data, EVENT, count, place + 4)


def _root(data: bytes, start: int) -> int:
    """Return the place of the root table of a flatbuffer that begins at `start`."""
    return int(start + struct.unpack_from("<I", data, start)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Return the place of a table's field; 0: it has its default value."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, entries)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, entries + slot)[0] if slot < size else 0
    return int(table + offset) if offset else 0
