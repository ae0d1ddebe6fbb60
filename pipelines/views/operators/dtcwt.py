"""Dual-tree complex wavelets: how strongly the image varies along six directions, level by level."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.views.operators.base import Operator
from pipelines.views.operators.identity import unit_interval
from raytrain.config.operators import DtcwtConfig
from raytrain.errors import ConfigError

PUBLISHED_LEVELS = 3
PUBLISHED_SIZE_PX = 256

Bands = tuple[Tensor, Tensor]
"""real and imaginary part, each f[B, C, 6, h, w]"""


class Dtcwt(Operator):
    """Low-pass, if asked for, then each level's 18 magnitudes sqrt(re^2 + im^2), upsampled bilinearly.

    Channel order in a level: 6 x colour + orientation (15, 45, 75, 105, 135, 165 degrees). The image is taken
    in 0..1 and the low-pass divided by its gain 2^(levels - 1), so that a constant image keeps its value;
    ringing leaves 0..1 a little, `value_range` holds the true bounds. Sides that 2^levels does not divide are
    padded with their last pixel, and the maps cropped again.

    The filters are applied as dense matrices, made once for a size: for the small images of an encoder that
    is faster than the library's grouped convolutions, with the same result.

    Source: Kingsbury 2001; filters from pytorch_wavelets. `compat = "paper2023"` is the published code of
    arXiv 2401.08603: only the low-pass of three levels, gain left in, of the image resized to 256 px: f32[B,
    3, 64, 64].
    """

    def __init__(self, config: DtcwtConfig) -> None:
        super().__init__(config)
        self.published = config.compat == "paper2023"
        self.num_levels = PUBLISHED_LEVELS if self.published else config.num_levels
        self.channels = 3 if self.published else 3 * config.lowpass + 18 * config.num_levels
        self.filters = load_filters(config.biort, config.qshift)
        self.value_range = self._bounds()
        self._sides: dict[tuple[int, torch.device], Side] = {}

    def transform(self, images: Tensor) -> Tensor:
        """Return the stacked maps f32[B, channels, H, W]; f32[B, 3, 64, 64] in the published variant."""
        height, width = images.shape[2:]
        pixels = unit_interval(images)
        if self.published:
            rows, columns = self._side(height, pixels), self._side(width, pixels)
            return _both_sides(rows.levels[0], pixels, columns.levels[0])
        multiple = 2**self.num_levels
        if height % multiple or width % multiple:
            pixels = functional.pad(pixels, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        rows, columns = self._side(pixels.shape[2], pixels), self._side(pixels.shape[3], pixels)
        low, bands = pyramid(pixels, rows.levels, columns.levels)
        maps = [low.div_(2 ** (self.num_levels - 1))] if self.config.lowpass else []
        maps += [real.square_().add_(imaginary.square_()).sqrt_().flatten(1, 2) for real, imaginary in bands]
        stacked = torch.cat([_upsample(level, rows, columns) for level in maps], dim=1)
        return stacked[:, :, :height, :width].contiguous()

    def _side(self, size: int, like: Tensor) -> "Side":
        key = (size, like.device)
        if key not in self._sides:
            if self.published:
                levels = [published_matrix(self.filters, size)]
            else:
                levels = self.filters.matrices(size, self.num_levels)
            shorter = {size >> level for level in range(1, self.num_levels + 1)}
            upsample = {short: _resizing(short, size).to(like) for short in shorter if short}
            self._sides[key] = Side(levels=[level.to(like) for level in levels], upsample=upsample)
        return self._sides[key]

    def _bounds(self) -> tuple[float, float]:
        """Return the least and greatest output for pixels in 0..1, from the filters' sums and absolute sums.

        A filter with sum g and absolute sum s stays within (g - s)/2 .. (g + s)/2; both magnitudes of a band
        with sum 0 stay below s. Mirrored borders can only lower the absolute sums.
        """
        composed = torch.eye(2**self.num_levels * 32, dtype=torch.float64)
        highest = []
        for level in self.filters.matrices(len(composed), self.num_levels):
            low, high = (level @ composed).chunk(2)
            low_sum, high_sum = _absolute_sum(low), _absolute_sum(high)
            highest.append(max(low_sum, high_sum) * high_sum)
            composed = low
        gain, swing = 2.0 ** (self.num_levels - 1), _absolute_sum(composed) ** 2
        low_range = ((gain - swing) / 2, (gain + swing) / 2)
        if self.published:
            return low_range
        if not self.config.lowpass:
            return (0.0, max(highest))
        return (low_range[0] / gain, max(low_range[1] / gain, *highest))


@dataclass(frozen=True, kw_only=True)
class Side:
    """Everything linear that happens along a side of one length, as f32 matrices on one device."""

    levels: list[Tensor]
    """for each level f[low + high outputs, inputs]"""
    upsample: dict[int, Tensor]
    """by length: f[side, length], linear interpolation"""


@dataclass(frozen=True, kw_only=True)
class WaveletFilters:
    """The taps of the first level and of the two trees below it, f64[1, 1, taps, 1]."""

    first_low: Tensor
    first_high: Tensor
    low_a: Tensor
    low_b: Tensor
    high_a: Tensor
    high_b: Tensor

    def matrices(self, size: int, num_levels: int) -> list[Tensor]:
        """Return each level's filters along a side of `size` px, f64[low + high outputs, inputs].

        `size` is a multiple of 2^num_levels. A column of the matrix is what the library makes of a unit
        impulse.
        """
        lowlevel = _library()[1]
        impulses = _impulses(size)
        low = lowlevel.colfilter(impulses, self.first_low)
        high = lowlevel.colfilter(impulses, self.first_high)
        levels = [torch.cat((low, high), dim=2)[0, 0]]
        for level in range(1, num_levels):
            impulses = _impulses(size >> (level - 1))
            low = lowlevel.coldfilt(impulses, self.low_b, self.low_a, False)
            high = lowlevel.coldfilt(impulses, self.high_b, self.high_a, True)
            levels.append(torch.cat((low, high), dim=2)[0, 0])
        return levels


def load_filters(biort: str, qshift: str) -> WaveletFilters:
    """Return the named filters.

    Raises: ConfigError where pytorch_wavelets cannot be imported.
    """
    coeffs = _library()[0]
    first_low, _, first_high, _ = coeffs.biort(biort)
    low_a, low_b, _, _, high_a, high_b, _, _ = coeffs.qshift(qshift)
    return WaveletFilters(
        first_low=_taps(first_low),
        first_high=_taps(first_high),
        low_a=_taps(low_a),
        low_b=_taps(low_b),
        high_a=_taps(high_a),
        high_b=_taps(high_b),
    )


def pyramid(pixels: Tensor, rows: list[Tensor], columns: list[Tensor]) -> tuple[Tensor, list[Bands]]:
    """Return the low-pass f[B, C, h, w] of f[B, C, H, W] and each level's six complex bands.

    `rows` and `columns` are the level matrices of the two sides. Band j is f[B, C, 6, H/2^j, W/2^j]; the
    low-pass has 1/2^(levels - 1) of the size and 2^(levels - 1) times the values.
    """
    low, bands = pixels, []
    for row, column in zip(rows, columns, strict=True):
        filtered = _both_sides(row, low, column)
        bands.append(_oriented(filtered))
        low = _quarters(filtered)[0]
    return low, bands


def published_matrix(filters: WaveletFilters, size: int) -> Tensor:
    """Return resizing to 256 px and three low-passes along one side as one matrix f64[64, size]."""
    matrix = _resizing(size, PUBLISHED_SIZE_PX)
    for level in filters.matrices(PUBLISHED_SIZE_PX, PUBLISHED_LEVELS):
        matrix = level.chunk(2)[0] @ matrix
    return matrix


def _oriented(filtered: Tensor) -> Bands:
    """Turn the quarters low-high, high-low and high-high into six complex bands of half their size."""
    _, column_high, row_high, both_high = _quarters(filtered)
    (re_15, im_15), (re_165, im_165) = _complex_pair(row_high)
    (re_45, im_45), (re_135, im_135) = _complex_pair(both_high)
    (re_75, im_75), (re_105, im_105) = _complex_pair(column_high)
    real = torch.stack((re_15, re_45, re_75, re_105, re_135, re_165), dim=2)
    imaginary = torch.stack((im_15, im_45, im_75, im_105, im_135, im_165), dim=2)
    return real, imaginary


def _quarters(filtered: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the quarters: low, high along columns only, high along rows only, high along both."""
    upper, lower = filtered.chunk(2, dim=2)
    low, column_high = upper.chunk(2, dim=3)
    row_high, both_high = lower.chunk(2, dim=3)
    return low, column_high, row_high, both_high


def _complex_pair(quads: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Combine each 2x2 block a b / c d to ((a - d) + i(b + c)) / sqrt 2 and ((a + d) + i(b - c)) / sqrt 2."""
    quads = quads * math.sqrt(0.5)
    a, b = quads[:, :, 0::2, 0::2], quads[:, :, 0::2, 1::2]
    c, d = quads[:, :, 1::2, 0::2], quads[:, :, 1::2, 1::2]
    return (a - d, b + c), (a + d, b - c)


def _upsample(maps: Tensor, rows: Side, columns: Side) -> Tensor:
    """Interpolate maps to the full size; those that have it already pass."""
    height, width = maps.shape[2:]
    if height in rows.upsample:
        maps = _both_sides(rows.upsample[height], maps, columns.upsample[width])
    return maps


def _both_sides(row: Tensor, maps: Tensor, column: Tensor) -> Tensor:
    """Return row @ map @ column^T for each map of f[B, C, H, W].

    One product a map, never one of all maps folded together: the blocking of that would depend on the
    batch, and a sample's values with it.
    """
    flat = maps.flatten(0, 1)
    count = flat.shape[0]  # not len(flat): a traced graph would fix it
    flat = torch.bmm(flat, column.T.expand(count, *column.T.shape))
    flat = torch.bmm(row.expand(count, *row.shape), flat)
    return flat.view(*maps.shape[:2], *flat.shape[1:])


def _resizing(size: int, target: int) -> Tensor:
    """Return bilinear resizing along one side, f64[target, size]; smoothed first where it shrinks."""
    impulses = _impulses(size)
    return functional.interpolate(impulses, size=(target, size), mode="bilinear", antialias=True)[0, 0]


def _absolute_sum(matrix: Tensor) -> float:
    return float(matrix.abs().sum(dim=1).max())


def _impulses(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)[None, None]


def _taps(values: Any) -> Tensor:
    """Return a filter's taps, reversed for a convolution that correlates."""
    return torch.as_tensor(values, dtype=torch.float64).flatten().flip(0)[None, None, :, None]


def _library() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports pkg_resources; users cannot help that
            from pytorch_wavelets.dtcwt import coeffs, lowlevel
    except ImportError as error:
        raise ConfigError(
            f"operator dtcwt needs pytorch_wavelets, which cannot be imported ({error}); "
            "pip install 'pytorch_wavelets==1.3.0' 'setuptools<81', or choose another operator"
        ) from error
    return coeffs, lowlevel
