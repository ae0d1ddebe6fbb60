""".npy of events and columns of .h5: [N, 4] numbers or structured arrays; their values tell what is what.

[N, 4], or the same with four rows, is x, y, t, p (the N-Caltech101 of Gehrig et al. 2019), x, y, p, t (DVS128
Gesture by tonic) or t, x, y, p (ESIM, v2e, texts of the DAVIS): the column of polarities is one that holds
only -1, 0 and 1, the last where several do; of the others that of the stamps rises from event to event more
often than any, x, y, t, p where that is a draw; x stands before y. Structured arrays
have fields called x, y, t, p, or longer names of the same. Stamps with fractions are seconds, others
microseconds, unless the caller says what one tick is.
"""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.recordings.columns import Columns
from pipelines.forms.quarantine import BadSample

NAMES = {
    "x": ("x", "xs", "x_pos"),
    "y": ("y", "ys", "y_pos"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "on"),
}


def decode_npy(data: bytes, tick_us: float = 0.0) -> Columns:
    """Return the events of an array; `tick_us`: microseconds a tick, 0: seconds or microseconds by value.

    Raises:
        BadSample: no array, of another shape, or of values that are no events.
    """
    try:
        array = _read_npy(data)
    except Exception as error:  # numpy parses the header as Python: a damaged one may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSample(f".npy: cannot be read: {reason[:120]}") from None
    if array.dtype.names:
        fields = {name: _named(array.dtype.names, name) for name in "xytp"}
        missing = [name for name, field in fields.items() if field is None]
        if missing or array.ndim != 1:
            raise BadSample(
                f".npy: fields {', '.join(array.dtype.names)} of shape {array.shape}; x, y, t, p are needed"
            )
        return from_arrays({name: array[field] for name, field in fields.items()}, tick_us)
    if array.ndim == 2 and len(array) == 4 != array.shape[1]:
        array = array.T
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "iufb":
        raise BadSample(
            f".npy: {array.dtype} of shape {array.shape}; events are [N, 4] numbers or have fields"
        )
    return from_arrays(_told_apart(array), tick_us)


def _told_apart(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return which column of [N, 4] is what, by its values."""
    p = next((place for place in (3, 2, 1, 0) if _are_signs(array[:, place])), 3)
    others = [place for place in range(4) if place != p]
    rises = {place: _share_of_rises(array[:, place]) for place in others}
    usual = 2 if p == 3 else others[-1]
    t = max(others, key=lambda place: (rises[place], place == usual))
    x, y = (place for place in others if place != t)
    return {name: array[:, place] for name, place in zip("xytp", (x, y, t, p), strict=True)}


def _share_of_rises(column: NDArray[Any]) -> float:
    """Return at which share of the events a column does not fall."""
    return 1 - float((column[1:] < column[:-1]).mean()) if len(column) > 1 else 1.0


def _read_npy(data: bytes) -> NDArray[Any]:
    """Return the array as a view of its file: whatever shape it claims, it takes no memory."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version[0]}.{version[1]}; 1.0 and 2.0 can be read")
    if dtype.hasobject:
        raise ValueError("holds pickled objects")
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return values.reshape(shape, order="F" if by_columns else "C")


def from_arrays(columns: dict[str, NDArray[Any]], tick_us: float = 0.0) -> Columns:
    """Return columns of any number type as events.

    Raises:
        BadSample: unequal lengths, no whole coordinates, or polarities beyond -1, 0 and 1.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise BadSample(f"columns of different lengths: {lengths}")
    return Columns(
        x=_whole(columns["x"], "x"),
        y=_whole(columns["y"], "y"),
        t=microseconds(columns["t"], tick_us),
        p=_polarities(columns["p"]),
    )


def microseconds(stamps: NDArray[Any], tick_us: float = 0.0) -> NDArray[np.int64]:
    """Return stamps i64[n]; `tick_us` as in `decode_npy`.

    Raises:
        BadSample: stamps that are not finite or too large.
    """
    if stamps.dtype.kind not in "iuf":
        raise BadSample(f"stamps of type {stamps.dtype}; numbers are needed")
    if stamps.dtype.kind in "iu":
        if stamps.size and int(stamps.max()) > np.iinfo(np.int64).max // 2**20:
            raise BadSample(f"stamp {stamps.max()} is too large; damaged")
        ticks = stamps.astype(np.int64)
        return ticks if tick_us in (0, 1) else np.rint(ticks * tick_us).astype(np.int64)
    values = stamps.astype(np.float64)
    if not np.isfinite(values).all():
        raise BadSample("stamps that are not finite; damaged")
    if not tick_us:
        tick_us = 1e6 if (values != np.floor(values)).any() else 1
    values = values * tick_us
    if values.size and np.abs(values).max() >= 2**53:
        raise BadSample("stamps that are too large; damaged")
    return np.rint(values).astype(np.int64)


def _named(names: tuple[str, ...], wanted: str) -> str | None:
    return next((name for name in names if name.lower() in NAMES[wanted]), None)


def _are_signs(column: NDArray[Any]) -> bool:
    return column.dtype.kind == "b" or bool(np.isin(column, (-1, 0, 1)).all())


def _whole(column: NDArray[Any], name: str) -> NDArray[Any]:
    if column.dtype.kind in "iu":
        return column
    if column.dtype.kind != "f" or not np.isfinite(column).all() or (column != np.floor(column)).any():
        raise BadSample(f"{name} holds values that are no pixels' numbers; damaged or of another format")
    return np.asarray(np.clip(column, -1, 2**31 - 1), np.int64)


def _polarities(column: NDArray[Any]) -> NDArray[np.uint8]:
    if not _are_signs(column):
        raise BadSample("polarities other than -1, 0 and 1; damaged or of another format")
    return np.asarray(column if column.dtype.kind == "b" else column > 0, np.uint8)
