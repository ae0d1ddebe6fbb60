"""Open every sample once: its bytes, checksum, size and pixels, or why it is bad."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.decode.image import fit_canvas
from pipelines.decode.read_image import decode_payload, image_size
from pipelines.forms.clips import ClipMeta, FramePlan
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording, count_picture
from pipelines.generated import is_generated, make_sample
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum, read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig
from raytrain.config.machine import usable_cpus

_BLOCK_ROWS = 1024
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What one sample turned out to be."""

    row: int = -1
    payload: bytes = b""
    checksum: str = ""
    width: int = 0
    height: int = 0
    image: NDArray[np.uint8] | None = None
    """u8[3, canvas, canvas]; of a clip the frame in its middle"""
    num_frames: int = 1
    duration_s: float = 0.0
    """of a clip or recording, from its first to its last frame or event"""
    recording: Recording | None = None
    """of events"""
    reason: str = ""
    """why the sample is bad; empty: it is good"""


def examine_rows(
    manifest: Manifest, rows: Iterable[int], *, storage: Storage, config: DataConfig
) -> Iterator[Examined]:
    """Yield every row's sample in order, read and decoded by `data.decode_tasks` threads.

    Raises:
        StorageError: storage failed for longer than the retries.
    """

    def examine(numbered: tuple[int, Row]) -> Examined:
        number, row = numbered
        try:
            found = _EXAMINE[manifest.modality](row, storage, config)
        except BadSample as bad:
            found = Examined(reason=bad.reason)
        return replace(found, row=number)

    workers = usable_cpus() if config.decode_tasks == "auto" else config.decode_tasks
    return _map_ordered(examine, _numbered(manifest, rows), workers=workers)


def _numbered(manifest: Manifest, numbers: Iterable[int]) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number, taken from the manifest in blocks."""
    waiting = iter(numbers)
    while block := list(islice(waiting, _BLOCK_ROWS)):
        yield from zip(block, manifest.rows(np.array(block, np.int64)), strict=True)


def _examine_image(row: Row, storage: Storage, config: DataConfig) -> Examined:
    if is_generated(row.uri):
        return _examine_generated(row.uri, config)
    payload = read_payload(row, storage)
    width, height = image_size(payload, row, config)
    image = decode_payload(payload, row, config)
    return Examined(payload=payload, checksum=checksum(payload), width=width, height=height, image=image)


def _examine_clip(row: Row, storage: Storage, config: DataConfig) -> Examined:
    """Decode a clip's first, middle and last frame: a file that is cut off lacks the last."""
    from pipelines.decode.read_clip import decode_row  # PyAV and decord only where there are clips

    clip, payload = decode_row(row, storage, config, _three_frames)
    return Examined(
        payload=payload,
        checksum=checksum(payload) if payload else "",
        width=clip.meta.width,
        height=clip.meta.height,
        image=clip.frames[len(clip.frames) // 2],
        num_frames=clip.meta.num_frames,
        duration_s=float(clip.meta.times_s[-1]),
    )


def _examine_events(row: Row, storage: Storage, config: DataConfig) -> Examined:
    """Decode a recording whole; its picture is the count of events: brighter red, darker blue."""
    from pipelines.decode.read_events import decode_row  # only where there are recordings

    recording, payload = decode_row(row, storage, config)
    picture = count_picture(recording)
    return Examined(
        payload=payload,
        checksum=checksum(payload) if payload else "",
        width=picture.shape[2],
        height=picture.shape[1],
        image=fit_canvas(picture, canvas_px=config.canvas_px, fit=config.fit),
        num_frames=0,
        duration_s=recording.duration_us / 1e6,
        recording=recording,
    )


_EXAMINE = {"image": _examine_image, "clip": _examine_clip, "events": _examine_events}


def _three_frames(meta: ClipMeta) -> FramePlan:
    last = meta.num_frames - 1
    return FramePlan(frames=np.unique([0, last // 2, last]), large=np.zeros(0, np.int64))


def _examine_generated(uri: str, config: DataConfig) -> Examined:
    count_opened()
    image = make_sample(uri)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
    payload = file.getvalue()
    return Examined(
        payload=payload,
        checksum=checksum(payload),
        width=image.shape[2],
        height=image.shape[1],
        image=fit_canvas(image, canvas_px=config.canvas_px, fit=config.fit),
    )


def _map_ordered(function: Callable[[S], T], items: Iterable[S], *, workers: int) -> Iterator[T]:
    """Map in threads and in order, never more than a few results ahead of the reader."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
