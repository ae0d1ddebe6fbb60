"""From a row to a decoded image."""

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import decode_image, fit_canvas, open_image
from pipelines.generated import is_generated, make_sample
from pipelines.storage.payload import read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.raw import decode_raw, is_raw, parse_raw
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig


def read_sample(row: Row, storage: Storage, config: DataConfig) -> NDArray[np.uint8]:
    """Return a row's image decoded on the run's canvas: u8[3, canvas, canvas].

    Raises:
        BadSample: the sample is missing, changed since the manifest was made, or broken.
        StorageError: storage failed for longer than the retries.
    """
    if is_generated(row.uri):
        count_opened()
        return fit_canvas(make_sample(row.uri), canvas_px=config.canvas_px, fit=config.fit)
    return decode_payload(read_payload(row, storage), row, config)


def decode_payload(payload: bytes, row: Row, config: DataConfig) -> NDArray[np.uint8]:
    """Return the decoded sample of a row's stored bytes: u8[3, canvas, canvas].

    Raises:
        BadSample: broken.
    """
    if is_raw(row.payload):
        pixels = decode_raw(payload, parse_raw(row.payload))
        return fit_canvas(pixels, canvas_px=config.canvas_px, fit=config.fit)
    return decode_image(payload, canvas_px=config.canvas_px, fit=config.fit, max_pixels=config.max_pixels)


def image_size(payload: bytes, row: Row, config: DataConfig) -> tuple[int, int]:
    """Return width and height in pixels of a row's stored image, without decoding it.

    Raises:
        BadSample: no image, or too large.
    """
    if is_raw(row.payload):
        layout = parse_raw(row.payload)
        return layout.width, layout.height
    return open_image(payload, max_pixels=config.max_pixels).size
