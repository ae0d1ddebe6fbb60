"""Settings of one pathway."""

from dataclasses import dataclass, field
from typing import Literal

from raytrain.config.checks import at_least, positive
from raytrain.config.cuts import CutConfig, ModalityName, PatchesConfig
from raytrain.config.encoders import EncoderConfig, Vgg6Config
from raytrain.config.objectives import ClappConfig, ObjectiveConfig
from raytrain.config.operators import AnyOperatorConfig, EventOperatorConfig, IdentityConfig, num_bins
from raytrain.config.stems import NoStemConfig, StemConfig


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random change of a sample; draws are shared by all pathways."""

    crop_px: int = 0
    """side of a random crop of the canvas (centred when representing); 0: none"""
    flip: bool = False
    """mirror left and right with probability one half"""
    shift_px: int = 0
    """recordings: largest shift in px, both ways, up/down and left/right; events that leave the sensor are
    dropped"""

    def __post_init__(self) -> None:
        at_least("augmentation.crop_px", self.crop_px, 0)
        at_least("augmentation.shift_px", self.shift_px, 0)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam."""

    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    implementation: Literal["fused", "foreach"] = "fused"

    def __post_init__(self) -> None:
        positive("optimizer.learning_rate", self.learning_rate)
        at_least("optimizer.weight_decay", self.weight_decay, 0)

    @property
    def is_constant(self) -> bool:
        """Whether no step depends on how many are to come: then a longer training goes on from a shorter one.

        A schedule over the length of the training has to say False here: the number of epochs then becomes
        part of what identifies the pathway.
        """
        return True


@dataclass(frozen=True, kw_only=True)
class PathwayConfig:
    """One parallel encoder: augmentation, operator, cut, encoder, objective."""

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    operator: AnyOperatorConfig = field(default_factory=IdentityConfig)
    placement: Literal["worker", "stream"] = "worker"
    """stream: augmentation and operator run once, in a Ray Data stage, for all pathways with the same ones"""
    stem: StemConfig = field(default_factory=NoStemConfig)
    """trainable front end that turns recordings into maps; it reads operator events"""
    cut: CutConfig = field(default_factory=PatchesConfig)
    encoder: EncoderConfig = field(default_factory=Vgg6Config)
    objective: ObjectiveConfig = field(default_factory=ClappConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 0
    """0: training.epochs"""
    workers: int = 0
    """data-parallel workers; 0: training.workers"""
    stream: str = "main"
    """pathways of one stream share its decoded chunks; another name decouples them"""

    def __post_init__(self) -> None:
        at_least("pathways.*.workers", self.workers, 0)
        at_least("pathways.*.epochs", self.epochs, 0)

    @property
    def modality(self) -> ModalityName:
        """What a sample is: an event operator reads recordings, else the cut says."""
        return "events" if isinstance(self.operator, EventOperatorConfig) else self.cut.modality

    @property
    def num_bins(self) -> int:
        """Bins of time of the maps that the cut takes, of recordings."""
        return num_bins(self.operator) if isinstance(self.stem, NoStemConfig) else num_bins(self.stem)
