"""Settings of the objectives."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from raytrain.config.checks import at_least, share
from raytrain.errors import ConfigError

Negatives = Literal["same_image", "per_location", "everywhere"]


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """What the predictive objectives share: patches some rows ahead are told from negatives."""

    num_steps: int = 5
    """K, how many steps ahead are predicted"""
    skip: int = 1
    """steps left out between context and target: k = 1 predicts row y + 1 + skip"""
    symmetric: bool = False
    """one set of prediction weights (gradient through both sides); False: two, each with one side detached"""
    negatives: Negatives = "same_image"
    """same_image: n images for all locations; per_location: n images a score, at the target's location;
    everywhere: n places a score, of all rows, columns and images of the step's targets"""
    num_negatives: int = 1
    """n; drawn with replacement, from this worker's share of the batch"""

    def __post_init__(self) -> None:
        at_least("objective.num_steps", self.num_steps, 1)
        at_least("objective.skip", self.skip, 0)
        at_least("objective.num_negatives", self.num_negatives, 1)


@dataclass(frozen=True, kw_only=True)
class HingeSettings(PredictionSettings):
    """What CLAPP and HingeCPC share: one hinge loss between context, target and negative."""

    synchronous: bool = False
    """both terms of every image; False: a fair coin an image picks the positive or the negative term"""


@dataclass(frozen=True, kw_only=True)
class ClappConfig(HingeSettings):
    """CLAPP: the hinge loss at every layer, no gradient between layers."""

    name: Literal["clapp"] = "clapp"
    purpose: ClassVar[str] = (
        "No labels, each layer by itself (local rule); the default, memory does not grow with depth"
    )
    feedback: bool = False
    """weigh each image's terms by the same terms of the layer above: images that are hard there teach more"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feedback and not self.synchronous:
            raise ConfigError(
                "objective.feedback weighs both terms of every image; set objective.synchronous = true too"
            )


@dataclass(frozen=True, kw_only=True)
class HingeCpcConfig(HingeSettings):
    """HingeCPC: the same loss at the last layer only, trained end to end."""

    name: Literal["hinge_cpc"] = "hinge_cpc"
    purpose: ClassVar[str] = (
        "No labels, clapp's loss trained through all layers; shows what learning locally costs"
    )


@dataclass(frozen=True, kw_only=True)
class InfonceConfig(PredictionSettings):
    """InfoNCE: Greedy InfoMax where local, CPC where not."""

    name: Literal["infonce"] = "infonce"
    purpose: ClassVar[str] = (
        "No labels, many negatives: Greedy InfoMax or CPC; to compare with the usual contrastive loss"
    )
    local: bool = True
    """a loss at every layer and no gradient between layers; False: one at the last, trained end to end"""
    symmetric: bool = True
    negatives: Negatives = "everywhere"
    num_negatives: int = 16


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Cross entropy of a linear classifier on the last layer, trained end to end."""

    name: Literal["supervised"] = "supervised"
    purpose: ClassVar[str] = "Learns from labels; where you have them, or as the mark for what learns without"
    pool: Literal["mean", "flat"] = "mean"
    """mean over the patches, or all of them flattened, before the classifier"""


@dataclass(frozen=True, kw_only=True)
class ClappVideoConfig:
    """CLAPP's loss of volumes: each step of time predicts the next ones, all others are its negatives."""

    name: Literal["clapp_video"] = "clapp_video"
    purpose: ClassVar[str] = (
        "No labels, clapp for clips as volumes (cut volume, encoder movnet); learns along time"
    )
    num_steps: int = 3
    """K, how many steps of time ahead are predicted"""
    vectors: Literal["flat", "spatial"] = "flat"
    """what is told apart: whole maps of a step, or single pixels (the work grows with their square)"""
    local: bool = True
    """a loss at every layer and no gradient between layers; False: one at the last, trained end to end"""

    def __post_init__(self) -> None:
        at_least("objective.num_steps", self.num_steps, 1)


@dataclass(frozen=True, kw_only=True)
class MotionObjectiveConfig:
    """Kind of motion (of the camera or of the scene) and its speed, trained end to end."""

    name: Literal["motion"] = "motion"
    purpose: ClassVar[str] = (
        "No labels, clips: is it the camera or the scene that moves, how fast (cut motion)"
    )
    dropout: float = 0.5
    """share of each head's hidden units that is left out of a training step"""
    hidden: int = 512
    """hidden units of each head"""

    def __post_init__(self) -> None:
        share("objective.dropout", self.dropout)
        at_least("objective.hidden", self.hidden, 1)


ObjectiveConfig = (
    ClappConfig | HingeCpcConfig | InfonceConfig | SupervisedConfig | ClappVideoConfig | MotionObjectiveConfig
)
