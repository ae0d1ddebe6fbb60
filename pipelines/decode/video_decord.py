"""Frames of a clip by decord, resized in the decoder.

decord 0.6 gives wrong frames after a seek where frames are stored in another order than shown (open groups of
pictures, B-frames of MPEG-4), starts late in transport streams, and repeats a neighbour of a frame that it
cannot decode. So it may jump only where the order is the same, is led past key frames one frame at a time
elsewhere, and refuses the rest.
"""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.clip_index import ClipIndex
from pipelines.decode.refused import RefusedError
from pipelines.decode.square import SquareRequest
from pipelines.decode.video_pyav import Scaler, frame_of

_FORMATS = ("mp4", "avi", "matroska", "flv")
_NO_REPEATS = 1e-9
"""share of frames that may be repeated in place of broken ones; 0 would mean any"""
_ALIGNMENT = 32


def is_installed() -> bool:
    """Return whether decord imports here; there are wheels for Linux on x86-64 only."""
    os.environ.setdefault("DECORD_DUPLICATE_WARNING_THRESHOLD", "1.0")  # repeats are refused, not warned of
    try:
        import decord
    except (ImportError, OSError, RuntimeError):
        return False
    decord.logging.set_level(decord.logging.QUIET)
    return True


def read_squares(source: bytes, index: ClipIndex, asked: Sequence[SquareRequest]) -> list[NDArray[np.uint8]]:
    """Return the squares that each asks for, every frame decoded once: u8[n, 3, side, side] each.

    Raises:
        RefusedError: a clip that decord numbers or turns differently, or cannot decode.
    """
    _check(index)
    size = _decoder_size(index, asked)
    reader = _open(source, size)
    try:
        if len(reader) != index.num_packets:
            raise RefusedError(f"decord counts {len(reader)} frames, not {index.num_packets}")
        return _read(reader, index, asked, resized=size != _stored_size(index))
    except _errors() as error:
        raise RefusedError(f"decord: {_last_line(error)}") from None


def _check(index: ClipIndex) -> None:
    if not any(name in index.format for name in _FORMATS):
        raise RefusedError(f"decord does not seek in {index.format} files")
    if index.turn != type(index.turn)():
        raise RefusedError("decord reads turned frames past their end")
    if not index.decoders_agree:
        raise RefusedError("decord counts frames that are cut out of the clip, or of another video in it")


def _decoder_size(index: ClipIndex, asked: Sequence[SquareRequest]) -> tuple[int, int]:
    """Return width and height that decord resizes to: those of the only request, or the stored ones."""
    sizes = {(one.square.width, one.square.height) for one in asked}
    if len(sizes) == 1 and _rows_are_read_right(next(iter(sizes))[0]):
        return next(iter(sizes))
    if not _rows_are_read_right(index.meta.width):
        raise RefusedError(f"decord misreads rows of {index.meta.width} pixels")
    return _stored_size(index)


def _stored_size(index: ClipIndex) -> tuple[int, int]:
    return index.meta.width, index.meta.height


def _rows_are_read_right(width: int) -> bool:
    """Return false where decord takes a padded row for one of more channels, as at 16 or 48 pixels."""
    padded = -(-width // _ALIGNMENT) * _ALIGNMENT
    return padded == width or (3 * padded) % width != 0


def _open(source: bytes, size: tuple[int, int]) -> Any:
    import decord

    try:
        return decord.VideoReader(
            io.BytesIO(source),
            ctx=decord.cpu(0),
            width=size[0],
            height=size[1],
            num_threads=1,
            fault_tol=_NO_REPEATS,
        )
    except _errors() as error:
        raise RefusedError(f"decord: {_last_line(error)}") from None


def _read(
    reader: Any, index: ClipIndex, asked: Sequence[SquareRequest], *, resized: bool
) -> list[NDArray[np.uint8]]:
    wanted = sorted({int(number) for one in asked for number in one.numbers})
    places = [{int(number): place for place, number in enumerate(one.numbers)} for one in asked]
    scalers = [Scaler(one.square, index) for one in asked]
    squares = [one.empty() for one in asked]
    for number, pixels in zip(wanted, _frames(reader, wanted, index), strict=True):
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise RefusedError(f"decord gives frame {number} as {pixels.shape}")
        for one, place, scaler, out in zip(asked, places, scalers, squares, strict=True):
            if number in place:
                out[place[number]] = one.square.take(pixels) if resized else scaler(frame_of(pixels))
    return squares


def _frames(reader: Any, wanted: Sequence[int], index: ClipIndex) -> Iterator[NDArray[np.uint8]]:
    # It skips by stamps, and by a count that takes packets for frames.
    skips = index.stamps is not None and index.num_packets == index.meta.num_frames
    # Told to go on beyond one of these, it jumps there.
    jumps = [] if index.in_order else reader.get_key_indices()
    position = 0
    for number in wanted:
        if not skips:
            _drop(reader, number - position)
        else:
            for jump in jumps:
                if position < jump <= number:
                    reader.seek_accurate(jump - 1)
                    _drop(reader, 1)
                    position = jump
            reader.seek_accurate(number)
        try:
            yield reader.next().asnumpy()
        except StopIteration:
            raise RefusedError(f"decord ends before frame {number}") from None
        position = number + 1


def _drop(reader: Any, count: int) -> None:
    for _ in range(count):
        reader.next()


def _errors() -> tuple[type[Exception], ...]:
    from decord import DECORDError
    from decord._ffi.base import DECORDLimitReachedError

    return DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError, IndexError


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
