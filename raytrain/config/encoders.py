"""Settings of the encoders."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from raytrain.config.checks import positive
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Vgg6Config:
    """The six-layer network of CLAPP: 128, 256 M, 256, 512 M, 1024 M, 1024 M."""

    name: Literal["vgg6"] = "vgg6"
    purpose: ClassVar[str] = (
        "Six 2-D layers; the default, and what the local rules (clapp, infonce) were made for"
    )
    width: float = 1.0
    """multiplier of all channel counts"""
    batch_norm: bool = False
    loss_at: Literal["after_pool", "before_pool"] = "after_pool"
    """where a layer's representation is taken: CLAPP after the pool, the decomposed encoders before it"""

    def __post_init__(self) -> None:
        positive("encoder.width", self.width)
        if any(count * self.width != int(count * self.width) for count in (128, 256, 512, 1024)):
            raise ConfigError(
                f"encoder.width is {self.width}; 128 channels times it must be whole, e.g. 0.0625 or 0.5"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel counts of the six layers."""
        return tuple(int(count * self.width) for count in (128, 256, 256, 512, 1024, 1024))


@dataclass(frozen=True, kw_only=True)
class MovnetConfig:
    """The five-layer 3-D network of CLAPP's video experiments: 96 M, 256 M, 512, 512, 512 M."""

    name: Literal["movnet"] = "movnet"
    purpose: ClassVar[str] = (
        "Five 3-D layers for whole clips (cuts volume, motion); where motion tells the classes"
    )
    width: float = 1.0
    """multiplier of all channel counts"""
    batch_norm: bool = True

    def __post_init__(self) -> None:
        positive("encoder.width", self.width)
        if 32 * self.width != int(32 * self.width):
            raise ConfigError(
                f"encoder.width is {self.width}; 32 channels times it must be whole, e.g. 0.125 or 0.5"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel counts of the five layers."""
        return tuple(int(count * self.width) for count in (96, 256, 512, 512, 512))


@dataclass(frozen=True, kw_only=True)
class ResnetSettings:
    """What the residual networks share: stem and four stages of 64, 64, 128, 256, 512 channels."""

    num_blocks: ClassVar[tuple[int, int, int, int]]
    """in each stage"""
    batch_norm: ClassVar[bool] = True

    width: float = 1.0
    """multiplier of all channel counts"""
    zero_init_residual: bool = False
    """let each block begin as its shortcut"""
    pretrained: str = ""
    """safetensors file of torchvision's or timm's weights to begin with; empty: none"""

    def __post_init__(self) -> None:
        positive("encoder.width", self.width)
        if 64 * self.width != int(64 * self.width):
            raise ConfigError(
                f"encoder.width is {self.width}; 64 channels times it must be whole, e.g. 0.125 or 0.5"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel counts of the stem and the four stages."""
        return tuple(int(count * self.width) for count in (64, 64, 128, 256, 512))


@dataclass(frozen=True, kw_only=True)
class Resnet18Config(ResnetSettings):
    """The residual network of 18 layers, without its classifier."""

    num_blocks: ClassVar[tuple[int, int, int, int]] = (2, 2, 2, 2)

    name: Literal["resnet18"] = "resnet18"
    purpose: ClassVar[str] = (
        "Residual 2-D network; for supervised training, or to begin with pretrained weights"
    )


@dataclass(frozen=True, kw_only=True)
class Resnet34Config(ResnetSettings):
    """The residual network of 34 layers, without its classifier."""

    num_blocks: ClassVar[tuple[int, int, int, int]] = (3, 4, 6, 3)

    name: Literal["resnet34"] = "resnet34"
    purpose: ClassVar[str] = (
        "As resnet18 with nearly twice the layers; where resnet18 learns too little and a GPU waits"
    )


@dataclass(frozen=True, kw_only=True)
class NoEncoderConfig:
    """No network of its own: the stem's maps are the representation."""

    name: Literal["none"] = "none"
    purpose: ClassVar[str] = (
        "No network behind the stem; with stem phased_lstm, or to see what a stem alone is worth"
    )


EncoderConfig = Vgg6Config | MovnetConfig | Resnet18Config | Resnet34Config | NoEncoderConfig
