"""What the predictive objectives share: W_k maps each context, the scores compare it with other patches."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raytrain.config.objectives import PredictionSettings
from raytrain.objectives.base import Given, Objective
from raytrain.objectives.scores import Pairs


@dataclass(frozen=True)
class _Products:
    """How the scores are computed: the steps' sizes, the dtype of the products, and where gradients go."""

    step_sizes: tuple[int, ...]
    dtype: torch.dtype
    to_context: bool
    to_target: bool

    def steps(self) -> list[tuple[int, int, int]]:
        """Return (step, first pair, last pair + 1) of each step."""
        ends = np.cumsum(self.step_sizes).tolist()
        return [(k, end - size, end) for k, (size, end) in enumerate(zip(self.step_sizes, ends, strict=True))]


class _PredictionScores(torch.autograd.Function):
    """Written by hand: one product a step on contiguous rows, everything else on all steps at once."""

    @staticmethod
    def forward(
        ctx: Any, representation: Tensor, matrices: Tensor, choices: Tensor, products: _Products
    ) -> Tensor:
        locations = representation.reshape(-1, representation.shape[-1])
        contexts, factors = locations.to(products.dtype), matrices.to(products.dtype)
        predictions = contexts.new_empty(sum(products.step_sizes), contexts.shape[1])
        for k, first, last in products.steps():
            torch.mm(contexts[: last - first], factors[k], out=predictions[first:last])
        values = locations.new_empty(choices.shape)
        for choice, value in zip(choices, values, strict=True):
            torch.sum(locations.index_select(0, choice).mul_(predictions), dim=-1, out=value)
        ctx.save_for_backward(representation, matrices, predictions, choices)
        ctx.products = products
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        representation, matrices, predictions, choices = ctx.saved_tensors
        products: _Products = ctx.products
        locations = representation.reshape(-1, representation.shape[-1])
        grad_locations = torch.zeros_like(locations) if products.to_context or products.to_target else None
        grad_predictions: Tensor | None = None
        with torch.autocast(locations.device.type, enabled=False):
            for choice, slope in zip(choices, grad_values[..., None], strict=True):
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


def prediction_scores(
    representation: Tensor,
    matrices: Tensor,
    choices: Tensor,
    pairs: Pairs,
    *,
    to_context: bool = True,
    to_target: bool = True,
) -> Tensor:
    """Return the scores c^T W_k z of each pair's context c with M chosen locations z, f[M, P].

    `representation` f[R, B, Q, C], rows first so that a step's contexts are one slice; `matrices` f[K, C, C],
    context channel first; `choices` i64[M, P], flat locations; `to_context`, `to_target`: where the gradient
    goes (all of the M locations together). Memory: 4 arrays [P, C] at most, of any M. Under autocast the
    products with W_k are taken in its dtype; the scores are not.
    """
    device = representation.device.type
    narrow = torch.is_autocast_enabled(device) and representation.dtype == torch.float32
    dtype = torch.get_autocast_dtype(device) if narrow else representation.dtype
    products = _Products(pairs.step_sizes, dtype, to_context, to_target)
    with torch.autocast(device, enabled=False):
        scores = _PredictionScores.apply(representation, matrices, choices, products)  # type: ignore[no-untyped-call]
    assert isinstance(scores, Tensor)
    return scores


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


class PredictiveObjective(Objective):
    """Prediction weights at the chosen layers; a subclass draws, and says how scores become a loss.

    Symmetric: one set of weights, gradient through context, target and negatives. Asymmetric: the sum of two
    losses, W with the context detached and a mirror set with target and negatives detached, each with its own
    draws.
    """

    def __init__(
        self, config: PredictionSettings, *, channels: tuple[int, ...], layers: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.config = config
        self.layers = layers
        self.predictors = nn.ModuleDict(
            {
                str(layer): Predictor(channels[layer], num_steps=config.num_steps, symmetric=config.symmetric)
                for layer in layers
            }
        )

    @abstractmethod
    def set_loss(
        self, representation: Tensor, matrices: Tensor, draws: Any, place: tuple[int, int], **flags: bool
    ) -> Tensor:
        """Return the loss of one set of prediction weights, a scalar.

        `representation` f[R, B, Q, C], float32 or wider; `place`: position of the layer in `layers`, number
        of the set; `flags`: to_context, to_target of `prediction_scores`.
        """

    def layer_loss(self, layer: int, representation: Tensor, given: Given) -> Tensor:
        """Return the layer's loss; see the class for what it sums."""
        predictor, position = self._predictor(layer), self.layers.index(layer)
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        draws, mirror = given.draws, predictor.mirror_weight
        loss = self.set_loss(wide, predictor.weight, draws, (position, 0), to_context=mirror is None)
        if mirror is None:
            return loss
        return loss + self.set_loss(wide, mirror, draws, (position, 1), to_target=False)

    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the layer's one or two sets of prediction weights."""
        return list(self._predictor(layer).parameters())

    def pairs(self, *, num_rows: int, num_images: int, num_columns: int) -> Pairs:
        """Return the pairs of context and target on a grid of patches."""
        return Pairs(
            num_rows=num_rows,
            num_images=num_images,
            num_columns=num_columns,
            num_steps=self.config.num_steps,
            skip=self.config.skip,
        )

    @property
    def num_sets(self) -> int:
        """How many sets of prediction weights a layer has."""
        return 1 if self.config.symmetric else 2

    def _predictor(self, layer: int) -> Predictor:
        predictor = self.predictors[str(layer)]
        assert isinstance(predictor, Predictor)
        return predictor
