"""Objectives; `OBJECTIVES` is what `raytrain list` prints."""

from collections.abc import Callable

from raytrain.config.objectives import ObjectiveConfig
from raytrain.layers import keyed_initial_values
from raytrain.objectives.base import Objective
from raytrain.objectives.clapp import Clapp
from raytrain.objectives.hinge_cpc import HingeCpc
from raytrain.objectives.infonce import Infonce
from raytrain.objectives.supervised import Supervised

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "clapp": Clapp,
    "hinge_cpc": HingeCpc,
    "infonce": Infonce,
    "supervised": Supervised,
}


def build_objective(
    config: ObjectiveConfig,
    *,
    channels: tuple[int, ...],
    num_cells: int,
    num_classes: int,
    seed_words: tuple[int | str, ...],
) -> Objective:
    """Return the objective on the CPU; initial values depend on `seed_words`, e.g. (seed, pathway), alone.

    `channels`: of each layer of the encoder; `num_cells`: R * Q, patches of an image; `num_classes`: 0
    without labels.

    Raises:
        ConfigError: a supervised objective without labels.
    """
    with keyed_initial_values("objective", *seed_words):
        return OBJECTIVES[config.name](
            config, channels=channels, num_cells=num_cells, num_classes=num_classes
        )


__all__ = ["OBJECTIVES", "Clapp", "HingeCpc", "Infonce", "Objective", "Supervised", "build_objective"]
