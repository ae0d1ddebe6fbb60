"""AEDAT-2.0 of the DVS128 (jAER): a text header of lines that begin with #, then big-endian pairs of 32 bits.

A pair is an address and a stamp in microseconds. Address of the DVS128: bit 0 polarity, 0 for ON; bits 1-7
the column counted from the right; bits 8-14 the row counted from the bottom; anything above marks a special
event, which is no pixel's. Here, as in all formats, x runs to the right, y down, and 1 is ON.
Source: jAER's extractor of the DVS128 (column and polarity), whose own rows run up.
"""

import numpy as np

from pipelines.decode.recordings.columns import Columns, unwrap, whole_records
from pipelines.forms.quarantine import BadSample

RECORD_BYTES = 8
SIDE_PX = 128
_SPECIAL = ~np.uint32(0x7FFF)


def decode_aedat2(data: bytes) -> Columns:
    """Return the events of the pixels; stamps that run over 2^32 us go on.

    Raises:
        BadSample: another sensor's recording, or it ends within an event.
    """
    start = 0
    while data[start : start + 1] == b"#":
        end = data.find(b"\n", start)
        if end < 0:
            raise BadSample("AEDAT-2.0: the header has no end; cut off")
        start = end + 1
    _check_chip(data[:start])
    count = whole_records(memoryview(data)[start:], RECORD_BYTES, "AEDAT-2.0")
    pairs = np.frombuffer(data, ">u4", 2 * count, start).reshape(count, 2)
    address, stamps = pairs[:, 0].astype(np.uint32), pairs[:, 1].astype(np.int64)
    pixels = (address & _SPECIAL) == 0
    if not pixels.all():
        address, stamps = address[pixels], stamps[pixels]
    return Columns(
        x=(SIDE_PX - 1 - (address >> 1 & 0x7F)).astype(np.uint16),
        y=(SIDE_PX - 1 - (address >> 8 & 0x7F)).astype(np.uint16),
        t=unwrap(stamps, 32),
        p=(1 - (address & 1)).astype(np.uint8),
        width=SIDE_PX,
        height=SIDE_PX,
    )


def _check_chip(header: bytes) -> None:
    for line in header.splitlines():
        _, found, chip = line.partition(b"AEChip:")
        name = chip.strip().rpartition(b".")[2]
        if found and line.startswith(b"# ") and not name.upper().startswith(b"DVS128"):
            raise BadSample(
                f"AEDAT-2.0 of the sensor {name.decode('ascii', 'replace')}; only DVS128 can be read"
            )
