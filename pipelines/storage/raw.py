"""Raw pixels of a stated shape and axis order, as the binary files of CIFAR-10 and STL-10 hold them."""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample

_FORM = re.compile(r"u8:([chw]{3}):(\d+)x(\d+)x(\d+)")


@dataclass(frozen=True)
class RawLayout:
    """How one image lies in its bytes: `axes` from the slowest to the fastest, `shape` in that order.

    Examples: ("chw", (3, 32, 32)) row by row, ("cwh", (3, 96, 96)) column by column.
    """

    axes: str
    shape: tuple[int, int, int]

    @property
    def num_bytes(self) -> int:
        """Bytes of one image."""
        return int(np.prod(self.shape))

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.shape[self.axes.index("w")]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.shape[self.axes.index("h")]

    def __str__(self) -> str:
        return f"u8:{self.axes}:{'x'.join(map(str, self.shape))}"


def is_raw(payload: str) -> bool:
    """Return whether a manifest's word for a payload names a raw layout."""
    return payload.startswith("u8:")


@lru_cache(maxsize=64)
def parse_raw(payload: str) -> RawLayout:
    """Return the layout of its text form, e.g. u8:cwh:3x96x96.

    Raises:
        BadSample: no such form, or neither one nor three channels.
    """
    found = _FORM.fullmatch(payload)
    if found is None or sorted(found[1]) != ["c", "h", "w"]:
        raise BadSample(f"unknown payload {payload!r}; expected e.g. u8:chw:3x32x32")
    layout = RawLayout(found[1], (int(found[2]), int(found[3]), int(found[4])))
    channels = layout.shape[layout.axes.index("c")]
    if channels not in (1, 3) or not layout.num_bytes:
        raise BadSample(f"payload {payload!r}: an image has 1 or 3 channels and at least one pixel")
    return layout


def decode_raw(data: bytes, layout: RawLayout) -> NDArray[np.uint8]:
    """Return raw bytes as an image u8[3, H, W]; one channel is repeated.

    Raises:
        BadSample: the number of bytes is another one.
    """
    if len(data) != layout.num_bytes:
        raise BadSample(f"size: {len(data)} bytes, but {layout} needs {layout.num_bytes}")
    pixels = np.frombuffer(data, np.uint8).reshape(layout.shape)
    upright = pixels.transpose([layout.axes.index(axis) for axis in "chw"])
    return np.array(np.broadcast_to(upright, (3, *upright.shape[1:])), order="C")
