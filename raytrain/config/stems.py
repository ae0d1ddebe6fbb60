"""Settings of the stems: trainable front ends that turn events into maps for an encoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from raytrain.config.checks import at_least, positive
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NoStemConfig:
    """The encoder reads the operator's maps."""

    name: Literal["none"] = "none"
    purpose: ClassVar[str] = (
        "No stem: a fixed operator makes the maps; the default, and all that images and clips need"
    )


@dataclass(frozen=True, kw_only=True)
class MatrixLstmConfig:
    """Matrix-LSTM: one LSTM shared by all receptive fields, fed their events in order of arrival."""

    name: Literal["matrix_lstm"] = "matrix_lstm"
    purpose: ClassVar[str] = (
        "A small LSTM reads each pixel's events in order; the stem to try first, keeps fine timing"
    )
    hidden: int = 16
    """C: hidden units; the maps have C x bins channels"""
    field_px: int = 1
    """K: side of a receptive field"""
    stride_px: int = 1
    """of the receptive fields; smaller than K: they overlap and share events"""
    bins: int = 1
    """equal spans of time, each with a fresh state and channels of its own"""
    time: Literal["delay_norm", "delay", "ts", "ts_max"] = "delay_norm"
    """delay_norm: since the field's event before, over the field's longest; delay: in ms; ts: stamp from 0 to
    1 over the bin; ts_max: stamp over the bin's largest"""
    abs_ts: bool = False
    """one more feature: the stamp from 0 to 1 over the recording"""
    max_events: int = 512
    """bound of the events of a receptive field (and bin); 0: none"""
    keep: Literal["spread", "recent"] = "spread"
    """what the bound keeps: events evenly from the whole span, or the newest"""
    squeeze: bool = False
    """weigh the channels of all bins by what they hold together (squeeze and excitation); needs bins > 1"""

    def __post_init__(self) -> None:
        for setting in ("hidden", "field_px", "stride_px", "bins"):
            at_least(f"stem.{setting}", getattr(self, setting), 1)
        if self.max_events != 0:
            at_least("stem.max_events", self.max_events, 2)
        if self.stride_px > self.field_px:
            raise ConfigError(
                f"stem.stride_px is {self.stride_px} and stem.field_px {self.field_px}: pixels between the "
                "fields would be lost; use a stride of at most the field's side"
            )
        if self.squeeze and self.bins == 1:
            raise ConfigError("stem.squeeze weighs the bins against each other; set stem.bins to 2 or more")

    @property
    def channels(self) -> int:
        """Channels of the maps, bins first."""
        return self.hidden * self.bins


@dataclass(frozen=True, kw_only=True)
class LearntEstConfig:
    """Event spike tensor: stamps spread over bins of time by a kernel that a small network learns."""

    name: Literal["est"] = "est"
    purpose: ClassVar[str] = "Learns how a stamp spreads over bins of time; few weights, for few recordings"
    bins: int = 9
    """B: bins of time of each polarity; the maps have 2 x B channels"""
    units: int = 30
    """of each of the two hidden layers of the kernel's network"""
    table_points: int = 2048
    """about how finely the kernel is tabulated over [-1, 1]; 0: ask the network for every event and bin"""

    def __post_init__(self) -> None:
        at_least("stem.bins", self.bins, 2)
        positive("stem.units", self.units)
        if self.table_points != 0:
            at_least("stem.table_points", self.table_points, 2 * self.bins)

    @property
    def channels(self) -> int:
        """Channels of the maps: darker bins, then brighter ones."""
        return 2 * self.bins


@dataclass(frozen=True, kw_only=True)
class PhasedLstmConfig:
    """Phased LSTM over the sequence of events of a whole recording: a baseline that knows no map."""

    name: Literal["phased_lstm"] = "phased_lstm"
    purpose: ClassVar[str] = (
        "Reads a recording as one sequence, without a map; a baseline to compare with, not to win"
    )
    channels: int = 64
    """hidden units"""
    embedding: int = 32
    """what place and polarity of an event are embedded into"""
    max_events: int = 256
    """evenly taken from each recording"""
    shortest_us: float = 1e3
    """of the periods, which are drawn log-uniformly"""
    longest_us: float = 1e6
    open_share: float = 0.05
    """of its period that a unit's time gate is open for"""
    leak: float = 1e-3
    """of the closed gate, while training"""

    def __post_init__(self) -> None:
        for setting in ("channels", "embedding", "max_events"):
            at_least(f"stem.{setting}", getattr(self, setting), 1)
        positive("stem.shortest_us", self.shortest_us)
        at_least("stem.longest_us", self.longest_us, self.shortest_us)
        if not 0 < self.open_share <= 1:
            raise ConfigError(f"stem.open_share is {self.open_share}; it must be above 0 and at most 1")
        at_least("stem.leak", self.leak, 0)


TrainedStemConfig = MatrixLstmConfig | LearntEstConfig | PhasedLstmConfig
StemConfig = NoStemConfig | TrainedStemConfig
