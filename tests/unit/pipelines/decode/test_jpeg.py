import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipelines.decode import image as image_module
from pipelines.decode import jpeg
from pipelines.decode.image import decode_image, decode_square
from pipelines.forms.quarantine import BadSample

simplejpeg = pytest.importorskip("simplejpeg", reason="no simplejpeg on this machine: Pillow decodes")

ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAoHBwgHBgoICAgLCgoLDhgQDg0NDh0VFhEYIx8lJCIfIiEmKzcvJik0KSEiMEEx"
    "NDk7Pj4+JS5ESUM8SDc9Pjv/2wBDAQoLCw4NDhwQEBw7KCIoOzs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7Ozs7"
    "Ozs7Ozs7Ozs7Ozs7Ozv/yQARCAAQABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ALHy3O0SvR6T+R7b"
    "VvYD41b5Tgsb2Y5+NYZfhnaL200b1PUsWuvnln6gMpb7VmykjDoq5ZYjIkDH6/IqW9k7cQBdJdVe6qk5wP/Z"
)
"""24 x 16 px of arithmetic coding, made by cjpeg"""


def photograph(width: int, height: int) -> Image.Image:
    """A smooth picture with edges and noise, as photographs have them."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(9 * x * y + phase) + ((3 * x + phase) % 1 > 0.5) for phase in (0, 0.3, 0.7)]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(60 + 60 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **{"quality": 90} | options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photograph(150, 90), exif=exif)


def subsampled(kind: str) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.asarray(photograph(150, 90)), colorsubsampling=kind))


def ycck() -> bytes:
    """A CMYK file whose Adobe marker says YCCK."""
    data = bytearray(encoded(photograph(150, 90).convert("CMYK")))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def twelve_bits() -> bytes:
    data = bytearray(encoded(photograph(64, 64)))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def overwritten(filling: bytes) -> bytes:
    data = bytearray(encoded(photograph(150, 90)))
    data[len(data) // 2 : len(data) // 2 + len(filling)] = filling
    return bytes(data)


PICTURE = encoded(photograph(150, 90))
ODD: dict[str, bytes] = {
    "grey": encoded(photograph(150, 90).convert("L")),
    "cmyk": encoded(photograph(150, 90).convert("CMYK")),
    "ycck": ycck(),
    "progressive": encoded(photograph(150, 90), progressive=True),
    **{f"subsampled {kind}": subsampled(kind) for kind in ("444", "422", "440", "420", "411", "gray")},
    **{f"orientation {number}": turned(number) for number in range(1, 9)},
    "rgb, not ycbcr": encoded(photograph(150, 90), keep_rgb=True),
    "truncated": PICTURE[: len(PICTURE) * 2 // 3],
    "without its end marker": PICTURE[:-2],
    "without half of its end marker": PICTURE[:-1],
    "truncated within its header": PICTURE[:100],
    "1 px high": encoded(photograph(150, 1)),
    "1 px wide": encoded(photograph(1, 150)),
    "1 px": encoded(photograph(1, 1)),
    "as large as the canvas": encoded(photograph(64, 64)),
    "larger on one side only": encoded(photograph(40, 90)),
    "huge on one side": encoded(photograph(20_000, 70)),
    "drafted by 2": encoded(photograph(301, 259)),
    "drafted by 4": encoded(photograph(517, 515)),
    "drafted by 8": encoded(photograph(1025, 1111)),
    "restart markers": encoded(photograph(150, 90), restart_marker_rows=1),
    "icc profile": encoded(
        photograph(150, 90), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "12 bits": twelve_bits(),
    "arithmetic coding": base64.b64decode(ARITHMETIC),
    "zeros in the middle": overwritten(bytes(40)),
    "markers in the middle": overwritten(b"\xff\xd0" * 20),
    "trailing garbage": PICTURE + bytes(range(256)) * 9,
    "two pictures in one file": PICTURE + encoded(photograph(40, 30)),
    "a comment": encoded(photograph(150, 90), comment=b"c" * 60_000),
    "low quality": encoded(photograph(150, 90), quality=1),
}
BROKEN = {
    "truncated",
    "without its end marker",
    "without half of its end marker",
    "truncated within its header",
    "12 bits",
}
LEFT_TO_PILLOW = BROKEN | {"cmyk", "ycck", "markers in the middle"}


def fate(decode: Callable[[], np.ndarray]) -> np.ndarray | str:
    try:
        return decode()
    except BadSample as bad:
        return bad.reason


def both(data: bytes, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[np.ndarray | str]:
    """What becomes of a file with simplejpeg, and with Pillow alone."""

    def decode() -> np.ndarray:
        if "side_px" in options:
            return decode_square(data, max_pixels=10**8, **options)
        return decode_image(data, max_pixels=10**8, **options)

    fast = fate(decode)
    with monkeypatch.context() as patch:
        patch.setattr(image_module, "read_jpeg", lambda *_, **__: None)
        return [fast, fate(decode)]


def assert_one_level(fates: list[np.ndarray | str], name: str) -> None:
    fast, slow = fates
    if isinstance(fast, str) or isinstance(slow, str):
        assert isinstance(fast, str), name
        assert fast == slow, name
        return
    assert fast.shape == slow.shape, name
    assert fast.flags.c_contiguous
    assert np.abs(fast.astype(int) - slow).max() <= 1, name


@pytest.mark.parametrize("name", ODD)
def test_odd_files_come_out_as_by_pillow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fit in ("squash", "cover", "pad"):
        fates = both(ODD[name], monkeypatch, canvas_px=64, fit=fit)
        assert_one_level(fates, f"{name} {fit}")
        assert isinstance(fates[0], str) == (name in BROKEN)
    assert_one_level(both(ODD[name], monkeypatch, side_px=64, offset=0.3), f"{name} square")


@pytest.mark.parametrize("name", ODD)
def test_which_files_are_left_to_pillow(name: str) -> None:
    taken: list[bool] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        pixels = jpeg.read_jpeg(*arguments, **options)
        taken.append(pixels is not None)
        return pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_module, "read_jpeg", spy)
        fate(lambda: decode_image(ODD[name], canvas_px=64, fit="squash", max_pixels=10**8))
    assert any(taken) == (name not in LEFT_TO_PILLOW)


def test_decoded_pixels_are_pillows_own() -> None:
    for name in ODD.keys() - LEFT_TO_PILLOW:
        picture = Image.open(io.BytesIO(ODD[name]))
        full = picture.size
        picture.draft(picture.mode, (128, 128))
        pixels = jpeg.read_jpeg(ODD[name], size=full, reduced=picture.size)
        np.testing.assert_array_equal(pixels, np.asarray(picture.convert("RGB")), name)


def test_a_header_that_lies_about_the_size_fills_no_memory() -> None:
    assert jpeg.read_jpeg(ODD["drafted by 8"], size=(8, 8), reduced=(8, 8)) is None
    assert jpeg.read_jpeg(PICTURE, size=(200, 200), reduced=(200, 200)) is None
    assert jpeg.read_jpeg(PICTURE, size=(150, 90), reduced=(150, 90)) is not None


@given(
    seed=st.integers(0, 2**32 - 1),
    what=st.sampled_from(["cut", "cut end", "flip", "zero", "drop"]),
    progressive=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_damage_has_the_fate_that_pillow_gives_it(seed: int, what: str, progressive: bool) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(encoded(photograph(60, 50), progressive=progressive))
    place = int(rng.integers(len(data)))
    if what == "cut":
        del data[place:]
    elif what == "cut end":
        del data[-int(rng.integers(1, 64)) :]
    elif what == "flip":
        data[place] ^= 1 << int(rng.integers(8))
    elif what == "zero":
        data[place : place + 20] = bytes(len(data[place : place + 20]))
    else:
        del data[place : place + int(rng.integers(1, 30))]
    with pytest.MonkeyPatch.context() as patch:
        assert_one_level(both(bytes(data), patch, canvas_px=32, fit="cover"), what)


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    out=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    cut=st.tuples(*[st.floats(0, 0.4)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_any_box_is_resized_as_by_pillow(
    width: int, height: int, out: tuple[int, int], cut: tuple[float, float, float, float], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    box = (cut[0] * width, cut[1] * height, width - cut[2] * width, height - cut[3] * height)
    expected = np.asarray(Image.fromarray(pixels).resize(out, Image.Resampling.BILINEAR, box=box))
    assert np.abs(jpeg.resize(pixels, out, box).astype(int) - expected).max() <= 1


def test_without_simplejpeg_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert jpeg.read_jpeg(PICTURE, size=(150, 90), reduced=(150, 90)) is None
    assert decode_image(PICTURE, canvas_px=64, fit="squash", max_pixels=10**8).shape == (3, 64, 64)


def test_the_decoder_says_its_name() -> None:
    words = jpeg.DECODER.split()
    assert words[::2] == ["simplejpeg", "cykooz_resizer", "pillow"]
    assert all(word[0].isdigit() for word in words[1::2])
