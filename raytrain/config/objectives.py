"""Settings of the objectives."""

from dataclasses import dataclass
from typing import Literal

from raytrain.config.checks import at_least

Negatives = Literal["same_image", "per_location", "everywhere"]


@dataclass(frozen=True, kw_only=True)
class HingeSettings:
    """What CLAPP and HingeCPC share: one hinge loss between context, target and negative."""

    num_steps: int = 5
    """K, how many steps ahead are predicted"""
    skip: int = 1
    """steps left out between context and target: k = 1 predicts row y + 1 + skip"""
    symmetric: bool = False
    """one set of prediction weights (gradient through both sides); False: two, each with one side detached"""
    synchronous: bool = False
    """both terms of every image; False: a fair coin an image picks the positive or the negative term"""
    negatives: Negatives = "same_image"
    """same_image: another image at all locations; per_location: one a location; everywhere: n a score"""
    num_negatives: int = 1
    """n, for negatives = everywhere"""

    def __post_init__(self) -> None:
        at_least("objective.num_steps", self.num_steps, 1)
        at_least("objective.skip", self.skip, 0)
        at_least("objective.num_negatives", self.num_negatives, 1)


@dataclass(frozen=True, kw_only=True)
class ClappConfig(HingeSettings):
    """CLAPP: the hinge loss at every layer, no gradient between layers."""

    name: Literal["clapp"] = "clapp"


@dataclass(frozen=True, kw_only=True)
class HingeCpcConfig(HingeSettings):
    """HingeCPC: the same loss at the last layer only, trained end to end."""

    name: Literal["hinge_cpc"] = "hinge_cpc"


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Cross entropy of a linear classifier on the last layer, trained end to end."""

    name: Literal["supervised"] = "supervised"
    pool: Literal["mean", "flat"] = "mean"
    """mean over the patches, or all of them flattened, before the classifier"""


ObjectiveConfig = ClappConfig | HingeCpcConfig | SupervisedConfig
