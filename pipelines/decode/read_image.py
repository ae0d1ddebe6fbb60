"""From a row of the manifest to a decoded image."""

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import decode_image, fit_canvas, open_image
from pipelines.forms.quarantine import BadSample
from pipelines.generated import is_generated, make_sample
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.raw import decode_raw, is_raw, parse_raw
from raytrain.config.data import DataConfig


def read_sample(manifest: Manifest, index: int, storage: Storage, config: DataConfig) -> NDArray[np.uint8]:
    """Return a row's image decoded on the run's canvas: u8[3, canvas, canvas].

    Raises:
        BadSample: the sample is missing, changed since the manifest was made, or broken.
        StorageError: storage failed for longer than the retries.
    """
    uri = manifest.table["uri"][index].as_py()
    if is_generated(uri):
        count_opened()
        return fit_canvas(make_sample(uri), canvas_px=config.canvas_px, fit=config.fit)
    return decode_payload(read_payload(manifest, index, storage), manifest, index, config)


def decode_payload(payload: bytes, manifest: Manifest, index: int, config: DataConfig) -> NDArray[np.uint8]:
    """Return the decoded sample of a row's stored bytes: u8[3, canvas, canvas].

    Raises:
        BadSample: broken.
    """
    kind = manifest.payload_of(index)
    if is_raw(kind):
        return fit_canvas(decode_raw(payload, parse_raw(kind)), canvas_px=config.canvas_px, fit=config.fit)
    if kind == "uint8":
        side = manifest.canvas_px
        if len(payload) != 3 * side * side:
            raise BadSample(f"size: {len(payload)} bytes, but {side} px need {3 * side * side}")
        return np.frombuffer(payload, np.uint8).reshape(3, side, side).copy()
    return decode_image(payload, canvas_px=config.canvas_px, fit=config.fit, max_pixels=config.max_pixels)


def image_size(payload: bytes, manifest: Manifest, index: int, config: DataConfig) -> tuple[int, int]:
    """Return width and height in pixels of a row's stored image, without decoding it.

    Raises:
        BadSample: no image, or too large.
    """
    kind = manifest.payload_of(index)
    if is_raw(kind):
        return parse_raw(kind).width, parse_raw(kind).height
    if kind == "uint8":
        return manifest.canvas_px, manifest.canvas_px
    return open_image(payload, max_pixels=config.max_pixels).size
