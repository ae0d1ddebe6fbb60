"""A recording of an event camera: its events in columns, cut into slices, pictured; numpy only."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


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
    num_late: int = 0
    """events that stood behind later ones in the file and were sorted in"""
    read_as: str = ""
    """what the file does not say and was told by value, in words; empty: nothing"""

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
