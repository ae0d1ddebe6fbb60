"""InfoNCE: the target is told from n negatives by cross entropy; Greedy InfoMax when local, else CPC."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raytrain.config.objectives import InfonceConfig
from raytrain.objectives.base import Given
from raytrain.objectives.prediction import PredictiveObjective, prediction_scores
from raytrain.objectives.scores import Pairs, draw_numbers, plan_choices


def infonce_loss(
    representation: Tensor,
    matrices: Tensor,
    choices: Tensor,
    weights: Tensor,
    pairs: Pairs,
    *,
    to_context: bool = True,
    to_target: bool = True,
) -> Tensor:
    """Return the loss of one set of prediction weights, a scalar in the dtype of `representation`.

    For k = 1 .. K, context c at row y, target t at row y + k + skip of the same column and image, negatives
    n_1 .. n_N: s = c^T W_k z, loss = log(exp s_t + sum exp s_n) - s_t, log(1 + N) when all scores are equal.

    `choices` i64[1 + N, P], the target first; `weights` f[P]; other shapes, gradient flags and precision as
    in `prediction_scores`. Scores are gathered one choice at a time, so memory does not grow with N.

    Source: van den Oord, Li, Vinyals 2018, equation 4, with c and t as in Loewe et al. 2019's code, which
    takes log(p + 1e-11) of a softmax where this takes the logarithm itself.
    """
    flags = {"to_context": to_context, "to_target": to_target}
    values = prediction_scores(representation, matrices, choices, pairs, **flags)
    with torch.autocast(values.device.type, enabled=False):
        return ((values.logsumexp(0) - values[0]) * weights).sum()


@dataclass(frozen=True)
class InfonceDraws:
    """One step's pairs, their choices i64[L, S, 1 + N, P] and weights f[P].

    L loss-carrying layers, S sets of prediction weights; of each pair's choices the target comes first.
    """

    pairs: Pairs
    choices: Tensor
    weights: Tensor


class Infonce(PredictiveObjective):
    """Tell the patches below from n negatives by cross entropy: Greedy InfoMax (local) or CPC (end to end).

    Source: van den Oord, Li, Vinyals 2018, "Representation learning with contrastive predictive coding";
    Loewe, O'Connor, Veeling 2019, "Putting an end to end-to-end: gradient-isolated learning of
    representations". There the context of CPC comes from a recurrent or masked network; here, as in Greedy
    InfoMax on images, it is the patch's own representation.
    """

    def __init__(
        self, config: InfonceConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        last = len(channels) - 1
        super().__init__(
            config, channels=channels, layers=tuple(range(last + 1)) if config.local else (last,)
        )
        self.local = config.local

    def draw(
        self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int
    ) -> InfonceDraws:
        """Draw the negatives of all layers and sets."""
        pairs = self.pairs(num_rows=num_rows, num_images=len(given), num_columns=num_columns)
        numbers = draw_numbers(rng, pairs, self.config, (len(self.layers), self.num_sets))
        choices, weights = plan_choices(pairs, self.config, numbers=numbers, like=next(self.parameters()))
        return InfonceDraws(pairs, choices, weights)

    def set_loss(
        self,
        representation: Tensor,
        matrices: Tensor,
        draws: InfonceDraws,
        place: tuple[int, int],
        **flags: bool,
    ) -> Tensor:
        """Return the loss of one layer and one set of its prediction weights."""
        return infonce_loss(
            representation, matrices, draws.choices[place], draws.weights, draws.pairs, **flags
        )

    @torch.no_grad()
    def observe(self, layer: int, representation: Tensor, given: Given) -> dict[str, Tensor]:
        """Return the mean |score| over all sets of weights; one more forward pass of the scores."""
        draws = given.draws
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        choices = draws.choices[self.layers.index(layer)]
        values = [
            prediction_scores(wide, matrices, chosen, draws.pairs).abs().mean()
            for matrices, chosen in zip(self.layer_parameters(layer), choices, strict=True)
        ]
        return {"score": torch.stack(values).mean()}
