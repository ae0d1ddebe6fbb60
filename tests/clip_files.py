"""Tiny videos whose frames carry their number as a pattern, and how to read it back."""

import io
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.forms.clips import ClipMeta, FramePlan

ROWS, COLUMNS = 3, 4
"""dark and light cells of a frame, the lowest bit at the top left; the last cell is always light"""
TIME_BASE = Fraction(1, 90_000)
NONE = np.zeros(0, np.int64)


def numbered_frame(number: int, *, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Return a frame that shows its number: u8[height, width, 3], redder at the left, bluer at the right."""
    cells = [number >> bit & 1 for bit in range(ROWS * COLUMNS - 1)] + [1]
    grid = 40 + 160 * np.array(cells, np.int64).reshape(ROWS, COLUMNS)
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    frame = np.repeat(grid[rows][:, columns, None], 3, axis=2)
    tint = np.linspace(-30, 30, width).astype(np.int64)
    frame[..., 0] -= tint
    frame[..., 2] += tint
    return frame.astype(np.uint8)


def shown_number(frame: NDArray[np.uint8]) -> int:
    """Return the number that a frame u8[3, H, W] shows at any size; -1 where it is turned or mirrored."""
    height, width = frame.shape[1:]
    down = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
    across = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
    bits = (frame.mean(0)[down][:, across] > 120).ravel()
    tint = frame[0].astype(float).mean(0) - frame[2].astype(float).mean(0)
    upright = bits[-1] and tint[: width // 4].mean() > 10 and tint[-width // 4 :].mean() < -10
    return sum(1 << bit for bit, value in enumerate(bits[:-1]) if value) if upright else -1


def shown_numbers(frames: NDArray[np.uint8]) -> list[int]:
    """Return the numbers that frames u8[n, 3, H, W] show."""
    return [shown_number(frame) for frame in frames]


def cut_first(source: bytes, target: Path, drop: int) -> bytes:
    """Return the clip without its first `drop` packets, as of a recorder that joins a running stream."""
    with av.open(io.BytesIO(source)) as clip, av.open(str(target), "w") as out:
        stream = clip.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for number, packet in enumerate(clip.demux(stream)):
            if packet.dts is not None and number >= drop:
                packet.stream = copy
                out.mux(packet)
    return target.read_bytes()


def write_clip(
    path: Path,
    num_frames: int = 24,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times_s: Sequence[float] | None = None,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    rotation: int = 0,
    mirrored: bool = False,
    audio: bool = False,
    gop: int = 12,
) -> Path:
    """Write a numbered clip; its container is told by the extension.

    Args:
        rotation: frames are stored turned, and a flag says how they are shown; so `mirrored`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size[::-1] if rotation in (90, 270) else size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.thread_count = 1
        if times_s is not None:
            stream.codec_context.time_base = stream.time_base = TIME_BASE
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        sound = (
            container.add_stream("aac" if path.suffix == ".mp4" else "mp2", rate=16_000) if audio else None
        )
        for number in range(num_frames):
            pixels = numbered_frame(number, width=size[0], height=size[1])
            pixels = np.rot90(pixels[:, ::-1] if mirrored else pixels, -(rotation // 90))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[number] / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            _write_silence(container, sound, num_frames / rate)
    return path


def write_sound(path: Path) -> Path:
    """Write a file with sound and no picture."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16_000)
        assert isinstance(sound, av.AudioStream)
        _write_silence(container, sound, 1.0)
    return path


def _write_silence(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    context = stream.codec_context
    kind, layout = context.format.name, context.layout
    for start in range(0, int(16_000 * seconds), 1024):
        samples = np.zeros((layout.nb_channels, 1024), np.float32 if kind.startswith("flt") else np.int16)
        if not kind.endswith("p"):
            samples = samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout.name)
        frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def plan_of(frames: Sequence[int], large: Sequence[int] = (), offset: float = 0.5) -> FramePlan:
    """Return a plan of these frame numbers."""
    return FramePlan(frames=np.array(frames, np.int64), large=np.array(large, np.int64), large_offset=offset)


# Plans for the child process, which finds them by name.
def plan_whole(meta: ClipMeta) -> FramePlan:
    """Ask for every frame."""
    return plan_of(range(meta.num_frames))


def plan_ends(meta: ClipMeta) -> FramePlan:
    """Ask for the first and last frame at canvas size, and for the last as a large one."""
    last = meta.num_frames - 1
    return plan_of(sorted({0, last}), [last])


def plan_sleeping(meta: ClipMeta) -> FramePlan:
    """Hang."""
    time.sleep(1_000)
    return plan_whole(meta)


@dataclass(frozen=True)
class PlanLate:
    """Hang the first time."""

    mark: str
    """a file that says there was a first time"""

    def __call__(self, meta: ClipMeta) -> FramePlan:
        """Ask for every frame."""
        first = not Path(self.mark).exists()
        Path(self.mark).touch()
        return plan_sleeping(meta) if first else plan_whole(meta)


def plan_crashing(meta: ClipMeta) -> FramePlan:
    """Crash as a decoder does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return plan_whole(meta)


def plan_failing(meta: ClipMeta) -> FramePlan:
    """Be wrong in Python."""
    raise KeyError("no such plan")


def plan_printing(meta: ClipMeta) -> FramePlan:
    """Write to both outputs, as decoders do."""
    os.write(1, b"noise on standard output")
    os.write(2, b"noise on standard error")
    return plan_whole(meta)
