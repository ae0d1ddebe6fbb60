"""CLAPP: a hinge loss at every layer, no gradient between layers."""

from raytrain.config.objectives import ClappConfig
from raytrain.objectives.hinge import HingeObjective


class Clapp(HingeObjective):
    """Train each layer by its own prediction of the patches below; equal to a local Hebbian rule.

    The update of a synapse is (modulation by the prediction) x (postsynaptic gate) x (presynaptic activity).

    Source: Illing, Ventura, Bellec, Gerstner 2021, "Local plasticity rules can learn deep representations
    using self-supervised contrastive predictions".
    """

    local = True

    def __init__(
        self, config: ClappConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        super().__init__(config, channels=channels, layers=tuple(range(len(channels))))
