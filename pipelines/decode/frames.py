"""A clip that is a folder of images, one a frame: only the planned files are read."""

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.decode.image import Fit, decode_image, decode_square, open_image, upright_size
from pipelines.forms.clips import LARGE, ClipMeta, DecodedClip, FramePlan
from pipelines.forms.quarantine import BadSample


def decode_frames(
    read: Callable[[str], bytes],
    names: Sequence[str],
    plan: Callable[[ClipMeta], FramePlan],
    *,
    rate_hz: float,
    canvas_px: int,
    fit: Fit,
    max_pixels: int,
) -> DecodedClip:
    """Return the planned frames of a folder of images.

    Args:
        read: gives the bytes of one of `names`.
        names: in display order.
        plan: called once with what is known of the clip; the size is the first image's.
        rate_hz: frames a second, which a folder does not tell.
        max_pixels: of one frame.

    Raises:
        BadSample: no frames, or a planned one is broken; the reason names the file.
    """
    if not names:
        raise BadSample("holds no frames")
    files = _Files(read, names)
    meta = _meta(files, rate_hz=rate_hz, max_pixels=max_pixels)
    planned = plan(meta)
    side = LARGE * canvas_px
    frames = np.empty((len(planned.frames), 3, canvas_px, canvas_px), np.uint8)
    large = np.empty((len(planned.large), 3, side, side), np.uint8)
    for number in sorted({*planned.frames.tolist(), *planned.large.tolist()}):
        data = files[number]
        try:
            for row in np.flatnonzero(planned.frames == number):
                frames[row] = decode_image(data, canvas_px=canvas_px, fit=fit, max_pixels=max_pixels)
            for row in np.flatnonzero(planned.large == number):
                large[row] = decode_square(
                    data, side_px=side, offset=planned.large_offset, max_pixels=max_pixels
                )
        except BadSample as bad:
            raise BadSample(f"{names[number]}: {bad.reason}", bad.fate) from None
    return DecodedClip(meta=meta, frames=frames, large=large, decoder="frames")


def probe_frames(
    read: Callable[[str], bytes], names: Sequence[str], *, rate_hz: float, max_pixels: int
) -> ClipMeta:
    """Return what is known of a folder of images without decoding one.

    Raises:
        BadSample: no frames, or the first is no image.
    """
    if not names:
        raise BadSample("holds no frames")
    return _meta(_Files(read, names), rate_hz=rate_hz, max_pixels=max_pixels)


class _Files:
    """The files of one clip; the first, which is read for its size, is read once."""

    def __init__(self, read: Callable[[str], bytes], names: Sequence[str]) -> None:
        self.names = names
        self._read = read
        self._first: bytes | None = None

    def __getitem__(self, number: int) -> bytes:
        if number:
            return self._read(self.names[number])
        if self._first is None:
            self._first = self._read(self.names[0])
        return self._first


def _meta(files: _Files, *, rate_hz: float, max_pixels: int) -> ClipMeta:
    try:
        width, height = upright_size(open_image(files[0], max_pixels=max_pixels))
    except BadSample as bad:
        raise BadSample(f"{files.names[0]}: {bad.reason}", bad.fate) from None
    return ClipMeta(times_s=np.arange(len(files.names)) / rate_hz, width=width, height=height)
