"""Rotation-invariant local binary patterns: which neighbours are at least as bright as the pixel."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.views.operators.base import Operator
from raytrain.config.operators import LbpConfig

MAX_TABLE_POINTS = 16
"""up to here the minimum rotation of every code is tabulated (65,536 floats)"""

Offset = tuple[float, float]


class Lbp(Operator):
    """The least rotation of each pixel's pattern, 1 channel: code / (2^P - 1), in 0..1.

    Neighbour p of P stands at row -R sin(2 pi p / P), column R cos(2 pi p / P); its bit is set where it is at
    least as bright as the centre; outside the image there is 0. Grey is ITU-R 601, rounded to bytes.

    Source: Ojala, Pietikainen, Maenpaa 2002 in scikit-image's convention (method "ror"). With interpolation
    "none" we differ: the nearest pixels stand for the points of the circle. `compat = "paper2023"` is the
    published code of arXiv 2401.08603: 24 points, radius 3, nearest pixels, no rotation, / (2^25 - 1), so
    values end at .5.
    """

    def __init__(self, config: LbpConfig) -> None:
        super().__init__(config)
        self.channels = 1
        self.published = config.compat == "paper2023"
        if self.published:
            self.num_points, self.radius_px, self.interpolate = 24, 3, False
            self.divisor = 2 ** (self.num_points + 1) - 1
            self.offsets = published_offsets(self.num_points, self.radius_px)
        else:
            self.num_points, self.radius_px = config.num_points, config.radius_px
            self.interpolate = config.interpolation == "bilinear"
            self.divisor = 2**self.num_points - 1
            self.offsets = circle_offsets(self.num_points, self.radius_px)
        self.value_range = (0.0, (2**self.num_points - 1) / self.divisor)
        self.table: Tensor | None
        table = None
        if self.num_points <= MAX_TABLE_POINTS:
            codes = torch.arange(2**self.num_points, dtype=torch.int32)
            table = minimum_rotation(codes, self.num_points).float() / self.divisor
        self.register_buffer("table", table, persistent=False)

    def transform(self, images: Tensor) -> Tensor:
        """Return the scaled patterns, f32[B, 1, H, W]."""
        grey = grey_601(images)
        if self.interpolate:
            codes = bilinear_codes(grey, self.offsets)
        else:
            codes = nearest_codes(grey, self.offsets)
        if self.table is not None:
            return self.table.index_select(0, codes.int().view(-1)).view(codes.shape).unsqueeze(1)
        if not self.published:
            codes = minimum_rotation(codes, self.num_points)
        return codes.float().div_(self.divisor).unsqueeze(1)


def grey_601(images: Tensor) -> Tensor:
    """Return the grey u8[B, H, W] of u8[B, 3, H, W]: floor((19595 R + 38470 G + 7471 B + 2^15) / 2^16).

    The same as Pillow's mode "L". Written in 16 bits, half the memory traffic of 32: the weights are split
    into high and low bytes, both sums stay below 2^16, and the low one is shifted down before they meet.
    """
    if torch.compiler.is_exporting():  # ONNX Runtime does not shift 16-bit numbers
        red, green, blue = images.to(torch.int32).unbind(1)
        total = red * 19595 + green * 38470 + blue * 7471 + 2**15
        return torch.div(total, 2**16, rounding_mode="trunc").to(torch.uint8)
    red, green, blue = images.to(torch.int16).unbind(1)
    low = (red * 139).add_(green, alpha=70).add_(blue, alpha=47)
    low = low.bitwise_right_shift_(8).bitwise_and_(255)  # arithmetic shift: drop the copies of the sign
    high = (red * 76).add_(green, alpha=150).add_(blue, alpha=29).add_(low).add_(128)
    return high.bitwise_right_shift_(8).to(torch.uint8)  # the cast keeps the low byte


def circle_offsets(num_points: int, radius_px: int) -> list[Offset]:
    """Return each neighbour's (row, column) in px, east first, counter-clockwise, to five decimals."""
    angles = [2 * math.pi * point / num_points for point in range(num_points)]
    return [
        (round(-radius_px * math.sin(angle), 5), round(radius_px * math.cos(angle), 5)) for angle in angles
    ]


def published_offsets(num_points: int, radius_px: int) -> list[Offset]:
    """Return the whole-pixel offsets of the published code, south first; halves fall as floats happen to."""
    step = 2 * math.pi / num_points
    return [
        (round(radius_px * math.cos(step * point)), round(radius_px * math.sin(step * point)))
        for point in range(num_points)
    ]


def nearest_codes(grey: Tensor, offsets: list[Offset]) -> Tensor:
    """Return the patterns [B, H, W] of u8[B, H, W]: bit p: the pixel nearest to offset p is >= the centre.

    uint8 for up to eight neighbours, else int32. Halves round away from the centre, so that the set of pixels
    keeps the symmetry of the circle.

    All images lie in one line, each row and each image followed by zeros: a neighbour is then the same line
    shifted, and every pass runs over contiguous bytes.
    """
    weights: dict[tuple[int, int], int] = {}
    for point, (row, column) in enumerate(offsets):
        place = (_nearest(row), _nearest(column))
        weights[place] = weights.get(place, 0) + 2**point
    reach = max(max(abs(row), abs(column)) for row, column in weights)
    num_images, height, width = grey.shape
    stride = width + reach
    margin = reach * stride + reach
    length = num_images * (height + reach) * stride

    line = grey.new_zeros(length + 2 * margin)
    pixels = line[margin : margin + length]
    pixels.view(num_images, height + reach, stride)[:, :height, :width] = grey
    # In a traced graph always int32: ONNX Runtime does not add bytes.
    narrow = len(offsets) <= 8 and not torch.compiler.is_exporting()
    codes = line.new_zeros(length, dtype=torch.uint8 if narrow else torch.int32)
    for (row, column), weight in weights.items():
        start = margin + row * stride + column
        bits = torch.ge(line[start : start + length], pixels)
        codes.add_(bits.view(torch.uint8) if narrow else bits.int(), alpha=weight)
    return codes.view(num_images, height + reach, stride)[:, :height, :width].contiguous()


def bilinear_codes(grey: Tensor, offsets: list[Offset]) -> Tensor:
    """Return the patterns i32[B, H, W] of u8[B, H, W], neighbours interpolated in float64.

    Source: scikit-image `local_binary_pattern`, the same sums in the same order, so that ties fall alike.
    """
    reach = math.ceil(max(max(abs(row), abs(column)) for row, column in offsets)) + 1
    height, width = grey.shape[1:]
    image = functional.pad(grey.double(), (reach, reach, reach, reach))
    centre = image[:, reach : reach + height, reach : reach + width]
    codes = torch.zeros(grey.shape, dtype=torch.int32, device=grey.device)
    for point, (row, column) in enumerate(offsets):
        top, left = math.floor(row) + reach, math.floor(column) + reach
        rows = image[:, top : top + height + 1]
        value = _blend(
            rows[:, :, left : left + width], rows[:, :, left + 1 : left + 1 + width], column, dim=2
        )
        value = _blend(value[:, :-1], value[:, 1:], row, dim=1)
        codes.add_((value >= centre).int(), alpha=2**point)
    return codes


def minimum_rotation(codes: Tensor, num_bits: int) -> Tensor:
    """Return the least of all circular rotations of i32 codes of `num_bits` bits."""
    least, turned = codes.clone(), codes.clone()
    for _ in range(num_bits - 1):
        turned = (turned & 1).bitwise_left_shift_(num_bits - 1).bitwise_or_(turned >> 1)
        torch.minimum(least, turned, out=least)
    return least


def _nearest(offset: float) -> int:
    return int(math.copysign(math.floor(abs(offset) + 0.5), offset))


def _blend(below: Tensor, above: Tensor, offset: float, *, dim: int) -> Tensor:
    """Return the values between neighbours along `dim`, at the pixels' own positions + offset.

    The share of the upper neighbour is taken from the position, rounding error and all: ties depend on it.
    """
    if offset == math.floor(offset):
        return below
    positions = torch.arange(below.shape[dim], dtype=torch.float64, device=below.device) + offset
    share = (positions - positions.floor()).view([-1 if axis == dim else 1 for axis in range(below.ndim)])
    return (1 - share) * below + share * above
