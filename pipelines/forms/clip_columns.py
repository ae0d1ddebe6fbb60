"""Clips in a chunk: every decoded frame once, and where each request's frames stand among them.

Columns of a chunk of clips: `frames` ragged u8[n, 3, H, W] and `large` ragged u8[m, 3, 2 H, 2 W], the union
of all requests; for each request `<name>:index` i32[L, T], the place among a sample's `frames`, or minus one
minus the place among its `large`; for known motion `<name>:motion` f32[L, 6]: kind, speed, and the window's
top and left in the first and the last frame, in shares of the free range.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk, Ragged
from pipelines.forms.clips import LARGE, ClipMeta, ClipPlanner, DecodedClip, FramePlan, Wanted

UInt8s = NDArray[np.uint8]

RAGGED = ("frames", "large")


def clip_columns(clip: DecodedClip, plan: FramePlan, wanted: Mapping[str, Wanted]) -> dict[str, NDArray[Any]]:
    """Return one decoded clip as the columns of a sample."""
    columns: dict[str, NDArray[Any]] = {"frames": clip.frames, "large": clip.large}
    for name, want in wanted.items():
        of_large = len(want.large) > 0
        places = (
            np.searchsorted(plan.large, want.large) if of_large else np.searchsorted(plan.frames, want.frames)
        )
        columns[f"{name}:index"] = (-1 - places if of_large else places).astype(np.int32)
        if want.motion is not None:
            motion = (want.motion.kind, want.motion.speed, *want.motion.window)
            columns[f"{name}:motion"] = np.array(motion, np.float32)
    return columns


def blank_columns(planner: ClipPlanner, canvas_px: int, *, epoch: int = 0) -> dict[str, NDArray[Any]]:
    """Return the columns of one black frame, for a chunk without any good sample."""
    meta = ClipMeta(times_s=np.zeros(1), width=canvas_px, height=canvas_px)
    plan, wanted = planner.plan(meta, key_hash=0, epoch=epoch)
    side = LARGE * canvas_px
    clip = DecodedClip(
        meta=meta,
        frames=np.zeros((len(plan.frames), 3, canvas_px, canvas_px), np.uint8),
        large=np.zeros((len(plan.large), 3, side, side), np.uint8),
        decoder="",
    )
    return clip_columns(clip, plan, wanted)


def clip_shape(chunk: Chunk, request: str) -> tuple[int, int, int, int]:
    """Return (T, 3, H, W) of what a request takes."""
    index, frames = chunk.columns[f"{request}:index"], chunk.columns["frames"]
    assert isinstance(index, np.ndarray)
    assert isinstance(frames, Ragged)
    _, channels, height, width = frames.values.shape
    return int(index.shape[1]), channels, height, width


def copy_clip(chunk: Chunk, sample: int, request: str, target: UInt8s) -> None:
    """Write a sample's frames u8[T, 3, H, W] into `target`; a window is cut out of its large frames."""
    index = chunk.columns[f"{request}:index"][sample]
    frames, large = chunk.columns["frames"], chunk.columns["large"]
    assert isinstance(frames, Ragged)
    assert isinstance(large, Ragged)
    if index[0] >= 0:
        target[:] = frames[sample][index]
        return
    own, (height, width) = large[sample], target.shape[2:]
    motion = chunk.columns[f"{request}:motion"][sample]
    for step, (top, left) in enumerate(window_places(motion[2:], len(target), own.shape[2] - height)):
        target[step] = own[-1 - index[step]][:, top : top + height, left : left + width]


def window_places(window: NDArray[np.float32], num_frames: int, free_px: int) -> NDArray[np.int64]:
    """Return top and left of a window in each frame, i64[T, 2], on a straight line in equal steps."""
    first, last = np.asarray(window[:2], np.float64), np.asarray(window[2:], np.float64)
    share = np.linspace(0, 1, num_frames)[:, None]
    return np.rint((first + share * (last - first)) * free_px).astype(np.int64)


def read_clips(chunk: Chunk, request: str) -> UInt8s:
    """Return what a request takes of every sample of a chunk, u8[L, T, 3, H, W], in memory of its own."""
    clips = np.empty((len(chunk), *clip_shape(chunk, request)), np.uint8)
    for sample in range(len(chunk)):
        copy_clip(chunk, sample, request, clips[sample])
    return clips


def motion_of(chunk: Chunk, sample: int, request: str) -> tuple[int, int] | None:
    """Return kind and speed of a sample's motion where the request knows them."""
    motion = chunk.columns.get(f"{request}:motion")
    return None if motion is None else (int(motion[sample][0]), int(motion[sample][1]))
