"""Image files to uint8 canvases, by Pillow or `jpeg`; whatever is wrong with a file becomes a BadSample."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin, features

from pipelines.decode.jpeg import Box, read_jpeg, resize
from pipelines.forms.beginnings import beginning
from pipelines.forms.quarantine import BadSample

Fit = Literal["squash", "cover", "pad"]
Extent = tuple[float, float]
"""width and height in pixels"""
Pixels = Image.Image | NDArray[np.uint8]
"""what Pillow decoded, and resizes; or u8[H, W, 3] of `jpeg`"""

# Only plain pixel formats: Pillow knows others that start an interpreter (EPS) or have no size (WMF).
_PLUGINS = (WebPImagePlugin, TiffImagePlugin)  # imported, or Pillow loads all of its plugins to find them
_OPTIONAL = {"AVIF": ("avif", "AvifImagePlugin"), "JPEG2000": ("jpg_2000", "Jpeg2KImagePlugin")}
"""format -> the feature of Pillow that reads it, and its module"""


def _optional_formats() -> tuple[str, ...]:
    """Return the formats that this Pillow was built with."""
    found = []
    for name, (feature, module) in _OPTIONAL.items():
        with suppress(ImportError), warnings.catch_warnings(action="ignore"):  # an older Pillow's: unknown
            if features.check(feature):
                import_module(f"PIL.{module}")
                found.append(name)
    return tuple(found)


FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "WEBP", "TIFF", *_optional_formats())
GREY = 128
"""what shows through transparent pixels and fills the borders of fit = pad"""
_ORIENTATION = 0x0112
_TRANSPOSED = 5
"""from this orientation on, width and height change places"""
_PILLOW = r"PIL\."
_QUIET = ("ignore", None, Warning, re.compile(_PILLOW), 0)
_TURNS: dict[int, tuple[Image.Transpose, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, np.fliplr),
    3: (Image.Transpose.ROTATE_180, partial(np.rot90, k=2)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, np.flipud),
    5: (Image.Transpose.TRANSPOSE, partial(np.swapaxes, axis1=0, axis2=1)),
    6: (Image.Transpose.ROTATE_270, partial(np.rot90, k=3)),
    7: (Image.Transpose.TRANSVERSE, lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1)),
    8: (Image.Transpose.ROTATE_90, np.rot90),
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
    with _named_faults():
        pixels, extent = _read(image, data, canvas_px)
        # Turned last, when there is little left to turn.
        return _channels_first(_turned(_FITS[fit](pixels, canvas_px, extent), _orientation(image)))


def decode_square(data: bytes, *, side_px: int, offset: float, max_pixels: int) -> NDArray[np.uint8]:
    """Return the square whose side is the upright image's short side, resized: u8[3, side, side].

    Args:
        offset: where it is cut along the long side, 0 at the left or top end, 1 at the right or bottom.

    Raises:
        BadSample: empty, truncated, too large, or no image.
    """
    image = open_image(data, max_pixels=max_pixels)
    with _named_faults():
        pixels, (width, height) = _read(image, data, side_px)
        orientation = _orientation(image)
        if orientation >= _TRANSPOSED:
            width, height = height, width
        side = min(width, height)
        left, top = (width - side) * offset, (height - side) * offset
        box = (left, top, left + side, top + side)
        return _channels_first(_resize(_turned(pixels, orientation), (side_px, side_px), box))


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
        raise BadSample(f"no image in a known format; {beginning(data)}") from None
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


@contextmanager
def _named_faults() -> Iterator[None]:
    """Turn whatever a decoder raises into a BadSample."""
    try:
        yield
    except (BadSample, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise BadSample(f"cannot be decoded: {_first_line(error)}") from None


def _read(image: Image.Image, data: bytes, canvas_px: int) -> tuple[Pixels, Extent]:
    """Return the stored pixels of an opened image, large JPEGs made smaller, and its exact size then."""
    size = image.size
    extent = _reduce(image, canvas_px)
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        pixels = read_jpeg(data, size=size, reduced=image.size)
        if pixels is not None:
            return pixels, extent
    image.load()
    return _to_rgb(image), extent


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


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    if orientation not in _TURNS:
        return pixels
    if isinstance(pixels, Image.Image):
        return pixels.transpose(_TURNS[orientation][0])
    return _TURNS[orientation][1](pixels)


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


def _squash(pixels: Pixels, canvas_px: int, extent: Extent) -> Pixels:
    return _resize(pixels, (canvas_px, canvas_px), (0, 0, *extent))


def _cover(pixels: Pixels, canvas_px: int, extent: Extent) -> Pixels:
    width, height = extent
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(pixels, (canvas_px, canvas_px), (left, top, left + side, top + side))


def _pad(pixels: Pixels, canvas_px: int, extent: Extent) -> NDArray[np.uint8]:
    width, height = extent
    scale = canvas_px / max(width, height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (canvas_px - width) // 2, (canvas_px - height) // 2
    canvas = np.full((canvas_px, canvas_px, 3), GREY, np.uint8)
    inner = np.asarray(_resize(pixels, (width, height), (0, 0, *extent)))
    canvas[top : top + height, left : left + width] = inner
    return canvas


def _resize(pixels: Pixels, size: tuple[int, int], box: Box) -> Pixels:
    if not isinstance(pixels, Image.Image):
        return resize(pixels, size, box)
    if pixels.size == size and box == (0, 0, *size):
        return pixels
    return pixels.resize(size, Image.Resampling.BILINEAR, box=box)


_FITS: dict[Fit, Callable[[Pixels, int, Extent], Pixels]] = {"squash": _squash, "cover": _cover, "pad": _pad}


def fit_canvas(image: NDArray[np.uint8], *, canvas_px: int, fit: Fit) -> NDArray[np.uint8]:
    """Bring a decoded image u8[3, H, W] to the canvas: u8[3, canvas, canvas]."""
    if image.shape[1:] == (canvas_px, canvas_px):
        return image
    height, width = image.shape[1:]
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    return _channels_first(_FITS[fit](picture, canvas_px, (width, height)))


def _channels_first(pixels: Pixels) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(pixels, np.uint8).transpose(2, 0, 1))


def _quiet_pillow() -> None:
    """Keep Pillow's warnings off the screen: what matters in them becomes a reason of quarantine."""
    # Looked up each time, because whoever saves and restores the filters takes ours away.
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
