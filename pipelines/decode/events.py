"""Recordings of event cameras: decoded from bytes and checked; numpy only."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.recordings import aedat2, aedat3, aedat4, arrays, bin40, dat, foreign, hdf5
from pipelines.decode.recordings.column_order import MOST_PX
from pipelines.decode.recordings.columns import Columns, Known
from pipelines.forms.beginnings import beginning, stands_for
from pipelines.forms.media import RECORDINGS
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording
from raytrain.errors import RaytrainError


def decode_events(
    data: bytes,
    *,
    name: str,
    width: int = 0,
    height: int = 0,
    tick_us: float = 0.0,
    columns: str = "",
    sort_within_us: int = 0,
) -> Recording:
    """Return a recording from a file's bytes, by what they begin with, else by the extension of its name.

    width, height, tick_us, columns: as in `Known`. sort_within_us: events that come late by less are sorted
    in, and counted.

    Raises:
        BadSample: broken, cut off, a pixel outside the sensor, or time that runs back.
        ConfigError: a library that the format needs is not installed.
    """
    known = Known(width=width, height=height, tick_us=tick_us, columns=columns)
    try:
        with np.errstate(all="ignore"):  # what does not fit is found by its values
            return _checked(_decode(data, name, known), width, height, sort_within_us)
    except MemoryError:
        raise BadSample(f"{len(data)} bytes of events do not fit in memory; cut the recording") from None
    except (BadSample, RaytrainError):
        raise
    except Exception as error:  # damage surprises the libraries in ways that none of them lists
        reason = (str(error).splitlines() or [""])[0][:120]
        raise BadSample(f"cannot be read: {type(error).__name__}: {reason}") from error


def _checked(columns: Columns, width: int, height: int, sort_within_us: int) -> Recording:
    width, height = width or columns.width, height or columns.height
    for axis, places, size in (("x", columns.x, width), ("y", columns.y, height)):
        _check_inside(axis, places, size)
    columns, num_late = _in_order(columns, sort_within_us)
    return Recording(
        x=columns.x.astype(np.uint16, copy=False),
        y=columns.y.astype(np.uint16, copy=False),
        t=columns.t,
        p=columns.p.astype(np.uint8, copy=False),
        width=width,
        height=height,
        num_late=num_late,
        read_as=columns.read_as,
    )


def _decode(data: bytes, name: str, known: Known) -> Columns:
    ending = name.rpartition(".")[2].lower()
    if data.startswith(b"#!AER-DAT"):
        version = data[9:12]
        if version == b"4.0":
            return aedat4.decode_aedat4(data)
        if version.startswith(b"3."):
            return aedat3.decode_aedat3(data)
        if version == b"2.0":
            return aedat2.decode_aedat2(data)
        raise BadSample(
            f"AEDAT of version {version.decode('ascii', 'replace')!r}; 2.0, 3.x and 4.0 can be read"
        )
    for magic, decode in _BY_MAGIC.items():
        if data.startswith(magic):
            return decode(data, known)
    if other := foreign.by_content(data):
        raise BadSample(f"{other.what}, which is not read; {other.advice}")
    if stands_for(data):
        raise BadSample(f"no recording of events: {beginning(data)}")
    if ending == "bin":
        return bin40.decode_bin40(data)
    if ending == "dat":
        return dat.decode_dat(data)
    what = beginning(data) if data else "is empty"
    raise BadSample(f"no recording of events: {what}; {', '.join(RECORDINGS.extensions)} can be read")


_BY_MAGIC = {
    arrays.NPY_MAGIC: arrays.decode_npy,
    arrays.NPZ_MAGIC: arrays.decode_npz,
    hdf5.MAGIC: hdf5.decode_hdf5,
}


def _check_inside(axis: str, places: NDArray[Any], size: int) -> None:
    if not places.size:
        return
    limit = size or MOST_PX
    if int(places.max()) < limit and (places.dtype.kind == "u" or int(places.min()) >= 0):
        return
    outside = (places < 0) | (places >= limit)
    first = int(np.flatnonzero(outside)[0])
    raise BadSample(
        f"{axis} = {int(places[first])} of event {first} lies outside the sensor of {limit} px, as do "
        f"{int(outside.sum())} of {len(places)} events"
    )


def _in_order(columns: Columns, sort_within_us: int) -> tuple[Columns, int]:
    """Return the events in the order of their stamps, and how many came late.

    Raises:
        BadSample: some come late by `sort_within_us` or more.
    """
    stamps = columns.t
    back = stamps[1:] < stamps[:-1]
    num_back = np.count_nonzero(back)
    if not num_back:
        return columns, 0
    late_us = np.maximum.accumulate(stamps) - stamps
    if late_us.max() < sort_within_us:
        order = np.argsort(stamps, kind="stable")
        names = ("x", "y", "t", "p")
        taken = {name: getattr(columns, name)[order] for name in names}
        return replace(columns, **taken), int(np.count_nonzero(late_us))
    first = int(np.flatnonzero(back)[0]) + 1
    raise BadSample(
        f"time runs back at {num_back} of {len(stamps)} events, first at event {first}: "
        f"{stamps[first]} us after {stamps[first - 1]} us; the latest by {late_us.max()} us "
        f"(data.events.sort_within_us = {sort_within_us})"
    )
