"""Encoded clips to uint8 frames: opened once, planned by what is known of the clip, then the plan is decoded.

Whatever is wrong with a clip becomes a BadSample. A decoder that hangs or crashes on a damaged file: `child`.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipelines.decode import video_decord, video_pyav, video_torchcodec
from pipelines.decode.clip_index import ClipIndex, opened, read_index
from pipelines.decode.image import Fit
from pipelines.decode.refused import RefusedError
from pipelines.decode.square import SquareRequest, covering_square, fitted_square
from pipelines.forms.clips import LARGE, ClipMeta, DecodedClip, FramePlan, Int64s
from pipelines.forms.quarantine import BadSample

Planner = Callable[[ClipMeta], FramePlan]
DECODERS = ("decord", "torchcodec", "pyav")
"""in the order that `auto` tries them"""
_RESIZING = {"decord": video_decord.read_squares, "torchcodec": video_torchcodec.read_squares}


def probe_clip(source: bytes, *, max_pixels: int) -> ClipMeta:
    """Return number and times of a clip's frames and their upright size.

    Raises:
        BadSample: empty, truncated, too large, or no video.
    """
    with opened(source) as clip:
        return read_index(*clip, max_pixels=max_pixels).meta


def decode_clip(
    source: bytes, plan: Planner, *, canvas_px: int, fit: Fit, max_pixels: int, decoder: str
) -> DecodedClip:
    """Return the planned frames of a clip upright, in colour.

    Resizing is bilinear, smoothed where it shrinks. All decoders number frames alike; their pixels differ by
    rounding.

    Args:
        source: a video file's bytes; its name does not matter.
        plan: called once with what is known of the clip.
        max_pixels: of one frame.
        decoder: auto, decord, torchcodec or pyav.

    Raises:
        BadSample: empty, truncated, too large, no video, a planned frame missing, or no decoder takes it.
    """
    with opened(source) as clip:
        index = read_index(*clip, max_pixels=max_pixels)
        planned = plan(index.meta)
        asked = _requests(planned, index.meta, canvas_px=canvas_px, fit=fit, max_pixels=max_pixels)
        names, (frames, large) = _read(source, index, asked, clip, decoder)
    return DecodedClip(meta=index.meta, frames=frames, large=large, decoder=names[0] or names[1])


def _requests(
    planned: FramePlan, meta: ClipMeta, *, canvas_px: int, fit: Fit, max_pixels: int
) -> tuple[SquareRequest, SquareRequest]:
    for numbers in (planned.frames, planned.large):
        _check_numbers(numbers, meta)
    side = LARGE * canvas_px
    small = fitted_square(meta.width, meta.height, side=canvas_px, fit=fit)
    large = covering_square(meta.width, meta.height, side=side, offset=planned.large_offset)
    return SquareRequest(planned.frames, small), SquareRequest(planned.large, large)


def _check_numbers(numbers: Int64s, meta: ClipMeta) -> None:
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= meta.num_frames or (np.diff(numbers) <= 0).any()):
        raise ValueError(
            f"a plan's frames must ascend within 0..{meta.num_frames - 1}, not {numbers.tolist()}"
        )


def _read(
    source: bytes,
    index: ClipIndex,
    asked: Sequence[SquareRequest],
    clip: tuple[InputContainer, VideoStream],
    decoder: str,
) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Return which decoder took each request, and its squares.

    Each is offered to the decoders by itself: they differ by rounding, and what a pathway sees must not
    depend on what another asks of the same clip. PyAV takes all that are left in one pass.
    """
    names, order = [""] * len(asked), _order(decoder)
    squares = [one.empty() for one in asked]
    refusals: list[str] = []
    left: list[int] = []
    for place, one in enumerate(asked):
        if not len(one.numbers):
            continue
        for name in order:
            if name == "pyav":
                left.append(place)
                break
            try:
                (squares[place],) = _RESIZING[name](source, index, [one])
            except RefusedError as refusal:
                refusals.append(str(refusal))
                continue
            names[place] = name
            break
        else:
            raise BadSample(f"{'; '.join(refusals)}; set data.video.decoder to auto")
    if left:
        made = video_pyav.read_squares(source, index, [asked[place] for place in left], clip)
        for place, found in zip(left, made, strict=True):
            names[place], squares[place] = "pyav", found
    return names, squares


def _order(decoder: str) -> list[str]:
    if decoder != "auto":
        if decoder not in DECODERS:
            raise ValueError(f"no decoder {decoder!r}; there are auto, {', '.join(DECODERS)}")
        return [decoder]
    return [name for name in DECODERS if _is_installed(name)]


@cache
def _is_installed(name: str) -> bool:
    if name == "pyav":
        return True
    return video_decord.is_installed() if name == "decord" else video_torchcodec.is_installed()
