"""The 40-bit events of N-MNIST and N-Caltech101: x, y, polarity and 23 bits of time, big-endian.

y = 240 marks no event but that the clock of all that follow has gone on by 2^13 us.
Source: Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades",
2015, and its MATLAB reader.
"""

import numpy as np

from pipelines.decode.recordings.columns import Columns, whole_records

RECORD_BYTES = 5
_OVERFLOW_ROW, _OVERFLOW_US = 240, 1 << 13


def decode_bin40(data: bytes) -> Columns:
    """Return the events.

    Raises:
        BadSample: the file ends within an event.
    """
    count = whole_records(data, RECORD_BYTES, ".bin")
    octets = np.frombuffer(data, np.uint8).reshape(count, RECORD_BYTES)
    # Columns in one piece at once: what follows reads them several times.
    x, y = octets[:, 0].astype(np.uint16), octets[:, 1].astype(np.uint16)
    # From y on an event is one big-endian word, so that a single strided copy gets polarity and time.
    words = np.ndarray((count,), ">u4", data, offset=1, strides=(RECORD_BYTES,)) if count else octets[:, 0]
    low = words.astype(np.uint32)
    p = (low >> 23).astype(np.uint8) & 1
    low &= np.uint32(0x7FFFFF)
    t = low.astype(np.int64)
    if count and y.max() >= _OVERFLOW_ROW:
        marks = y == _OVERFLOW_ROW
        t += np.cumsum(marks) * _OVERFLOW_US
        kept = ~marks
        x, y, t, p = x[kept], y[kept], t[kept], p[kept]
    return Columns(x=x, y=y, t=t, p=p)
