"""Frames of a clip by PyAV: takes what FFmpeg takes, resizes each frame straight to its squares."""

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipelines.decode.clip_index import ClipIndex, opened
from pipelines.decode.square import Square, SquareRequest
from pipelines.forms.quarantine import BadSample


class Scaler:
    """Brings frames of a clip to one kind of square."""

    def __init__(self, square: Square, index: ClipIndex) -> None:
        self._square, self._turn = square, index.turn
        # Resized before it is turned: there is less to turn then.
        size = square.width, square.height
        self._width, self._height = size[::-1] if index.turn.transposed else size
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a stored frame's square u8[3, side, side]."""
        resized = self._reformatter.reformat(
            frame, self._width, self._height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        pixels: NDArray[Any] = resized.to_ndarray()
        return self._square.take(self._turn(pixels))


def read_squares(
    source: bytes, index: ClipIndex, asked: Sequence[SquareRequest], clip: tuple[InputContainer, VideoStream]
) -> list[NDArray[np.uint8]]:
    """Return the squares that each asks for, every frame decoded once: u8[n, 3, side, side] each.

    Args:
        clip: the opened source; decoding goes on in it where it can be told which frames come.

    Raises:
        BadSample: a frame is missing or broken.
    """
    wanted = sorted({int(number) for one in asked for number in one.numbers})
    places = [{int(number): place for place, number in enumerate(one.numbers)} for one in asked]
    scalers = [Scaler(one.square, index) for one in asked]
    squares = [one.empty() for one in asked]
    for number, frame in _wanted_frames(source, index, wanted, clip):
        for place, scaler, out in zip(places, scalers, squares, strict=True):
            if number in place:
                out[place[number]] = scaler(frame)
    return squares


def _wanted_frames(
    source: bytes, index: ClipIndex, wanted: list[int], clip: tuple[InputContainer, VideoStream]
) -> Iterator[tuple[int, VideoFrame]]:
    done = -1
    if index.stamps is not None:
        for number, frame in _by_stamp(index, wanted, *clip):
            yield number, frame
            done = number
    left = [number for number in wanted if number > done]
    if left:  # by stamp nothing was, or some frame was not found: from the start, in order
        with opened(source) as (container, stream):
            yield from _in_order(index, left, container, stream)


def _by_stamp(
    index: ClipIndex, wanted: list[int], container: InputContainer, stream: VideoStream
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames until one is not where its stamp says; jump to key frames."""
    stamps = index.stamps
    assert stamps is not None
    frames: Iterator[VideoFrame] = iter(())
    reached = -1
    for number in wanted:
        key = int(index.keys[int(np.searchsorted(index.keys, number, side="right")) - 1])
        if reached < 0 or key > reached + 1:
            container.seek(int(stamps[key]), stream=stream, backward=True, any_frame=False)
            frames = container.decode(stream)
        frame = next(
            (frame for frame in frames if frame.pts is not None and frame.pts >= stamps[number]), None
        )
        if frame is None or frame.pts != stamps[number]:
            return
        reached = number
        yield number, frame


def _in_order(
    index: ClipIndex, wanted: list[int], container: InputContainer, stream: VideoStream
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames of a clip decoded from its start, told apart by their stamps or else by counting."""
    stamps = index.stamps
    expected = iter(wanted)
    number, count = next(expected), 0
    led = index.meta.num_lead > 0
    for frame in container.decode(stream):
        led = led and not frame.key_frame
        if led:
            continue  # drawn on grey by decoders that do not drop it
        if stamps is None:
            found, count = count, count + 1
        elif frame.pts is None:
            continue
        else:
            found = int(np.searchsorted(stamps, frame.pts))
        if found > number:
            break
        if found < number:
            continue
        yield number, frame
        following = next(expected, None)
        if following is None:
            return
        number = following
    raise BadSample(f"frame {number} of {index.meta.num_frames} is missing or broken")


def frame_of(pixels: NDArray[np.uint8]) -> VideoFrame:
    """Return decoded pixels u8[H, W, 3] as a frame that a Scaler takes."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
