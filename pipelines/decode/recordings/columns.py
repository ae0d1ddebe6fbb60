"""What the formats give: columns as they are stored, not yet checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample

Integers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a recording beside its bytes."""

    width: int = 0
    """of the sensor in px; 0: as the file says, where it does"""
    height: int = 0
    tick_us: float = 0.0
    """what one tick of stamps without a unit is; 0: told by their size"""
    columns: str = ""
    """order of the columns of [N, 4], e.g. "txyp"; empty: told by their values"""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Events in the order of the file; x, y, p of any integer type, t in microseconds."""

    x: Integers
    y: Integers
    t: NDArray[np.int64]
    p: Integers
    """0 or 1"""
    width: int = 0
    """of the sensor, where the file says it"""
    height: int = 0
    read_as: str = ""
    """what the file does not say and was told by value, in words; empty: nothing"""
    tick_us: float = 1.0
    """what a tick of the stored stamps was"""


def unwrap(stamps: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return stamps of a counter of `bits` bits, i64[n], that runs on where it began again from 0."""
    steps = np.diff(stamps)
    turns = np.concatenate([[0], np.cumsum(steps < -(1 << (bits - 1)))]) if len(stamps) else stamps
    return stamps + (np.asarray(turns, np.int64) << bits) if np.any(turns) else stamps


def whole_records(data: bytes | memoryview, record_bytes: int, what: str) -> int:
    """Return how many records the bytes hold.

    Raises:
        BadSample: they end within a record.
    """
    count, rest = divmod(len(data), record_bytes)
    if rest:
        raise BadSample(
            f"{what}: {len(data)} bytes are no whole number of events of {record_bytes} bytes; cut off"
        )
    return count
