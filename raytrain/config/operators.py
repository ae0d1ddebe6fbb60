"""Settings of the fixed operators that stand before an encoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from raytrain.config.checks import at_least, positive
from raytrain.errors import ConfigError

Compat = Literal["paper", "paper2023"]


@dataclass(frozen=True, kw_only=True)
class IdentityConfig:
    """The image itself, 3 channels in 0..1."""

    name: Literal["identity"] = "identity"
    purpose: ClassVar[str] = (
        "Images, clips: pixels as they are; train it too, the other operators are judged against it"
    )


@dataclass(frozen=True, kw_only=True)
class LbpConfig:
    """Rotation-invariant local binary pattern, 1 channel in 0..1."""

    name: Literal["lbp"] = "lbp"
    purpose: ClassVar[str] = "Images, clips: texture alone; where the light varies and colour does not matter"
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
    purpose: ClassVar[str] = (
        "Images, clips: colour without brightness; where colour tells the classes in any light"
    )
    compat: Compat = "paper"
    """paper2023: colour correction with the uint8 round trip of the published code (almost constant)"""


@dataclass(frozen=True, kw_only=True)
class DtcwtConfig:
    """Dual-tree complex wavelets: magnitudes of the six orientations of each level, and the low-pass."""

    name: Literal["dtcwt"] = "dtcwt"
    purpose: ClassVar[str] = (
        "Images, clips: edges by size and direction; where form tells the classes; the slowest"
    )
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

Split = Literal["time", "events"]


@dataclass(frozen=True, kw_only=True)
class CountConfig:
    """Events of each polarity, pixel and bin: darker bins first, then brighter."""

    name: Literal["count"] = "count"
    purpose: ClassVar[str] = "Recordings: events of each pixel and span of time; the baseline, take it first"
    num_bins: int = 1
    split: Split = "time"
    """bins of equal spans of time, or of equally many events"""
    scale: Literal["none", "log", "maximum"] = "none"
    """log: log(1 + count); maximum: over the recording's largest count"""

    def __post_init__(self) -> None:
        at_least("operator.num_bins", self.num_bins, 1)


@dataclass(frozen=True, kw_only=True)
class LastTimestampConfig:
    """Newest stamp of each polarity and pixel, 0 (the first stamp, or no event) to 1 (the last stamp)."""

    name: Literal["last_timestamp"] = "last_timestamp"
    purpose: ClassVar[str] = "Recordings: when each pixel changed last; two channels, nothing to set"


@dataclass(frozen=True, kw_only=True)
class TimeSurfaceConfig:
    """exp(-age / tau) of the newest event of each polarity and pixel, at the ends of equal spans of time."""

    name: Literal["time_surface"] = "time_surface"
    purpose: ClassVar[str] = (
        "Recordings: newest events with a fading memory; where what just moved matters (tau_us)"
    )
    tau_us: float = 50_000.0
    num_bins: int = 1

    def __post_init__(self) -> None:
        positive("operator.tau_us", self.tau_us)
        at_least("operator.num_bins", self.num_bins, 1)


@dataclass(frozen=True, kw_only=True)
class HatsConfig:
    """Histograms of averaged time surfaces: what stood around a cell's events shortly before them."""

    name: Literal["hats"] = "hats"
    purpose: ClassVar[str] = (
        "Recordings: mean surroundings of the events of a cell; for noisy sensors, blurs fine detail"
    )
    cell_px: int = 10
    """side of a cell (K)"""
    radius_px: int = 3
    """the surface of an event has 2 radius + 1 pixels a side (R)"""
    tau_us: float = 1e9
    window_us: int = 100_000
    """how far back an event looks (dT)"""
    normalise: Literal["cell", "cell_polarity", "none"] = "cell"
    """divide by the cell's events of both polarities (the paper's text), or of the surface's own polarity"""
    layout: Literal["mosaic", "channels"] = "mosaic"
    """mosaic: 2 channels, a cell is a tile of 2 radius + 1 px a side; channels: a cell is one pixel"""

    def __post_init__(self) -> None:
        at_least("operator.cell_px", self.cell_px, 1)
        at_least("operator.radius_px", self.radius_px, 0)
        positive("operator.tau_us", self.tau_us)
        at_least("operator.window_us", self.window_us, 1)


@dataclass(frozen=True, kw_only=True)
class VoxelGridConfig:
    """Signed events shared linearly between the two nearest bins of time, without polarity channels."""

    name: Literal["voxel_grid"] = "voxel_grid"
    purpose: ClassVar[str] = (
        "Recordings: brighter minus darker events in bins of time; few channels, good for clapp"
    )
    num_bins: int = 5
    normalise: Literal["none", "nonzero"] = "none"
    """nonzero: a recording's voxels other than 0 get mean 0 and standard deviation 1"""

    def __post_init__(self) -> None:
        at_least("operator.num_bins", self.num_bins, 1)


@dataclass(frozen=True, kw_only=True)
class EstConfig:
    """Event spike tensor with the fixed trilinear kernel: darker bins first, then brighter."""

    name: Literal["est"] = "est"
    purpose: ClassVar[str] = (
        "Recordings: stamps summed in many bins, polarities apart; finer in time than voxel_grid"
    )
    num_bins: int = 9
    measure: Literal["time", "one"] = "time"
    """what an event carries: its stamp in 0..1, or 1"""

    def __post_init__(self) -> None:
        at_least("operator.num_bins", self.num_bins, 1)


@dataclass(frozen=True, kw_only=True)
class BinaryFramesConfig:
    """1 where a pixel had an event in a span, or several spans as the bits of one number (Bina-Rep)."""

    name: Literal["binary_frames"] = "binary_frames"
    purpose: ClassVar[str] = (
        "Recordings: whether a pixel fired at all in a span; where counts mislead (hot pixels)"
    )
    num_frames: int = 8
    """frames of each polarity"""
    num_bits: int = 1
    """spans packed into a frame, the newest as the highest bit, / (2^num_bits - 1)"""
    split: Split = "time"
    """equal spans of time, or of equally many events"""

    def __post_init__(self) -> None:
        at_least("operator.num_frames", self.num_frames, 1)
        if not 1 <= self.num_bits <= 24:
            raise ConfigError(f"operator.num_bits is {self.num_bits}; it must lie in 1..24")


@dataclass(frozen=True, kw_only=True)
class PlainEventsConfig:
    """The recording itself: what a stem reads."""

    name: Literal["events"] = "events"
    purpose: ClassVar[str] = "Recordings: handed on as they are; for a stem, which learns its own maps"


UNCHANGED = ("identity", "events")
"""operators that leave the sample as it is"""


def num_bins(maker: object) -> int:
    """Return how many bins of time an event operator or stem makes; 1 where it makes none."""
    names = ("num_bins", "num_frames", "bins")
    return next((int(getattr(maker, name)) for name in names if hasattr(maker, name)), 1)


EventOperatorConfig = (
    PlainEventsConfig
    | CountConfig
    | LastTimestampConfig
    | TimeSurfaceConfig
    | HatsConfig
    | VoxelGridConfig
    | EstConfig
    | BinaryFramesConfig
)
AnyOperatorConfig = OperatorConfig | EventOperatorConfig
