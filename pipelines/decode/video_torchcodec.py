"""Frames of a clip by torchcodec, where it is installed; it needs a shared FFmpeg of the system."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.clip_index import ClipIndex
from pipelines.decode.refused import RefusedError
from pipelines.decode.square import SquareRequest
from pipelines.decode.video_pyav import Scaler, frame_of


def is_installed() -> bool:
    """Return whether torchcodec imports here; this loads torch where it does."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def read_squares(source: bytes, index: ClipIndex, asked: Sequence[SquareRequest]) -> list[NDArray[np.uint8]]:
    """Return the squares that each asks for, every frame decoded once: u8[n, 3, side, side] each.

    Raises:
        RefusedError: a clip that torchcodec numbers or turns differently, or cannot decode.
    """
    from torchcodec.decoders import VideoDecoder

    if index.stamps is None:
        raise RefusedError("torchcodec identifies frames by time stamps, and this clip has none to rely on")
    if index.turn != type(index.turn)():
        raise RefusedError("whether torchcodec turns frames depends on its version")
    wanted = sorted({int(number) for one in asked for number in one.numbers})
    try:
        decoder = VideoDecoder(source, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        if decoder.metadata.num_frames != index.meta.num_frames:
            raise RefusedError(
                f"torchcodec counts {decoder.metadata.num_frames} frames, not {index.meta.num_frames}"
            )
        batch = decoder.get_frames_at(wanted)
    except (RuntimeError, ValueError, IndexError) as error:
        raise RefusedError(
            f"torchcodec: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
        ) from None
    times = index.stamps[wanted] * float(index.time_base)
    if not np.allclose(batch.pts_seconds.numpy(), times, atol=1e-4):
        raise RefusedError("torchcodec gives frames of other times")
    return _squares(batch.data.numpy(), wanted, index, asked)


def _squares(
    pixels: NDArray[np.uint8], wanted: list[int], index: ClipIndex, asked: Sequence[SquareRequest]
) -> list[NDArray[np.uint8]]:
    place = {number: position for position, number in enumerate(wanted)}
    squares = []
    for one in asked:
        scaler, out = Scaler(one.square, index), one.empty()
        for row, number in enumerate(one.numbers):
            out[row] = scaler(frame_of(pixels[place[int(number)]]))
        squares.append(out)
    return squares
