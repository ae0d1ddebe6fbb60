"""HingeCPC: CLAPP's loss at the last layer only, trained end to end."""

from raytrain.config.objectives import HingeCpcConfig
from raytrain.objectives.hinge import HingeObjective


class HingeCpc(HingeObjective):
    """Train all layers by back-propagation of the last layer's hinge loss.

    Source: Illing et al. 2021: the same code with one module.
    """

    local = False

    def __init__(
        self, config: HingeCpcConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        super().__init__(config, channels=channels, layers=(len(channels) - 1,))
