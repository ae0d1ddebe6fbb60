"""Frames a second and core of the video decoders, decord beside PyAV on the same clips in the same run."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipelines.decode.child import ClipDecoder
from pipelines.decode.video import decode_clip
from pipelines.decode.video_decord import is_installed
from pipelines.forms.clips import ClipMeta, FramePlan
from raytrain.config.data import VideoConfig

CODECS = {"h264.mp4": "libx264", "mpeg4.avi": "mpeg4"}
REAL = ("ucf101", "hmdb51", "kinetics")
SUFFIXES = (".avi", ".mp4")
_RATE = 25
_SETTINGS: dict[str, Any] = {"canvas_px": 120, "fit": "squash", "max_pixels": 10**8}


@dataclass(frozen=True)
class Span:
    """Sixteen frames at ten a second, from a place in the clip (0: its start, 1: as late as they fit)."""

    start: float

    def __call__(self, meta: ClipMeta) -> FramePlan:
        """Return the plan."""
        times = self.start * max(0.0, meta.times_s[-1] - 1.5) + np.arange(16) / 10
        shown = np.searchsorted(meta.times_s, times + 1e-6, side="right") - 1
        return FramePlan(
            frames=np.unique(np.clip(shown, 0, meta.num_frames - 1)), large=np.zeros(0, np.int64)
        )


def whole(meta: ClipMeta) -> FramePlan:
    """Return the plan of every frame."""
    return FramePlan(frames=np.arange(meta.num_frames), large=np.zeros(0, np.int64))


def run(
    *, device: str = "cpu", repeats: int = 5, num_frames: int = 240, size: tuple[int, int] = (320, 240)
) -> list[dict[str, Any]]:
    """Return frames a second of processor time for each kind of clip and plan, and what the child costs.

    Clips are written by PyAV; those below RAYTRAIN_TEST_DATA join them where it is set. Decoders take turns;
    the median of the rounds counts. `against` is PyAV's rate, and `ratio` the decoder's share of it. The last
    rows are milliseconds a clip on the clock, in a child process against in this one.
    """
    del device  # decoding is the processor's
    rows = []
    decoders = ["pyav", *(["decord"] if is_installed() else [])]
    with tempfile.TemporaryDirectory() as folder:
        kinds = dict(_kinds(Path(folder), num_frames, size))
    for kind, clips in kinds.items():
        for plan_name, plans in _plans().items():
            rows += _rates(f"{kind}, {plan_name}", clips, plans, decoders, repeats)
    return rows + _overheads(next(iter(kinds.values()))[0], repeats)


def _plans() -> dict[str, list[Callable[[ClipMeta], FramePlan]]]:
    starts = np.random.default_rng(0).uniform(size=4)
    return {"16 frames": [Span(float(start)) for start in starts], "all frames": [whole]}


def _rates(
    name: str,
    clips: list[bytes],
    plans: list[Callable[[ClipMeta], FramePlan]],
    decoders: list[str],
    repeats: int,
) -> list[dict[str, Any]]:
    rates: dict[str, list[float]] = {decoder: [] for decoder in decoders}
    for repeat in range(repeats + 1):
        for decoder in decoders:
            start, num_decoded = time.process_time(), 0
            for clip in clips:
                for plan in plans:
                    num_decoded += len(decode_clip(clip, plan, decoder=decoder, **_SETTINGS).frames)
            if repeat:  # the first round warms up
                rates[decoder].append(num_decoded / (time.process_time() - start))
    medians = {decoder: statistics.median(values) for decoder, values in rates.items()}
    against = medians["pyav"]
    return [
        _row(f"{decoder}: {name}", value, "frames/s", None if decoder == "pyav" else against)
        for decoder, value in medians.items()
    ]


def _overheads(clip: bytes, repeats: int) -> list[dict[str, Any]]:
    child = ClipDecoder(VideoConfig(decoder="pyav"))
    rows = []
    try:
        for name, plan in (("16 frames", Span(0.5)), ("all frames", whole)):
            ways = {
                "child": partial(child.decode, clip, plan, **_SETTINGS),
                "here": partial(decode_clip, clip, plan, decoder="pyav", **_SETTINGS),
            }
            times: dict[str, list[float]] = {way: [] for way in ways}
            for repeat in range(repeats + 1):
                for way, work in ways.items():
                    start = time.perf_counter()
                    work()
                    if repeat:
                        times[way].append(1e3 * (time.perf_counter() - start))
            value, against = statistics.median(times["child"]), statistics.median(times["here"])
            rows.append(_row(f"in a child process: {name}", value, "ms/clip", against))
    finally:
        child.close()
    return rows


def _row(name: str, value: float, unit: str, against: float | None) -> dict[str, Any]:
    ratio = None if against is None else value / against
    return {"name": name, "value": value, "unit": unit, "against": against, "ratio": ratio, "bound": None}


def _kinds(folder: Path, num_frames: int, size: tuple[int, int]) -> Iterator[tuple[str, list[bytes]]]:
    for name, codec in CODECS.items():
        yield name, [_write(folder / name, codec, num_frames, size)]
    real = os.environ.get("RAYTRAIN_TEST_DATA")
    for name in REAL if real else ():
        files = sorted(path for path in (Path(str(real)) / name).rglob("*") if path.suffix in SUFFIXES)
        if files:
            yield name, [path.read_bytes() for path in files]


def _write(path: Path, codec: str, num_frames: int, size: tuple[int, int]) -> bytes:
    """Write a texture that moves across a camera's slight noise."""
    draw = np.random.default_rng(0)
    width, height = size
    coarse = draw.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].astype(np.int64)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=_RATE, options={"bf": "2"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(num_frames):
            moved = np.roll(texture, (number, 3 * number), axis=(0, 1)) + draw.integers(-4, 5, texture.shape)
            frame = av.VideoFrame.from_ndarray(np.clip(moved, 0, 255).astype(np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()
