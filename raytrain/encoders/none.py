"""No network of its own: a stem's maps are the representation."""

from torch import Tensor

from raytrain.config.encoders import NoEncoderConfig
from raytrain.encoders.base import Encoder, EncoderLayer


class PassLayer(EncoderLayer):
    """Hands its input on."""

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps twice."""
        return maps, maps

    def smallest_input(self, size_px: int) -> int:
        """Return the side of the smallest input that leaves `size_px` pixels a side."""
        return size_px


def build_none(config: NoEncoderConfig, *, in_channels: int) -> Encoder:
    """Return no network: one layer that hands on a stem's maps, for stems that need nothing behind them."""
    return Encoder([PassLayer()], channels=(in_channels,))
