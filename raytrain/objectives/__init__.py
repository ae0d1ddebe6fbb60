"""Objectives by name; what each is for stands in its settings."""

from collections.abc import Callable
from functools import partial

from raytrain.config.objectives import ClappVideoConfig, ObjectiveConfig
from raytrain.layers import keyed_initial_values
from raytrain.objectives.base import Given, Objective
from raytrain.objectives.clapp import Clapp
from raytrain.objectives.clapp_video import ClappVideo
from raytrain.objectives.hinge_cpc import HingeCpc
from raytrain.objectives.infonce import Infonce
from raytrain.objectives.motion import Motion
from raytrain.objectives.supervised import Supervised

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "clapp": Clapp,
    "hinge_cpc": HingeCpc,
    "infonce": Infonce,
    "supervised": Supervised,
    "clapp_video": ClappVideo,
    "motion": Motion,
}


def build_objective(
    config: ObjectiveConfig,
    *,
    channels: tuple[int, ...],
    num_cells: int,
    num_classes: int,
    seed_words: tuple[int | str, ...],
    num_rows: tuple[int, ...] | None = None,
) -> Objective:
    """Return the objective on the CPU; initial values depend on `seed_words`, e.g. (seed, pathway), alone.

    `channels`: of each layer of the encoder; `num_cells`: R * Q of the last layer's representation;
    `num_classes`: 0 without labels; `num_rows`: R of each layer's representation, None: not known yet.

    Raises:
        ConfigError: a supervised objective without labels, or too few rows for what is predicted.
    """
    build = OBJECTIVES[config.name]
    if isinstance(config, ClappVideoConfig):
        build = partial(build, num_rows=num_rows)
    with keyed_initial_values("objective", *seed_words):
        return build(config, channels=channels, num_cells=num_cells, num_classes=num_classes)


__all__ = [
    "OBJECTIVES",
    "Clapp",
    "ClappVideo",
    "Given",
    "HingeCpc",
    "Infonce",
    "Motion",
    "Objective",
    "Supervised",
    "build_objective",
]
