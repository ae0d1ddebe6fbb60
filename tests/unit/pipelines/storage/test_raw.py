import numpy as np
import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.storage.raw import RawLayout, decode_raw, is_raw, parse_raw

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)


@pytest.mark.parametrize("axes", ["chw", "cwh", "hwc", "whc"])
def test_every_axis_order_gives_the_same_image(axes: str) -> None:
    order = ["chw".index(axis) for axis in axes]
    stored = IMAGE.transpose(order)
    layout = RawLayout(axes, stored.shape)
    assert (layout.width, layout.height, layout.num_bytes) == (5, 4, 60)
    decoded = decode_raw(stored.tobytes(), parse_raw(str(layout)))
    assert np.array_equal(decoded, IMAGE)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous


def test_column_major_is_the_transpose_of_row_major() -> None:
    data = bytes(range(12))
    rows = decode_raw(data, RawLayout("chw", (1, 3, 4)))
    columns = decode_raw(data, RawLayout("cwh", (1, 4, 3)))
    assert rows[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert columns[0].tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_one_channel_becomes_three() -> None:
    decoded = decode_raw(bytes(range(6)), RawLayout("chw", (1, 2, 3)))
    assert decoded.shape == (3, 2, 3)
    assert np.array_equal(decoded[0], decoded[2])


def test_text_form() -> None:
    assert str(RawLayout("cwh", (3, 96, 96))) == "u8:cwh:3x96x96"
    assert parse_raw("u8:cwh:3x96x96") == RawLayout("cwh", (3, 96, 96))
    assert is_raw("u8:chw:3x32x32")
    assert not is_raw("uint8")
    assert not is_raw("encoded")


@pytest.mark.parametrize("text", ["u8:chh:3x4x5", "u8:chw:3x4", "u8:chw:3x4xx", "i8:chw:3x4x5"])
def test_unknown_layouts_are_bad(text: str) -> None:
    with pytest.raises(BadSample, match=r"^unknown payload .*; expected e\.g\. u8:chw:3x32x32$"):
        parse_raw(text)


@pytest.mark.parametrize("text", ["u8:chw:2x4x5", "u8:hwc:3x4x5", "u8:chw:3x0x5"])
def test_no_image_is_bad(text: str) -> None:
    with pytest.raises(BadSample, match=r"an image has 1 or 3 channels and at least one pixel$"):
        parse_raw(text)


def test_another_number_of_bytes_is_bad() -> None:
    with pytest.raises(BadSample, match=r"^size: 59 bytes, but u8:chw:3x4x5 needs 60$"):
        decode_raw(bytes(59), RawLayout("chw", (3, 4, 5)))
