"""Recordings of event cameras: decoded from bytes, checked, cut into slices; numpy only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.recordings import aedat2, aedat3, aedat4, arrays, bin40, dat, hdf5
from pipelines.decode.recordings.columns import Columns
from pipelines.quarantine import BadSample

NPY_MAGIC = b"\x93NUMPY"
_MOST_PX = 2**16


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Events in the order of their stamps."""

    x: NDArray[np.uint16]
    """column in px, from the left"""
    y: NDArray[np.uint16]
    """row in px, from the top"""
    t: NDArray[np.int64]
    """microseconds, never falling"""
    p: NDArray[np.uint8]
    """1 brighter, 0 darker"""
    width: int = 0
    """of the sensor, in px; 0: neither the file nor the caller said"""
    height: int = 0

    def __len__(self) -> int:
        return len(self.t)

    @property
    def duration_us(self) -> int:
        """From the first to the last event."""
        return int(self.t[-1] - self.t[0]) if len(self.t) else 0

    def part(self, first: int, last: int) -> "Recording":
        """Return the events of numbers first .. last - 1."""
        cut = slice(first, last)
        return replace(self, x=self.x[cut], y=self.y[cut], t=self.t[cut], p=self.p[cut])

    def between(self, start_us: int, end_us: int) -> "Recording":
        """Return the events with start_us <= t < end_us."""
        first, last = np.searchsorted(self.t, [start_us, end_us])
        return self.part(int(first), int(last))


def decode_events(
    data: bytes, *, name: str, width: int = 0, height: int = 0, tick_us: float = 0.0
) -> Recording:
    """Return a recording from a file's bytes, by what they begin with, else by the extension of its name.

    width, height: of the sensor; 0: as the file says, where it does. tick_us: what one tick of a .npy or .h5
    without a unit is; 0: seconds where stamps have fractions, else microseconds.

    Raises:
        BadSample: broken, cut off, a pixel outside the sensor, or time that runs back.
        ConfigError: a library that the format needs is not installed.
    """
    columns = _decode(data, name, tick_us)
    width, height = width or columns.width, height or columns.height
    for axis, places, size in (("x", columns.x, width), ("y", columns.y, height)):
        _check_inside(axis, places, size)
    _check_order(columns.t)
    return Recording(
        x=columns.x.astype(np.uint16, copy=False),
        y=columns.y.astype(np.uint16, copy=False),
        t=columns.t,
        p=columns.p.astype(np.uint8, copy=False),
        width=width,
        height=height,
    )


def cut_recording(recording: Recording, *, slice_us: int = 0, slice_events: int = 0) -> Iterator[Recording]:
    """Yield a recording in pieces of slice_us from its first event on, or of slice_events; 0 and 0: whole.

    The rest at the end is a piece of its own where it is half a slice or more, else it is left out; so is a
    slice without events. A recording that is shorter than a slice is one piece.
    """
    count = len(recording)
    if not count or not (slice_us or slice_events):
        yield recording
        return
    if slice_events:
        edges = np.arange(0, count + slice_events, slice_events).clip(max=count)
        full = (count - edges[-2]) * 2 >= slice_events
    else:
        first, span = int(recording.t[0]), recording.duration_us + 1
        number = -(-span // slice_us)
        edges = np.searchsorted(recording.t, first + slice_us * np.arange(number + 1))
        full = (span - (number - 1) * slice_us) * 2 >= slice_us
    if not full and len(edges) > 2:
        edges = edges[:-1]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end > start:
            yield recording.part(start, end)


def count_picture(recording: Recording) -> NDArray[np.uint8]:
    """Return how many events each pixel has as a picture, u8[3, H, W]: of polarity 1 red, of 0 blue.

    Full at the 99th percentile of the pixels with events, so that a hot pixel darkens nothing.
    """
    width = recording.width or int(recording.x.max(initial=0)) + 1
    height = recording.height or int(recording.y.max(initial=0)) + 1
    places = recording.y.astype(np.int64) * width + recording.x
    numbers = places + recording.p.astype(np.int64) * (height * width)
    counts = np.bincount(numbers, minlength=2 * height * width)
    full = float(np.percentile(counts[counts > 0], 99)) if len(recording) else 1.0
    dark, bright = np.minimum(255, counts * (255 / full)).astype(np.uint8).reshape(2, height, width)
    return np.stack([bright, np.zeros_like(dark), dark])


def _decode(data: bytes, name: str, tick_us: float) -> Columns:
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
    if data.startswith(NPY_MAGIC):
        return arrays.decode_npy(data, tick_us)
    if data.startswith(hdf5.MAGIC):
        return hdf5.decode_hdf5(data, tick_us)
    if ending == "bin":
        return bin40.decode_bin40(data)
    if ending == "dat":
        return dat.decode_dat(data)
    known = ".bin, .dat, .aedat, .aedat4, .npy and .h5"
    what = "is empty" if not data else f"begins with {data[:8]!r}"
    raise BadSample(f"no recording of events: {what}; {known} can be read")


def _check_inside(axis: str, places: NDArray[Any], size: int) -> None:
    if not places.size:
        return
    limit = size or _MOST_PX
    if int(places.max()) < limit and (places.dtype.kind == "u" or int(places.min()) >= 0):
        return
    outside = (places < 0) | (places >= limit)
    first = int(np.flatnonzero(outside)[0])
    raise BadSample(
        f"{axis} = {int(places[first])} of event {first} lies outside the sensor of {limit} px, as do "
        f"{int(outside.sum())} of {len(places)} events"
    )


def _check_order(stamps: NDArray[np.int64]) -> None:
    back = stamps[1:] < stamps[:-1]
    num_back = np.count_nonzero(back)
    if not num_back:
        return
    first = int(np.flatnonzero(back)[0]) + 1
    raise BadSample(
        f"time runs back at {num_back} of {len(stamps)} events, first at event {first}: "
        f"{stamps[first]} us after {stamps[first - 1]} us"
    )
