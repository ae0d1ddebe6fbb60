"""The hinge loss between context, target and negative that CLAPP and HingeCPC share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raytrain.config.objectives import HingeSettings
from raytrain.objectives.base import Objective
from raytrain.objectives.scores import Pairs, Scores, draw_numbers, draw_signs, plan_scores


@dataclass(frozen=True)
class _Products:
    """How one loss is computed: the steps' sizes, the dtype of the products, and where gradients go."""

    step_sizes: tuple[int, ...]
    dtype: torch.dtype
    to_context: bool
    to_target: bool

    def steps(self) -> list[tuple[int, int, int]]:
        """Return (step, first pair, last pair + 1) of each step."""
        ends = np.cumsum(self.step_sizes).tolist()
        return [(k, end - size, end) for k, (size, end) in enumerate(zip(self.step_sizes, ends, strict=True))]


class _HingeLoss(torch.autograd.Function):
    """Written by hand: one product a step on contiguous rows, everything else on all steps at once."""

    @staticmethod
    def forward(
        ctx: Any, representation: Tensor, matrices: Tensor, scores: Scores, products: _Products
    ) -> Tensor:
        locations = representation.reshape(-1, representation.shape[-1])
        contexts, factors = locations.to(products.dtype), matrices.to(products.dtype)
        predictions = contexts.new_empty(sum(products.step_sizes), contexts.shape[1])
        for k, first, last in products.steps():
            torch.mm(contexts[: last - first], factors[k], out=predictions[first:last])
        values = torch.empty_like(scores.weights)
        for choice, value in zip(scores.locations, values, strict=True):
            torch.sum(locations.index_select(0, choice).mul_(predictions), dim=-1, out=value)
        margins = 1 - scores.signs * values
        slopes = torch.where(margins > 0, scores.signs * scores.weights, 0).neg_()
        ctx.save_for_backward(representation, matrices, predictions, scores.locations, slopes)
        ctx.products = products
        return (margins.relu_() * scores.weights).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        representation, matrices, predictions, choices, slopes = ctx.saved_tensors
        products: _Products = ctx.products
        locations = representation.reshape(-1, representation.shape[-1])
        grad_locations = torch.zeros_like(locations) if products.to_context or products.to_target else None
        grad_predictions: Tensor | None = None
        with torch.autocast(locations.device.type, enabled=False):
            for choice, slope in zip(choices, (slopes * grad_loss)[..., None], strict=True):
                chosen = locations.index_select(0, choice).mul_(slope)
                grad_predictions = chosen if grad_predictions is None else grad_predictions.add_(chosen)
                if products.to_target and grad_locations is not None:
                    grad_locations.index_add_(0, choice, predictions * slope)
            assert grad_predictions is not None
            grad_matrices = _product_gradients(
                locations, matrices, grad_predictions, grad_locations, products
            )
        grad_representation = None if grad_locations is None else grad_locations.view_as(representation)
        return grad_representation, grad_matrices, None, None


def _product_gradients(
    locations: Tensor,
    matrices: Tensor,
    grad_predictions: Tensor,
    grad_locations: Tensor | None,
    products: _Products,
) -> Tensor:
    """Return the gradient of the matrices; add that of the contexts to `grad_locations` where wanted."""
    grads, contexts = grad_predictions.to(products.dtype), locations.to(products.dtype)
    factors = matrices.to(products.dtype)
    narrow = products.dtype != matrices.dtype
    grad_matrices = torch.empty_like(matrices)
    for k, first, last in products.steps():
        step_contexts, step_grads = contexts[: last - first], grads[first:last]
        if narrow:
            grad_matrices[k].copy_(step_contexts.t() @ step_grads)
        else:
            torch.mm(step_contexts.t(), step_grads, out=grad_matrices[k])
        if products.to_context and grad_locations is not None:
            rows = grad_locations[: last - first]
            if narrow:
                rows.add_(step_grads @ factors[k].t())
            else:
                rows.addmm_(step_grads, factors[k].t())
    return grad_matrices


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
    corner.

    `representation` f[R, B, Q, C], rows first so that a step's contexts are one slice; `matrices` f[K, C, C],
    context channel first; `to_context`, `to_target`: where the gradient goes (targets and negatives
    together). Under autocast the products with W_k are taken in its dtype; scores, hinge and means are not.

    Source: Illing et al. 2021, with the published code's W applied to the target (its transpose predicts).
    """
    device = representation.device.type
    narrow = torch.is_autocast_enabled(device) and representation.dtype == torch.float32
    dtype = torch.get_autocast_dtype(device) if narrow else representation.dtype
    products = _Products(pairs.step_sizes, dtype, to_context, to_target)
    with torch.autocast(device, enabled=False):
        loss = _HingeLoss.apply(representation, matrices, scores, products)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss


class Predictor(nn.Module):
    """The prediction weights of one layer: one set, or two when asymmetric."""

    weight: nn.Parameter
    mirror_weight: nn.Parameter | None

    def __init__(self, channels: int, *, num_steps: int, symmetric: bool) -> None:
        super().__init__()
        shape, bound = (num_steps, channels, channels), channels**-0.5
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        mirror = None if symmetric else nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.register_parameter("mirror_weight", mirror)


@dataclass(frozen=True)
class HingeDraws:
    """One step's pairs and scores, [L, S, M, P]: L loss-carrying layers, S sets of prediction weights."""

    pairs: Pairs
    scores: Scores


class HingeObjective(Objective):
    """The hinge loss at the chosen layers.

    Symmetric: one set of weights, gradient through context, target and negative. Asymmetric: the sum of two
    losses, W with the context detached and a mirror set with target and negative detached, each with its own
    draws. The returned and logged loss is the one that is optimised, that sum: 2 (symmetric) or 4 when all
    scores are 0 and images of both signs were drawn. The published code logs half of it when asymmetric.
    """

    def __init__(self, config: HingeSettings, *, channels: tuple[int, ...], layers: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.layers = layers
        self.predictors = nn.ModuleDict(
            {
                str(layer): Predictor(channels[layer], num_steps=config.num_steps, symmetric=config.symmetric)
                for layer in layers
            }
        )

    def draw(
        self, rng: np.random.Generator, *, num_images: int, num_rows: int, num_columns: int
    ) -> HingeDraws:
        """Draw all coins, then all negatives, of all layers and sets."""
        pairs = Pairs(
            num_rows=num_rows,
            num_images=num_images,
            num_columns=num_columns,
            num_steps=self.config.num_steps,
            skip=self.config.skip,
        )
        sets = (len(self.layers), 1 if self.config.symmetric else 2)
        signs = draw_signs(rng, pairs, self.config, sets)
        numbers = draw_numbers(rng, pairs, self.config, sets)
        like = next(self.parameters())
        return HingeDraws(pairs, plan_scores(pairs, self.config, signs=signs, numbers=numbers, like=like))

    def layer_loss(self, layer: int, representation: Tensor, draws: HingeDraws, labels: Tensor) -> Tensor:
        """Return the layer's loss; see the class for what it sums."""
        predictor, position = self._predictor(layer), self.layers.index(layer)
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        mirror = predictor.mirror_weight
        first = draws.scores.at(position, 0)
        loss = hinge_loss(wide, predictor.weight, first, draws.pairs, to_context=mirror is None)
        if mirror is None:
            return loss
        return loss + hinge_loss(wide, mirror, draws.scores.at(position, 1), draws.pairs, to_target=False)

    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the layer's one or two sets of prediction weights."""
        return list(self._predictor(layer).parameters())

    def _predictor(self, layer: int) -> Predictor:
        predictor = self.predictors[str(layer)]
        assert isinstance(predictor, Predictor)
        return predictor
