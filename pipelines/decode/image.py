"""Image files to uint8 canvases, by Pillow; whatever is wrong with a file becomes a BadSample."""

import io
import re
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from pipelines.forms.quarantine import BadSample

Fit = Literal["squash", "cover", "pad"]
Extent = tuple[float, float]
"""width and height in pixels"""

# Only plain pixel formats: Pillow knows others that start an interpreter (EPS) or have no size (WMF).
_PLUGINS = (WebPImagePlugin, TiffImagePlugin)  # imported, or Pillow loads all of its plugins to find them
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "WEBP", "TIFF")
GREY = 128
"""what shows through transparent pixels and fills the borders of fit = pad"""
_ORIENTATION = 0x0112
_TRANSPOSED = 5
"""from this orientation on, width and height change places"""
_PILLOW = r"PIL\."
_QUIET = ("ignore", None, Warning, re.compile(_PILLOW), 0)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, *, canvas_px: int, fit: Fit, max_pixels: int) -> NDArray[np.uint8]:
    """Return an image file's first frame upright, in colour, on the canvas: u8[3, canvas, canvas].

    squash: both sides resized; cover: the centre that fills the canvas; pad: the whole image on grey.
    Resizing is bilinear with antialiasing. Large JPEGs are decoded at the smallest of libjpeg's sizes that is
    at least twice the canvas.

    Raises:
        BadSample: empty, truncated, too large, or no image.
    """
    image = open_image(data, max_pixels=max_pixels)
    try:
        extent = _reduce(image, canvas_px)
        image.load()
        # Turned last, when there is little left to turn.
        placed = _turn(_FITS[fit](_to_rgb(image), canvas_px, extent), _orientation(image))
    except (BadSample, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise BadSample(f"cannot be decoded: {_first_line(error)}") from None
    return np.ascontiguousarray(np.asarray(placed, np.uint8).transpose(2, 0, 1))


def decode_square(data: bytes, *, side_px: int, offset: float, max_pixels: int) -> NDArray[np.uint8]:
    """Return the square whose side is the upright image's short side, resized: u8[3, side, side].

    Args:
        offset: where it is cut along the long side, 0 at the left or top end, 1 at the right or bottom.

    Raises:
        BadSample: empty, truncated, too large, or no image.
    """
    image = open_image(data, max_pixels=max_pixels)
    try:
        width, height = _reduce(image, side_px)
        image.load()
        orientation = _orientation(image)
        upright = _turn(_to_rgb(image), orientation)
        if orientation >= _TRANSPOSED:
            width, height = height, width
        side = min(width, height)
        left, top = (width - side) * offset, (height - side) * offset
        placed = _resize(upright, (side_px, side_px), (left, top, left + side, top + side))
    except (BadSample, MemoryError):
        raise
    except Exception as error:
        raise BadSample(f"cannot be decoded: {_first_line(error)}") from None
    return np.ascontiguousarray(np.asarray(placed, np.uint8).transpose(2, 0, 1))


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Return the image with its header read and its pixels not yet.

    Raises:
        BadSample: empty, no image, or more pixels claimed than allowed.
    """
    if not data:
        raise BadSample("empty file (0 bytes)")
    _quiet_pillow()
    # Ours is the limit; Pillow's own would refuse what the settings allow.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadSample(f"claims more than the {max_pixels} pixels that data.max_pixels allows") from None
    except UnidentifiedImageError:
        raise BadSample(f"no image in a known format; begins with {data[:8]!r}") from None
    except MemoryError:
        raise
    except Exception as error:
        raise BadSample(f"broken header: {_first_line(error)}") from None
    width, height = image.size
    if width * height > max_pixels:
        raise BadSample(
            f"claims {width} x {height} pixels, more than the {max_pixels} that data.max_pixels allows"
        )
    if not width * height:
        raise BadSample(f"has no pixels ({width} x {height})")
    return image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as it is shown."""
    width, height = image.size
    return (height, width) if _orientation(image) >= _TRANSPOSED else (width, height)


def _reduce(image: Image.Image, canvas_px: int) -> Extent:
    """Let libjpeg decode a large JPEG smaller; return its exact size then, which may end within a pixel."""
    if image.format != "JPEG":
        return image.size
    drafted = image.draft(image.mode, (2 * canvas_px, 2 * canvas_px))
    return image.size if drafted is None else (drafted[1][2], drafted[1][3])


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; an unreadable EXIF block turns nothing, as in every viewer."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_wide_grey(image)
    if image.mode == "F":
        raise BadSample("floating-point pixels, whose range is not known")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def _from_wide_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise BadSample(f"grey values from {values.min()} to {values.max()}, outside 0..65535")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _squash(image: Image.Image, canvas_px: int, extent: Extent) -> Image.Image:
    return _resize(image, (canvas_px, canvas_px), (0, 0, *extent))


def _cover(image: Image.Image, canvas_px: int, extent: Extent) -> Image.Image:
    width, height = extent
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(image, (canvas_px, canvas_px), (left, top, left + side, top + side))


def _pad(image: Image.Image, canvas_px: int, extent: Extent) -> Image.Image:
    width, height = extent
    scale = canvas_px / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.new("RGB", (canvas_px, canvas_px), (GREY, GREY, GREY))
    inner = _resize(image, size, (0, 0, *extent))
    canvas.paste(inner, ((canvas_px - size[0]) // 2, (canvas_px - size[1]) // 2))
    return canvas


def _resize(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    if image.size == size and box == (0, 0, *size):
        return image
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


_FITS = {"squash": _squash, "cover": _cover, "pad": _pad}


def fit_canvas(image: NDArray[np.uint8], *, canvas_px: int, fit: Fit) -> NDArray[np.uint8]:
    """Bring a decoded image u8[3, H, W] to the canvas: u8[3, canvas, canvas]."""
    if image.shape[1:] == (canvas_px, canvas_px):
        return image
    height, width = image.shape[1:]
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    placed = _FITS[fit](picture, canvas_px, (width, height))
    return np.ascontiguousarray(np.asarray(placed, np.uint8).transpose(2, 0, 1))


def _quiet_pillow() -> None:
    """Keep Pillow's warnings off the screen: what matters in them becomes a reason of quarantine."""
    # Looked up each time, because whoever saves and restores the filters takes ours away.
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
