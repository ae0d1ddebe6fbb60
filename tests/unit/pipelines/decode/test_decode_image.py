import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from pipelines.decode.image import GREY, decode_image, fit_canvas
from pipelines.forms.quarantine import BadSample

# Four colours, one a quarter: turning, mirroring and swapped channels all show.
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 32, height: int = 32) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    image[height // 2 :, width // 2 :] = WHITE
    return image


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(
    data: bytes, *, canvas_px: int = 32, fit: Any = "squash", max_pixels: int = 64_000_000
) -> np.ndarray:
    return decode_image(data, canvas_px=canvas_px, fit=fit, max_pixels=max_pixels)


def corners(image: np.ndarray) -> list[tuple[int, ...]]:
    """Colours in the middle of the quarters: upper left, upper right, lower left, lower right."""
    a, b = image.shape[1] // 4, image.shape[1] * 3 // 4
    return [tuple(image[:, y, x].tolist()) for y, x in ((a, a), (a, b), (b, a), (b, b))]


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "GIF", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    image = quarters()
    decoded = decode(encode(image, kind))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert np.array_equal(decoded, image.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_keep_the_colours(kind: str) -> None:
    decoded = decode(encode(quarters(), kind, quality=95))
    assert np.abs(np.array(corners(decoded)) - [RED, GREEN, BLUE, WHITE]).max() < 12


@pytest.mark.parametrize(("kind", "feature"), [("AVIF", "avif"), ("JPEG2000", "jpg_2000")])
def test_formats_of_newer_cameras_and_archives_keep_the_colours(kind: str, feature: str) -> None:
    if not features.check(feature):
        pytest.skip(f"this Pillow was built without {kind}")
    decoded = decode(encode(quarters(), kind))
    assert np.abs(np.array(corners(decoded)) - [RED, GREEN, BLUE, WHITE]).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "BMP", "WEBP", "GIF"])
def test_truncated_files_are_bad(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(noise, kind)
    with pytest.raises(BadSample, match=r"^(cannot be decoded|broken header): ."):
        decode(data[: len(data) * 2 // 3])


def test_bytes_that_are_no_image_are_bad() -> None:
    with pytest.raises(BadSample, match=r"^empty file \(0 bytes\)$"):
        decode(b"")
    with pytest.raises(
        BadSample, match=r"^no image in a known format; it is a web page, download the file again$"
    ):
        decode(b"<html>not found</html>")


def test_a_corrupt_file_is_bad() -> None:
    data = bytearray(encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    with pytest.raises(BadSample, match="cannot be decoded: "):
        decode(bytes(data))


@given(
    data=st.binary(max_size=200),
    kind=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"P6 8 8 255\n", b"BM", b"GIF89a", b""]),
)
@settings(max_examples=150, deadline=None)
def test_garbage_never_raises_anything_else(data: bytes, kind: bytes) -> None:
    outcome: object
    try:
        outcome = decode(kind + data, max_pixels=10_000).shape
    except BadSample as bad:
        outcome = bool(bad.reason) and "\n" not in bad.reason
    assert outcome in ((3, 32, 32), True)


def test_bombs_are_refused_from_their_header() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def claim(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Beyond ours, beyond what Pillow warns of, beyond what it refuses.
        for side in (9_000, 12_000, 60_000):
            with pytest.raises(BadSample, match=r"^claims .*pixels.* that data\.max_pixels allows$"):
                decode(claim(side, side))
    with pytest.raises(
        BadSample, match=r"^claims 33 x 32 pixels, more than the 1024 that data.max_pixels allows$"
    ):
        decode(encode(quarters(33, 32)), max_pixels=1024)
    assert decode(encode(quarters(32, 32)), max_pixels=1024).shape == (3, 32, 32)


def test_max_pixels_may_be_raised_above_pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encode(quarters())).shape == (3, 32, 32)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 257, 32768], [65535, 128, 129, 514]], np.uint16).repeat(8, 0).repeat(4, 1)
    expected = np.round(values / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        decoded = decode(encode(Image.fromarray(values), kind), canvas_px=16)
        assert np.array_equal(decoded, np.stack([expected] * 3)), kind
    pgm = b"P5 16 16 65535\n" + values.astype(">u2").tobytes()
    assert np.array_equal(decode(pgm, canvas_px=16), np.stack([expected] * 3))


def test_grey_values_of_unknown_range_are_bad() -> None:
    with pytest.raises(BadSample, match=r"^grey values from 0 to 70000, outside 0\.\.65535$"):
        decode(encode(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))
    with pytest.raises(BadSample, match=r"^floating-point pixels, whose range is not known$"):
        decode(encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


def test_eight_bit_grey_becomes_three_equal_channels() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(decode(encode(ramp), canvas_px=16), np.stack([ramp] * 3))


def test_cmyk_becomes_rgb() -> None:
    decoded = decode(encode(Image.fromarray(quarters()).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(np.array(corners(decoded)) - [RED, GREEN, BLUE, WHITE]).max() < 16


def test_transparent_pixels_show_grey() -> None:
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[:16, :16] = 0
    alpha[:16, 16:] = 128
    rgba = Image.fromarray(np.dstack([quarters(), alpha]))
    half = round((255 * 128 + GREY * 127) / 255)
    upper_left, upper_right, lower_left, lower_right = corners(decode(encode(rgba)))
    assert upper_left == (GREY, GREY, GREY)
    assert (
        np.abs(np.array(upper_right) - [GREY - GREY * 128 // 255, half, GREY - GREY * 128 // 255]).max() <= 1
    )
    assert (lower_left, lower_right) == (BLUE, WHITE)
    grey = Image.merge("LA", [Image.new("L", (32, 32), 200), Image.fromarray(alpha)])
    assert [corner[0] for corner in corners(decode(encode(grey)))][::3] == [GREY, 200]
    palette = Image.fromarray(quarters()).quantize(4)
    clear = palette.getpixel((0, 0))
    assert corners(decode(encode(palette, "PNG", transparency=clear))) == [(GREY,) * 3, GREEN, BLUE, WHITE]
    assert corners(decode(encode(quarters(), "PNG", transparency=RED))) == [(GREY,) * 3, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_orientation_is_applied(orientation: int, expected: list[tuple[int, ...]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(decode(encode(quarters(), "PNG", exif=exif))) == expected
    turned = decode(encode(quarters(600, 400), "JPEG", exif=exif, quality=95))
    assert np.abs(np.array(corners(turned)) - expected).max() < 12


def test_a_broken_exif_block_turns_nothing() -> None:
    data = encode(quarters(), "JPEG", quality=95, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert np.abs(np.array(corners(decode(data))) - [RED, GREEN, BLUE, WHITE]).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.fromarray(quarters()), Image.new("RGB", (32, 32), (0, 0, 0))]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    assert corners(decode(data)) == [RED, GREEN, BLUE, WHITE]


def test_the_three_ways_to_the_canvas() -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, :16], wide[:, 16:32], wide[:, 32:] = RED, GREEN, BLUE
    squashed, covered, padded = (
        decode(encode(wide), canvas_px=48, fit=fit) for fit in ("squash", "cover", "pad")
    )
    assert [tuple(squashed[:, 24, x].tolist()) for x in (4, 24, 44)] == [RED, GREEN, BLUE]
    assert [tuple(covered[:, 24, x].tolist()) for x in (4, 24, 44)] == [GREEN] * 3
    assert [tuple(padded[:, 24, x].tolist()) for x in (4, 24, 44)] == [RED, GREEN, BLUE]
    assert np.array_equal(padded[:, 16:32], wide.transpose(2, 0, 1))
    assert set(padded[:, :16].ravel().tolist() + padded[:, 32:].ravel().tolist()) == {GREY}
    tall = decode(encode(wide.transpose(1, 0, 2)), canvas_px=48, fit="pad")
    assert np.array_equal(tall, padded.transpose(0, 2, 1))


def test_shrinking_is_antialiased() -> None:
    checks = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)
    for fit in ("squash", "cover", "pad"):
        assert np.abs(decode(encode(checks), fit=fit).astype(int) - 127).max() <= 2


def test_large_jpegs_come_out_as_after_a_full_decode() -> None:
    y, x = np.mgrid[:700, :900] / 900
    smooth = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x * y)], 2)
    data = encode((smooth * 255).astype(np.uint8), "JPEG", quality=95)
    full = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    assert np.abs(decode(data).astype(int) - full).max() <= 4


@given(width=st.integers(1, 90), height=st.integers(1, 90), fit=st.sampled_from(["squash", "cover", "pad"]))
@settings(max_examples=60, deadline=None)
def test_every_size_fits_the_canvas_and_keeps_a_constant(width: int, height: int, fit: Any) -> None:
    image = np.full((height, width, 3), GREY, np.uint8)
    decoded = decode(encode(image), fit=fit)
    assert decoded.shape == (3, 32, 32)
    assert (decoded == GREY).all()
    assert np.array_equal(fit_canvas(image.transpose(2, 0, 1), canvas_px=32, fit=fit), decoded)


def test_pillows_warnings_stay_off_the_screen() -> None:
    palette = Image.fromarray(quarters()).quantize(4)
    data = encode(palette, "PNG", transparency=bytes([0, 255, 255, 255]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(data)
    assert caught == []
