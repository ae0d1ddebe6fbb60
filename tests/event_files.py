"""Files of event recordings in every format, written by plain means."""

import io
import struct

import numpy as np
import pyarrow as pa

from pipelines.forms.recording import Recording


def random_recording(
    count: int = 300, *, width: int = 34, height: int = 30, seed: int = 0, start_us: int = 40
) -> Recording:
    """A recording with equal stamps in it."""
    rng = np.random.default_rng(seed)
    return Recording(
        x=rng.integers(0, width, count).astype(np.uint16),
        y=rng.integers(0, height, count).astype(np.uint16),
        t=start_us + np.sort(rng.integers(0, 5 * count, count)),
        p=rng.integers(0, 2, count).astype(np.uint8),
        width=width,
        height=height,
    )


def same(a: Recording, b: Recording) -> bool:
    """Whether two recordings hold the same events, in columns of the promised types."""
    kinds = {"x": np.uint16, "y": np.uint16, "t": np.int64, "p": np.uint8}
    return all(
        getattr(a, name).dtype == kind and np.array_equal(getattr(a, name), getattr(b, name))
        for name, kind in kinds.items()
    )


def rows(recording: Recording) -> list[tuple[int, int, int, int]]:
    return list(zip(*(getattr(recording, name).tolist() for name in "xytp"), strict=True))


def bin_file(recording: Recording) -> bytes:
    """N-MNIST: each event apart, with a mark of the clock wherever 23 bits do not suffice."""
    data = bytearray()
    clock = 0
    for x, y, t, p in rows(recording):
        while t - clock >= 1 << 23:
            data += bytes([0, 240, 0, 0, 0])
            clock += 1 << 13
        low = t - clock
        data += bytes([x, y, p << 7 | low >> 16, low >> 8 & 255, low & 255])
    return bytes(data)


def dat_file(recording: Recording, *, sized: bool = False) -> bytes:
    header = b"% Data file containing Event2D events.\n% Version 2\n"
    header += b"% Height 240\n% Width 304\n" if sized else b""
    events = (struct.pack("<II", t & 0xFFFFFFFF, x | y << 14 | p << 28) for x, y, t, p in rows(recording))
    return header + bytes([0, 8]) + b"".join(events)


def aedat2_file(recording: Recording, *, chip: bytes = b"ch.unizh.ini.jaer.chip.retina.DVS128") -> bytes:
    header = b"#!AER-DAT2.0\r\n# AEChip: " + chip + b"\r\n#Start of Preferences for this AEChip\r\n"
    events = (
        struct.pack(">II", (127 - x) << 1 | (127 - y) << 8 | 1 - p, t & 0xFFFFFFFF)
        for x, y, t, p in rows(recording)
    )
    return header + b"".join(events)


def aedat3_file(recording: Recording, *, packet: int = 100) -> bytes:
    """Packets of polarity events, one event in each marked invalid, between packets of another kind."""
    data = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    events = rows(recording)
    for first in range(0, len(events), packet):
        part = events[first : first + packet]
        overflow = part[0][2] >> 31
        # Events of one packet share their overflow.
        body = struct.pack("<Ii", 5 << 17 | 5 << 2, 0)
        body += b"".join(
            struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF) for x, y, t, p in part
        )
        count = len(part) + 1
        data += struct.pack("<hhiiiiii", 1, 0, 8, 4, overflow, count, count, len(part)) + body
        data += struct.pack("<hhiiiiii", 0, 0, 12, 4, 0, 1, 1, 1) + bytes(12)
    return data


def aedat4_file(recording: Recording, *, codec: int = 1, packet: int = 100) -> bytes:
    """Two streams, of which the second has the events; codec 0 none, 1 lz4, 3 zstd."""
    width, height = recording.width, recording.height
    text = (
        '<dv version="2.0"><node name="outInfo"><node name="0"><attr key="typeIdentifier" type="string">IMUS'
        '</attr></node><node name="1"><attr key="typeIdentifier" type="string">EVTS</attr><node name="info">'
        f'<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
        "</node></node>"
        "</node></dv>"
    ).encode()
    # Table of compression i32 at 4, place of the contents i64 at 8, description at 16.
    entries = struct.pack("<HHHHH", 10, 20, 4, 8, 16)
    table = struct.pack("<iiqI", len(entries) + 2, codec, -1, 4) + struct.pack("<I", len(text)) + text + b"\0"
    header = struct.pack("<I", 4 + len(entries) + 2) + entries + b"\0\0" + table
    data = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    events = rows(recording)
    for first in range(0, len(events), packet):
        part = events[first : first + packet]
        body = b"".join(struct.pack("<qhhB3x", t, x, y, p) for x, y, t, p in part)
        inner = struct.pack("<I4sHHHH", 16, b"EVTS", 6, 8, 4, 0)
        inner += struct.pack("<iII", 8, 4, len(part)) + body
        buffer = struct.pack("<I", len(inner)) + inner
        for stream in (0, 1):
            payload = _compressed(buffer if stream else b"something else", codec)
            data += struct.pack("<ii", stream, len(payload)) + payload
    return data


def _compressed(data: bytes, codec: int) -> bytes:
    if not codec:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {1: "lz4", 3: "zstd"}[codec]) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def npy_file(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def xytp(recording: Recording, *, seconds: bool = False, signs: bool = True) -> np.ndarray:
    """The [N, 4] of Gehrig et al."""
    t = recording.t / 1e6 if seconds else recording.t
    p = recording.p.astype(np.int64) * 2 - 1 if signs else recording.p
    return np.stack([recording.x, recording.y, t, p], axis=1)
