"""Settings of the fixed operators that stand before an encoder."""

from dataclasses import dataclass
from typing import Literal

from raytrain.config.checks import at_least, positive
from raytrain.errors import ConfigError

Compat = Literal["paper", "paper2023"]


@dataclass(frozen=True, kw_only=True)
class IdentityConfig:
    """The image itself, 3 channels in 0..1."""

    name: Literal["identity"] = "identity"


@dataclass(frozen=True, kw_only=True)
class LbpConfig:
    """Rotation-invariant local binary pattern, 1 channel in 0..1."""

    name: Literal["lbp"] = "lbp"
    num_points: int = 8
    """neighbours on the circle"""
    radius_px: int = 1
    interpolation: Literal["none", "bilinear"] = "none"
    """none: the nearest pixels (P=8, R=1 by a table of 256); bilinear: scikit-image's convention"""
    compat: Compat = "paper"
    """paper2023: the published code (P=24, R=3, nearest pixels, no minimum rotation)"""

    def __post_init__(self) -> None:
        positive("operator.radius_px", self.radius_px)
        if not 4 <= self.num_points <= 24:
            raise ConfigError(f"operator.num_points is {self.num_points}; it must lie in 4..24")


@dataclass(frozen=True, kw_only=True)
class RgConfig:
    """Intensity-free colour r = R/(R+G+B), g = G/(R+G+B), 2 channels in 0..1; black gives 1/3."""

    name: Literal["rg"] = "rg"
    compat: Compat = "paper"
    """paper2023: colour correction with the uint8 round trip of the published code (almost constant)"""


@dataclass(frozen=True, kw_only=True)
class DtcwtConfig:
    """Dual-tree complex wavelets: magnitudes of the six orientations of each level, and the low-pass."""

    name: Literal["dtcwt"] = "dtcwt"
    num_levels: int = 1
    lowpass: bool = True
    """stack the low-pass (3 channels) below the magnitudes (18 channels a level)"""
    biort: Literal["near_sym_a", "near_sym_b"] = "near_sym_b"
    qshift: Literal["qshift_a", "qshift_b"] = "qshift_b"
    compat: Compat = "paper"
    """paper2023: only the low-pass of three levels of the image resized to 256 px"""

    def __post_init__(self) -> None:
        at_least("operator.num_levels", self.num_levels, 1)


OperatorConfig = IdentityConfig | LbpConfig | RgConfig | DtcwtConfig
