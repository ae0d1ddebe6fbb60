"""Intensity-free colour: which share of a pixel's light is red, and which is green."""

import torch
from torch import Tensor

from pipelines.views.operators.base import Operator
from pipelines.views.operators.identity import unit_interval
from raytrain.config.operators import RgConfig

WINDOW = 0.05
"""half width of the search for the grey peak around 1/3, in units of r and g"""
NUM_BINS = 100


class Rg(Operator):
    """r = R/(R+G+B) and g = G/(R+G+B), 2 channels in 0..1; a black pixel gives 1/3.

    Source: the decomposed-encoder paper (arXiv 2401.08603). Its published code first moves the image's grey
    peak to 1/3 and rounds the result to bytes, although it is fed with 0..1 floats: nearly every pixel then
    becomes (1/3, 1/3). `compat = "paper2023"` does the same.
    """

    def __init__(self, config: RgConfig) -> None:
        super().__init__(config)
        self.channels = 2
        self.value_range = (0.0, 1.0)

    def transform(self, images: Tensor) -> Tensor:
        """Return r and g, f32[B, 2, H, W]."""
        if self.config.compat == "paper2023":
            corrected = correct_colour(unit_interval(images, dtype=torch.float64))
            return chromaticity(corrected, dtype=torch.float64).float()
        return chromaticity(images)


def chromaticity(rgb: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return (R, G) / (R + G + B) of bytes or floats [B, 3, H, W] as dtype[B, 2, H, W]; black gives 1/3."""
    rgb = rgb.to(dtype, memory_format=torch.contiguous_format)
    total = rgb[:, 0] + rgb[:, 1] + rgb[:, 2]
    shares = rgb[:, :2] / total[:, None]
    return shares.masked_fill_((total == 0)[:, None], 1 / 3)


def correct_colour(rgb: Tensor) -> Tensor:
    """Return f64[B, 3, H, W] with the grey peaks of r and g scaled to 1/3, cut to bytes u8[B, 3, H, W].

    Values above 255 become 255; a negative blue wraps round (-1 -> 255), as the C cast of the published code
    does.
    """
    shares = chromaticity(rgb, dtype=rgb.dtype)
    scaled = shares / 3 / (grey_peak(shares) + 1e-8)[:, :, None, None]
    blue = 1 - (scaled[:, 0] + scaled[:, 1])
    corrected = torch.cat((scaled, blue[:, None]), dim=1) * rgb.sum(dim=1, keepdim=True)
    return corrected.clamp_(max=255).to(torch.int32).bitwise_and_(255).to(torch.uint8)


def grey_peak(shares: Tensor) -> Tensor:
    """Return the left edge f64[B, 2] of the fullest histogram bin within 1/3 +- .05 of f64[B, 2, H, W].

    The histogram has 100 bins between the least and the greatest value of its image and channel. Without any
    edge inside the window the first edge beyond it is taken; without any edge above the window, all bins up
    to the last.
    """
    values = shares.flatten(2).sort(dim=2).values.contiguous()
    low, high = values[:, :, :1], values[:, :, -1:]
    constant = low == high
    low, high = torch.where(constant, low - 0.5, low), torch.where(constant, high + 0.5, high)
    steps = torch.arange(NUM_BINS + 1, dtype=values.dtype, device=values.device)
    edges = (steps * ((high - low) / NUM_BINS) + low).contiguous()
    edges[:, :, -1:] = high
    below = torch.searchsorted(values, edges)
    below[:, :, -1] = values.shape[2]  # the last bin includes its right edge
    counts = below.diff(dim=2)

    first = _first_edge_above(edges, 1 / 3 - WINDOW, otherwise=0)
    last = _first_edge_above(edges, 1 / 3 + WINDOW, otherwise=NUM_BINS)
    bins = torch.arange(NUM_BINS, device=values.device)
    counts = counts.masked_fill((bins < first) | (bins >= last), -1)
    fullest = torch.where(first == last, first, counts.argmax(dim=2, keepdim=True))
    return edges.gather(2, fullest).squeeze(2)


def _first_edge_above(edges: Tensor, bound: float, *, otherwise: int) -> Tensor:
    above = edges > bound
    return torch.where(above.any(dim=2, keepdim=True), above.int().argmax(dim=2, keepdim=True), otherwise)
