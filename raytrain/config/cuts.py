"""Settings of the cut: how the objective's input is taken from the operator's output."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from raytrain.config.checks import at_least, positive

ModalityName = Literal["image", "clip", "events"]


@dataclass(frozen=True, kw_only=True)
class PatchesConfig:
    """Overlapping square patches of an image; rows of patches are the sequence that is predicted."""

    modality: ClassVar[ModalityName] = "image"

    name: Literal["patches"] = "patches"
    purpose: ClassVar[str] = "Overlapping squares, predicted row after row; the default, for images"
    size_px: int = 16
    stride_px: int = 8
    normalize: Literal["none", "patch"] = "none"
    """patch: each patch and channel to zero mean and unit deviation"""

    def __post_init__(self) -> None:
        at_least("cut.size_px", self.size_px, 8)
        positive("cut.stride_px", self.stride_px)

    def num_steps(self, canvas_px: int) -> int:
        """Return the number of patches along one side of the canvas."""
        return max(0, (canvas_px - self.size_px) // self.stride_px + 1)


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """Which frames of a clip a pathway asks for."""

    modality: ClassVar[ModalityName] = "clip"

    num_frames: int = 16
    """T; a clip that is shorter repeats its last frame"""
    rate_hz: float = 10.0
    """frames a second, by the stream's time stamps; 0: every frame"""

    def __post_init__(self) -> None:
        at_least("cut.num_frames", self.num_frames, 1)
        at_least("cut.rate_hz", self.rate_hz, 0)

    def num_steps(self, canvas_px: int) -> int:
        """Return the length of the sequence that is predicted."""
        return self.num_frames


@dataclass(frozen=True, kw_only=True)
class FramesConfig(ClipSettings):
    """Whole frames, each seen by a 2-D encoder; time is the sequence that is predicted."""

    name: Literal["frames"] = "frames"
    purpose: ClassVar[str] = "Clips frame by frame before a 2-D encoder; where looks tell more than motion"


@dataclass(frozen=True, kw_only=True)
class VolumeConfig(ClipSettings):
    """The clip as one volume, seen by a 3-D encoder."""

    name: Literal["volume"] = "volume"
    purpose: ClassVar[str] = (
        "Clips as one block of space and time before movnet; where motion tells the classes"
    )


@dataclass(frozen=True, kw_only=True)
class MotionConfig(ClipSettings):
    """A volume whose motion is known: a window moving over one frame (egomotion), or a scene at a known pace.

    A coin keyed by the sample picks the kind. `num_frames` and `rate_hz` are what is represented.
    """

    name: Literal["motion"] = "motion"
    purpose: ClassVar[str] = (
        "Clips shown with a motion that is known; for objective motion, which learns to name it"
    )
    scene_view: Literal["window", "frame"] = "window"
    """what a scene-motion clip shows: a window at rest, of the egomotion's size and scale; or whole frames,
    as the published code does, whose scale gives the kind away in a single frame"""
    still: bool = False
    """control: one random frame of the clip, repeated; what is learnt then is not motion"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("cut.num_frames", self.num_frames, 2)


@dataclass(frozen=True, kw_only=True)
class BinsConfig:
    """The bins of time of an event surface, each seen whole by a 2-D encoder; time is the sequence."""

    modality: ClassVar[ModalityName] = "events"

    name: Literal["bins"] = "bins"
    purpose: ClassVar[str] = (
        "Recordings, a map for each bin of time, predicted in order; for clapp and infonce"
    )


@dataclass(frozen=True, kw_only=True)
class SurfaceConfig:
    """The whole event surface as one map, all bins of time as channels: no sequence to predict along."""

    modality: ClassVar[ModalityName] = "events"

    name: Literal["surface"] = "surface"
    purpose: ClassVar[str] = "Recordings as one map with all bins as channels; for objective supervised"


CutConfig = PatchesConfig | FramesConfig | VolumeConfig | MotionConfig | BinsConfig | SurfaceConfig
