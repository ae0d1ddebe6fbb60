"""The hinge loss between context, target and negative that CLAPP and HingeCPC share."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raytrain.config.objectives import HingeSettings
from raytrain.objectives.base import Given
from raytrain.objectives.prediction import PredictiveObjective, prediction_scores
from raytrain.objectives.scores import Pairs, Scores, draw_numbers, draw_signs, plan_scores


def hinge_loss(
    representation: Tensor,
    matrices: Tensor,
    scores: Scores,
    pairs: Pairs,
    *,
    to_context: bool = True,
    to_target: bool = True,
) -> Tensor:
    """Return the loss of one set of prediction weights, a scalar in the dtype of `representation`.

    For k = 1 .. K, context c at row y and target t at row y + k + skip of the same column and image, with a
    negative n in t's place: s = c^T W_k t, loss = max(0, 1 - s+) and max(0, 1 + s-), gradient 0 at the
    corner. Shapes, gradient flags and precision as in `prediction_scores`.

    Source: Illing et al. 2021, with the published code's W applied to the target (its transpose predicts).
    """
    flags = {"to_context": to_context, "to_target": to_target}
    values = prediction_scores(representation, matrices, scores.locations, pairs, **flags)
    with torch.autocast(values.device.type, enabled=False):
        return ((1 - scores.signs * values).relu() * scores.weights).sum()


@dataclass(frozen=True)
class HingeDraws:
    """One step's pairs and scores, [L, S, M, P]: L loss-carrying layers, S sets of prediction weights."""

    pairs: Pairs
    scores: Scores


class HingeObjective(PredictiveObjective):
    """The hinge loss at the chosen layers.

    The returned and logged loss is the one that is optimised, the sum over the sets of weights: 2 (symmetric)
    or 4 when all scores are 0 and images of both signs were drawn. The published code logs half of it when
    asymmetric.
    """

    config: HingeSettings

    def draw(self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int) -> HingeDraws:
        """Draw all coins, then all negatives, of all layers and sets."""
        pairs = self.pairs(num_rows=num_rows, num_images=len(given), num_columns=num_columns)
        sets = (len(self.layers), self.num_sets)
        signs = draw_signs(rng, pairs, self.config, sets)
        numbers = draw_numbers(rng, pairs, self.config, sets)
        like = next(self.parameters())
        return HingeDraws(pairs, plan_scores(pairs, self.config, signs=signs, numbers=numbers, like=like))

    def set_loss(
        self,
        representation: Tensor,
        matrices: Tensor,
        draws: HingeDraws,
        place: tuple[int, int],
        **flags: bool,
    ) -> Tensor:
        """Return the hinge loss of one layer and one set of its prediction weights."""
        return hinge_loss(representation, matrices, draws.scores.at(*place), draws.pairs, **flags)

    @torch.no_grad()
    def observe(self, layer: int, representation: Tensor, given: Given) -> dict[str, Tensor]:
        """Return the mean |score|, and the shares of positive and negative terms that are not 0 (NaN: none).

        Over the scores of all sets of weights, each with equal weight; one more forward pass of the scores.
        """
        draws, position = given.draws, self.layers.index(layer)
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        matrices = enumerate(self.layer_parameters(layer))
        places = [(matrix, draws.scores.at(position, number)) for number, matrix in matrices]
        values = torch.stack(
            [prediction_scores(wide, matrix, scores.locations, draws.pairs) for matrix, scores in places]
        )
        signs = torch.stack([scores.signs for _, scores in places])
        active, positive = signs * values < 1, signs > 0
        return {
            "score": values.abs().mean(),
            "active_positive": (active & positive).sum() / positive.sum(),
            "active_negative": (active & ~positive).sum() / (~positive).sum(),
        }
