"""Recordings in motion: a short GIF of what the camera saw, in frames of equal spans of time."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.forms.event_columns import recording_at
from pipelines.forms.recording import Recording
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from pipelines.stream.source import first_samples
from raytrain.config import RunConfig
from raytrain.reporting.figures.palette import BRIGHTER, DARKER, RECORDING_GAP, RECORDING_GROUND

UInt8s = NDArray[np.uint8]

NUM_RECORDINGS = 3
MAX_BYTES = 400_000
GAP_PX = 1
"""between two recordings, before the pixels are scaled up"""
_NONE, _DARKER, _BRIGHTER, _GAP = range(4)
_COLOURS = (RECORDING_GROUND, DARKER, BRIGHTER, RECORDING_GAP)
_SLOWED_S, _SHORT_S, _LONG_S = 2.4, 2.0, 4.0
"""how long a slowed recording plays; what is slowed; how much of a long one is shown"""
_FRAME_S = 0.08
_NUM_FRAMES = (24, 40)
_TICK_MS = 10  # of a GIF
_WIDE_PX, _MOST_PX, _SIDE_PX = 600, 800, 256
"""a small sensor is scaled up to this width in all and this side; a wider row is thinned out to `_MOST_PX`"""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How time in the recordings becomes time on the screen."""

    span_us: int
    """what is shown, from each recording's first event on"""
    play_ms: int
    num_frames: int

    @classmethod
    def of(cls, duration_us: int) -> "Pace":
        """Return real time for what lasts 2 s or more (its first 4 s), else slower."""
        span_us = min(duration_us + 1, round(_LONG_S * 1e6))
        seconds = _SLOWED_S if span_us < _SHORT_S * 1e6 else span_us / 1e6
        frames = min(max(round(seconds / _FRAME_S), _NUM_FRAMES[0]), _NUM_FRAMES[1])
        return cls(span_us=span_us, play_ms=round(1000 * seconds), num_frames=frames)

    @property
    def delays_ms(self) -> list[int]:
        """How long each frame is shown: whole ticks of a GIF that add up to the whole."""
        ends = np.arange(1, self.num_frames + 1) * (self.play_ms / self.num_frames)
        ticks = np.round(ends / _TICK_MS).astype(int)
        delays: list[int] = (np.diff(ticks, prepend=0) * _TICK_MS).tolist()
        return delays

    def words(self, longest_us: int) -> str:
        """Return the pace in words; `longest_us`: duration of the longest recording."""
        slower = self.play_ms * 1000 / self.span_us
        if slower > 1.05:
            return f"{slower:,.0f} times slower" if slower >= 10 else f"{slower:.1f} times slower"
        if longest_us > self.span_us:
            return f"the first {self.span_us / 1e6:g} s of {longest_us / 1e6:.1f} s in real time"
        return "in real time"


@dataclass(frozen=True, kw_only=True)
class Movie:
    """A GIF of some recordings side by side, which loops for ever."""

    gif: bytes
    still: bytes
    """PNG of the frame with most events, for those who want nothing to move"""
    width_px: int
    height_px: int
    pace: str
    names: list[str]
    """of the recordings from left to right"""


def event_movie(
    recordings: Sequence[Recording], names: Sequence[str] = (), *, max_bytes: int = MAX_BYTES
) -> Movie:
    """Return recordings side by side, all from their first event on, in at most `max_bytes`.

    A pixel shows the newest event of the frame's span. Small sensors are scaled up by whole pixels; where the
    file grows too large by fewer, then blocks of pixels are drawn as one.

    Raises:
        ValueError: no recordings.
    """
    if not recordings:
        raise ValueError("a movie needs at least one recording")
    longest_us = max(recording.duration_us for recording in recordings)
    pace = Pace.of(longest_us)
    gif, shown = b"", np.zeros((1, 1, 1), np.uint8)
    for scale, block in _sizes(_cell(recordings), len(recordings)):
        frames = event_frames(recordings, pace, block_px=block)
        shown = np.repeat(np.repeat(frames, scale, axis=1), scale, axis=2)
        gif = _gif(shown, pace.delays_ms)
        if len(gif) <= max_bytes:
            break
    busy = np.isin(shown, (_DARKER, _BRIGHTER)).sum(axis=(1, 2))
    still = io.BytesIO()
    _image(shown[int(busy.argmax())]).save(still, format="PNG", optimize=True)
    return Movie(
        gif=gif,
        still=still.getvalue(),
        width_px=shown.shape[2],
        height_px=shown.shape[1],
        pace=pace.words(longest_us),
        names=list(names),
    )


def movie_of_first(config: RunConfig, manifest: Manifest, *, num_samples: int = NUM_RECORDINGS) -> Movie:
    """Return the movie of the pretrain split's first recordings, named by key and class."""
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples)
    names = [
        f"{key} ({manifest.classes[label]})" if 0 <= label < len(manifest.classes) else key
        for key, label in zip(chunk.keys, chunk.labels.tolist(), strict=True)
    ]
    return event_movie([recording_at(chunk, place) for place in range(len(chunk))], names)


def write_movie(config: RunConfig, manifest: Manifest, sheet: Path) -> str:
    """Write the GIF of the first recordings beside a sheet; return a line about it.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    path = sheet.with_suffix(".gif")
    if path == sheet:
        path = sheet.with_name(f"{sheet.stem}-moving.gif")
    movie = movie_of_first(config, manifest)
    Storage(str(path.absolute().parent)).write_atomic(path.name, movie.gif)
    size = f"{movie.width_px} x {movie.height_px} px, {len(movie.gif) / 1000:.0f} kB"
    return f"movie      {path}: {', '.join(movie.names)}; {movie.pace}; {size}"


def event_frames(recordings: Sequence[Recording], pace: Pace, *, block_px: int = 1) -> UInt8s:
    """Return u8[F, H, W] of F equal spans: 0 no event, 1 darker, 2 brighter, 3 between two recordings.

    block_px: side of the squares of pixels that are drawn as one.
    """
    width, height = (-(-side // block_px) for side in _cell(recordings))
    step = width + GAP_PX
    frames = np.full((pace.num_frames, height, step * len(recordings) - GAP_PX), _GAP, np.uint8)
    for place, recording in enumerate(recordings):
        cell = frames[:, :, place * step : place * step + width]
        cell[...] = _NONE
        if not len(recording):
            continue
        start = int(recording.t[0])
        seen = recording.between(start, start + pace.span_us)
        number = (seen.t - start) * pace.num_frames // pace.span_us
        # Of several events of a pixel the last one stays, which is the newest.
        cell[number, seen.y // block_px, seen.x // block_px] = np.where(seen.p, _BRIGHTER, _DARKER)
    return frames


def _cell(recordings: Sequence[Recording]) -> tuple[int, int]:
    """Return width and height of the largest sensor; where nobody knows it, of what had an event."""
    width = max(recording.width or int(recording.x.max(initial=0)) + 1 for recording in recordings)
    height = max(recording.height or int(recording.y.max(initial=0)) + 1 for recording in recordings)
    return width, height


def _sizes(cell: tuple[int, int], count: int) -> Iterator[tuple[int, int]]:
    """Yield (scale, block) from the largest picture to the smallest."""
    row = (cell[0] + GAP_PX) * count - GAP_PX
    scale = max(1, min(_WIDE_PX // row, _SIDE_PX // max(cell)))
    block = max(1, -(-row // _MOST_PX))
    for smaller in range(scale, 1, -1):
        yield smaller, block
    for larger in range(block, max(*cell, block) + 1):
        yield 1, larger


def _gif(frames: UInt8s, delays_ms: Sequence[int]) -> bytes:
    images = [_image(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=list(delays_ms),
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()


def _image(frame: UInt8s) -> Image.Image:
    """Return one frame as an image with a palette."""
    image = Image.frombytes("P", (frame.shape[1], frame.shape[0]), frame.tobytes())
    image.putpalette(bytes.fromhex("".join(colour.removeprefix("#") for colour in _COLOURS)))
    return image
