"""Arrays of events: .npy of [N, 4] numbers or of named fields, .npz of columns; .h5 holds the same.

[N, 4], or the same with four rows: `column_order` tells what is what. Structured arrays have fields called
x, y, t, p, or longer names of the same; so have the arrays of a .npz, which may hold one array of either kind
instead. `stamps` tells seconds from microseconds.
"""

import io
import math
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.recordings.column_order import column_order, fits
from pipelines.decode.recordings.columns import Columns, Known
from pipelines.decode.recordings.stamps import microseconds, unit_name
from pipelines.forms.bombs import refuse_bomb
from pipelines.forms.quarantine import BadSample

NAMES = {
    "x": ("x", "xs", "x_pos", "xpos"),
    "y": ("y", "ys", "y_pos", "ypos"),
    "t": ("t", "ts", "timestamp", "timestamps", "time", "times"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
NPY_MAGIC = b"\x93NUMPY"
NPZ_MAGIC = b"PK\x03\x04"


def decode_npy(data: bytes, known: Known) -> Columns:
    """Return the events of an array.

    Raises:
        BadSample: no array, of another shape, or of values that are no events.
    """
    return from_array(read_npy(data), known, ".npy")


def decode_npz(data: bytes, known: Known) -> Columns:
    """Return the events of a file of arrays.

    Raises:
        BadSample: damaged, no such arrays, or of values that are no events.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            fields = named_fields(members)
            wanted = list(fields.values()) or ([name] if (name := _only(members)) else [])
            if not wanted:
                raise BadSample(
                    f".npz: no arrays x, y, t, p, or one of events; it holds {', '.join(list(members)[:6])}"
                )
            refuse_bomb(sum(members[name].file_size for name in wanted), len(data), ".npz")
            arrays = {name: read_npy(file.read(members[name])) for name in wanted}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadSample(f".npz: cannot be read: {str(error)[:120]}") from None
    if not fields:
        return from_array(arrays[wanted[0]], known, ".npz")
    return from_columns({name: arrays[field] for name, field in fields.items()}, known)


def _only(names: Iterable[str]) -> str:
    """Return the one array there is, or the one that is called after events; empty: there is none such."""
    names = list(names)
    called = [name for name in names if name.lower().startswith("event")]
    return next((found[0] for found in (names, called) if len(found) == 1), "")


def from_array(array: NDArray[Any], known: Known, where: str) -> Columns:
    """Return the events of one array, [N, 4], [4, N] or structured [N].

    Raises:
        BadSample: of another shape or type, or of values that are no events.
    """
    if array.dtype.names:
        fields = named_fields(array.dtype.names)
        if not fields or array.size != max(array.shape, default=0):
            raise BadSample(
                f"{where}: fields {', '.join(array.dtype.names)} of shape {array.shape}; x, y, t, p are "
                "needed"
            )
        rows = array.reshape(-1)
        return from_columns({name: rows[field] for name, field in fields.items()}, known)
    table = _as_rows(array, known)
    if table is None:
        raise BadSample(
            f"{where}: {array.dtype} of shape {array.shape}; events are [N, 4] numbers or have fields"
        )
    order = known.columns or column_order(table, width=known.width, height=known.height)
    columns = {name: table[:, place] for place, name in enumerate(order)}
    return from_columns(columns, known, f"columns {', '.join(order)}; ")


def _as_rows(array: NDArray[Any], known: Known) -> NDArray[Any] | None:
    """Return an array of numbers with a row an event; None: it is none."""
    if array.ndim != 2 or 4 not in array.shape or array.dtype.kind not in "iufb":
        return None
    if array.shape[1] != 4:
        return array.T
    size = {"width": known.width, "height": known.height}
    turned = array.shape[0] == 4 and not fits(array, **size) and fits(array.T, **size)
    return array.T if turned else array


def named_fields(names: Iterable[str]) -> dict[str, str]:
    """Return which of some names is x, y, t and p; {} where one is missing."""
    found = {name.lower(): name for name in names}
    fields = {name: next((found[known] for known in NAMES[name] if known in found), "") for name in "xytp"}
    return fields if all(fields.values()) else {}


def read_npy(data: bytes) -> NDArray[Any]:
    """Return the array as a view of its file: whatever shape it claims, it takes no memory.

    Raises:
        BadSample: damaged, or of Python objects.
    """
    try:
        file = io.BytesIO(data)
        shape, by_columns, dtype = read_npy_header(file)
        if dtype.hasobject:
            raise ValueError("holds pickled objects; save its columns by numpy.savez(name, x=, y=, t=, p=)")
        values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
        return values.reshape(shape, order="F" if by_columns else "C")
    except Exception as error:  # numpy parses the header as Python: a damaged one may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSample(f".npy: cannot be read: {reason[:120]}") from None


def read_npy_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether stored by columns, and type; the file stands behind the header then.

    Raises:
        ValueError: of a version that cannot be read; a damaged header may raise anything.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]}; 1.0 and 2.0 can be read")


def from_columns(columns: dict[str, NDArray[Any]], known: Known, read_as: str = "") -> Columns:
    """Return columns of any number type as events; `read_as`: what else was told by value.

    Raises:
        BadSample: no columns, unequal lengths, no whole coordinates, or polarities beyond -1, 0 and 1.
    """
    shapes = {name: column.shape for name, column in columns.items()}
    if any(len(shape) != 1 for shape in shapes.values()):
        raise BadSample(f"columns of shapes {shapes}; each must have one number an event")
    if len(set(shapes.values())) > 1:
        raise BadSample(
            f"columns of different lengths: { {name: shape[0] for name, shape in shapes.items()} }"
        )
    stamps, tick_us = microseconds(columns["t"], known.tick_us)
    return Columns(
        x=_whole(columns["x"], "x"),
        y=_whole(columns["y"], "y"),
        t=stamps,
        p=_polarities(columns["p"]),
        read_as=f"{read_as}stamps in {unit_name(tick_us)}",
        tick_us=tick_us,
    )


def _whole(column: NDArray[Any], name: str) -> NDArray[Any]:
    if column.dtype.kind in "iu":
        return column
    if column.dtype.kind != "f" or not np.isfinite(column).all() or (column != np.floor(column)).any():
        raise BadSample(f"{name} holds values that are no pixels' numbers; damaged or of another format")
    return np.asarray(np.clip(column, -1, 2**31 - 1), np.int64)


def _polarities(column: NDArray[Any]) -> NDArray[np.uint8]:
    if column.dtype.kind == "b":
        return np.asarray(column, np.uint8)
    if column.dtype.kind not in "iuf":
        raise BadSample(f"polarities of type {column.dtype}; numbers are needed")
    if np.isin(column, (-1, 0, 1)).all():
        return np.asarray(column > 0, np.uint8)
    if np.isin(column, (1, 2)).all():
        # Not read as such: in a recording of ones alone, nothing would tell which they are.
        raise BadSample("polarities of 1 and 2, as MATLAB's readers write them; subtract 1")
    raise BadSample("polarities other than -1, 0 and 1; damaged or of another format")
