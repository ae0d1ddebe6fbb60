"""From a row of the manifest to a decoded sample: opened once, checked, decoded."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import decode_image, fit_canvas, open_image
from pipelines.manifest import Manifest
from pipelines.quarantine import BadSample
from pipelines.raw import decode_raw, is_raw, parse_raw
from pipelines.sources.shapes import SCHEME, draw_shape
from pipelines.storage import Storage, count_opened
from raytrain.config.data import DataConfig


def read_sample(manifest: Manifest, index: int, storage: Storage, config: DataConfig) -> NDArray[np.uint8]:
    """Return a row's image decoded on the run's canvas: u8[3, canvas, canvas].

    Raises:
        BadSample: the sample is missing, changed since the manifest was made, or broken.
        StorageError: storage failed for longer than the retries.
    """
    uri = manifest.table["uri"][index].as_py()
    if uri.startswith(SCHEME):
        count_opened()
        return fit_canvas(draw_shape(uri), canvas_px=config.canvas_px, fit=config.fit)
    return decode_payload(read_payload(manifest, index, storage), manifest, index, config)


def read_payload(manifest: Manifest, index: int, storage: Storage) -> bytes:
    """Return a row's stored bytes, their number and checksum checked; this counts as an opening.

    Raises:
        BadSample: missing, or changed since the manifest was made.
        StorageError: storage failed for longer than the retries.
    """
    count_opened()
    table = manifest.table
    size, offset = table["bytes"][index].as_py(), table["offset"][index].as_py()
    # An encoded payload at offset 0 is a whole file: shards and archives begin with something else.
    ranged = {"offset": offset, "length": size} if offset or is_raw(manifest.payload_of(index)) else {}
    payload = storage.read_bytes(table["uri"][index].as_py(), **ranged)
    if size not in (-1, len(payload)):
        raise BadSample(f"size: {len(payload)} bytes, but the manifest says {size}; the file has changed")
    expected = table["checksum"][index].as_py()
    if expected and checksum(payload) != expected:
        raise BadSample("checksum differs from the manifest; the file has changed or is damaged")
    return payload


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


def checksum(payload: bytes) -> str:
    """Return the BLAKE2b-128 checksum, hex."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()
