"""JPEGs decoded by simplejpeg and resized in fixed point: Pillow's pixels within one level, in half its time.

Both call libjpeg-turbo with the same settings, so that decoded pixels are equal; shrinking differs by the
rounding of its weights. What simplejpeg does not take, or warns about, is left to Pillow, which decides what
is broken.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import cykooz_resizer
    import simplejpeg
except ImportError:  # there are no wheels for this machine
    cykooz_resizer = simplejpeg = None

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""left, top, right and bottom in pixels, which may lie within one"""

_LIBRARIES = ("simplejpeg", "cykooz_resizer") if simplejpeg else ()
DECODER = " ".join(f"{name} {version(name)}" for name in (*_LIBRARIES, "pillow"))
"""what decodes images here: part of what identifies a result, as pixels may differ by a level"""


def read_jpeg(data: bytes, *, size: Size, reduced: Size) -> Pixels | None:
    """Return the stored pixels u8[H, W, 3] of a grey or colour JPEG; None: left to Pillow.

    Args:
        data: the file.
        size: width and height as its header says.
        reduced: the size that libjpeg is to decode it at: an eighth, a quarter, half or all of `size`.
    """
    if simplejpeg is None:
        return None
    width, height = reduced
    least = {"min_width": width, "min_height": height} if reduced != size else {}
    # Room for what the header says and no more: a file that libjpeg reads otherwise fills no memory.
    room = np.empty(3 * width * height, np.uint8)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=room, strict=True, **least)
    except Exception:  # it raises whatever it likes; a warning of libjpeg's is a ValueError
        return None
    return pixels if pixels.shape == (height, width, 3) else None


def resize(pixels: Pixels, size: Size, box: Box) -> Pixels:
    """Return a box of an image u8[H, W, 3] resized to (width, height), bilinear with antialiasing."""
    height, width = pixels.shape[:2]
    if (width, height) == size and box == (0, 0, *size):
        return pixels
    left, top, right, bottom = box
    if right - left < size[0] or bottom - top < size[1]:
        # Few weights, and round ones: halves are common, and the one rounds up what the other rounds down.
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))
    crop = cykooz_resizer.CropBox(left, top, min(right, width) - left, min(bottom, height) - top)
    options = cykooz_resizer.ResizeOptions(_bilinear(), use_alpha=False, crop_box=crop)
    kind = cykooz_resizer.PixelType.U8x3
    resized = cykooz_resizer.ImageData(*size, kind)
    cykooz_resizer.Resizer().resize(
        cykooz_resizer.ImageData(width, height, kind, pixels.tobytes()), resized, options
    )
    return np.frombuffer(resized.get_buffer(), np.uint8).reshape(size[1], size[0], 3)


def _bilinear() -> Any:
    return cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear)
