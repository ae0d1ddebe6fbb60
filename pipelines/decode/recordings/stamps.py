"""What one tick of the stamps of an array is: files of numbers do not say it, their sizes nearly always do.

A recording of N events usually lasts about sqrt(N / 100,000) seconds: short ones are dense, long ones sparse,
100,000 events a second in the middle. Stamps with fractions are seconds or microseconds, whichever is nearer
to that; whole numbers are microseconds, unless those would last 300 times as long: then nanoseconds.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample

_S, _US, _NS = 1e6, 1.0, 1e-3
"""microseconds a tick"""
_NAMES = {_S: "seconds", 1e3: "milliseconds", _US: "microseconds", _NS: "nanoseconds"}
_MOST_US = 2**52
"""stamps beyond are damaged: as microseconds since 1970 they lie in the year 2112"""
_USUAL_RATE_HZ = 1e5
_FAR = 1e3
"""between seconds and microseconds, the middle"""
_ABSURD, _LEAST_ABSURD_S = 300, 30.0
"""times as long as usual, and in all: longer ones are not of microseconds"""
_SINCE_1970_NS = 1e17


def microseconds(stamps: NDArray[Any], tick_us: float = 0.0) -> tuple[NDArray[np.int64], float]:
    """Return stamps i64[n] in microseconds and what a tick was; `tick_us` 0: by their size.

    Raises:
        BadSample: stamps that are no numbers, not finite, or too large.
    """
    if stamps.dtype.kind not in "iuf":
        raise BadSample(f"stamps of type {stamps.dtype}; numbers are needed")
    if not stamps.size:
        return np.zeros(0, np.int64), tick_us or 1.0
    if stamps.dtype.kind == "f":
        stamps = stamps.astype(np.float64)
        if not np.isfinite(stamps).all():
            raise BadSample("stamps that are not finite; damaged")
    first, last = stamps.min().item(), stamps.max().item()
    tick_us = tick_us or _tick_of(stamps, first, last)
    if max(abs(first), abs(last)) * tick_us >= _MOST_US:
        raise BadSample(f"stamp {last} is too large; damaged")
    if stamps.dtype.kind == "f":
        return np.rint(stamps * tick_us).astype(np.int64), tick_us
    ticks = stamps.astype(np.int64)
    if tick_us == 1:
        return ticks, tick_us
    # As floats, nanoseconds since 1970 would be rounded to a quarter of a microsecond first.
    return (ticks + 500) // 1000 if tick_us == _NS else np.rint(ticks * tick_us).astype(np.int64), tick_us


def unit_name(tick_us: float) -> str:
    """Return a tick in words."""
    return _NAMES.get(tick_us, f"ticks of {tick_us:g} us")


def _tick_of(stamps: NDArray[Any], first: float, last: float) -> float:
    """Return what a tick is by the size of the stamps."""
    usual_s = math.sqrt(len(stamps) / _USUAL_RATE_HZ)
    span = last - first
    if stamps.dtype.kind == "f" and (stamps != np.floor(stamps)).any():
        return _S if span < _FAR * usual_s else _US
    absurd = span * 1e-6 > max(_LEAST_ABSURD_S, _ABSURD * usual_s)
    return _NS if absurd or last > _SINCE_1970_NS else _US
