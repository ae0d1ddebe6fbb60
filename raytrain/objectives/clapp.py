"""CLAPP: a hinge loss at every layer, no gradient between layers."""

from dataclasses import replace

import torch
from torch import Tensor

from raytrain.config.objectives import ClappConfig
from raytrain.objectives.base import Given
from raytrain.objectives.feedback import feedback_factors
from raytrain.objectives.hinge import HingeObjective
from raytrain.objectives.prediction import prediction_scores


class Clapp(HingeObjective):
    """Train each layer by its own prediction of the patches below; equal to a local Hebbian rule.

    The update of a synapse is (modulation by the prediction) x (postsynaptic gate) x (presynaptic activity).
    With feedback the modulation of an image is weighed by how hard the image is for the layer above.

    Source: Illing, Ventura, Bellec, Gerstner 2021, "Local plasticity rules can learn deep representations
    using self-supervised contrastive predictions".
    """

    local = True

    def __init__(
        self, config: ClappConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        super().__init__(config, channels=channels, layers=tuple(range(len(channels))))
        self.feedback = config.feedback

    @torch.no_grad()
    def feedback_to_below(self, layer: int, representation: Tensor, given: Given) -> Given:
        """Return what the layer below is given, its terms weighed by this layer's, set by set of weights."""
        if layer == 0:
            return given
        draws = given.draws
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        weights = draws.scores.weights.clone()
        for number, matrices in enumerate(self.layer_parameters(layer)):
            choices = draws.scores.locations[layer, number]
            values = prediction_scores(wide, matrices, choices, draws.pairs)
            weights[layer - 1, number] *= feedback_factors(values, draws.pairs)
        weighed = replace(draws, scores=replace(draws.scores, weights=weights))
        return replace(given, draws=weighed)
