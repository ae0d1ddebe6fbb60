"""CLAPP of volumes: each step of time predicts the next ones, every other vector is a negative."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raytrain.collectives import share_of_ranks
from raytrain.config.objectives import ClappVideoConfig
from raytrain.errors import ConfigError
from raytrain.objectives.base import Given, Objective
from raytrain.objectives.prediction import Predictor

BLOCK_SCORES = 1 << 22
"""how many scores are held at a time: 16 MiB of float32"""


def all_pairs_hinge_loss(representation: Tensor, matrices: Tensor, *, spatial: bool) -> Tensor:
    """Return the mean over the steps k = 1 .. K of the hinge over all pairs, a scalar.

    States are the rows 0 .. R - K - 1 of f[R, B, Q, C], targets of step k the rows k .. R - K - 1 + k. With
    predictions p_i = W_k state_i, targets t_j and S_ij = p_i . t_j over n vectors,
    loss_k = (mean_i max(0, 1 - S_ii) + mean_{i != j} max(0, 1 + S_ij)) / 2, gradient 0 at the corner.
    A vector is one location (`spatial`, n = (R - K) B Q) or all Q of a step together (n = (R - K) B).

    `matrices` f[K, C, C], channel of the prediction first; float32 or wider, under autocast too. Memory: a
    few arrays of the representation's size and BLOCK_SCORES scores, of any n.

    Source: Illing et al. 2021, the published code's loss of videos.
    """
    with torch.autocast(representation.device.type, enabled=False):
        loss = _AllPairsHinge.apply(representation, matrices, spatial)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss


class _AllPairsHinge(torch.autograd.Function):
    """Written by hand: gradients are taken block by block beside the loss, and no score is kept."""

    @staticmethod
    def forward(ctx: Any, representation: Tensor, matrices: Tensor, spatial: bool) -> Tensor:
        num_steps, wants_gradients = len(matrices), any(ctx.needs_input_grad)
        rows = representation.contiguous()
        grad_rows, grad_matrices = torch.zeros_like(rows), torch.zeros_like(matrices)
        states, loss = rows[:-num_steps], rows.new_zeros(())
        for k, matrix in enumerate(matrices):
            span = slice(k + 1, k + 1 + len(states))
            predictions, targets = states @ matrix.t(), rows[span]
            grads = (torch.zeros_like(predictions), torch.zeros_like(targets)) if wants_gradients else None
            flat_grads = None if grads is None else (_vectors(grads[0], spatial), _vectors(grads[1], spatial))
            loss += _hinge(_vectors(predictions, spatial), _vectors(targets, spatial), flat_grads)
            if grads is not None:
                grad_predictions, grad_targets = grads
                grad_rows[span] += grad_targets
                grad_rows[: len(states)] += grad_predictions @ matrix
                grad_matrices[k] = _locations(grad_predictions).t() @ _locations(states)
        ctx.save_for_backward(grad_rows.div_(num_steps), grad_matrices.div_(num_steps))
        return loss / num_steps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_rows, grad_matrices = ctx.saved_tensors
        return grad_rows * grad_loss, grad_matrices * grad_loss, None


def _vectors(rows: Tensor, spatial: bool) -> Tensor:
    """Return what is told apart, [n, D], a view of contiguous rows [R, B, Q, C]."""
    return _locations(rows) if spatial else rows.flatten(2).flatten(0, 1)


def _locations(rows: Tensor) -> Tensor:
    return rows.view(-1, rows.shape[-1])


def _score_blocks(predictions: Tensor, targets: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the scores of all pairs in blocks of rows [m, n], each with the number of its first row."""
    num_rows = max(1, BLOCK_SCORES // max(1, len(targets)))
    for first in range(0, len(predictions), num_rows):
        yield first, predictions[first : first + num_rows] @ targets.t()


def _hinge(predictions: Tensor, targets: Tensor, grads: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return the loss of one step; write its gradients, [n, D] each, over zeros in `grads`."""
    count = max(1, len(targets))
    per_positive, per_negative = 0.5 / count, 0.5 / max(1, count * (count - 1))
    loss = predictions.new_zeros(())
    for first, scores in _score_blocks(predictions, targets):
        own = scores.diagonal(first)
        positive = (1 - own).relu_()
        own.fill_(-1)  # no negative of itself: its term below and the term's slope are 0
        negative = scores.add_(1).relu_()
        loss += per_positive * positive.sum() + per_negative * negative.sum()
        if grads is not None:
            slopes = negative.gt_(0).mul_(per_negative)
            slopes.diagonal(first).copy_(positive.gt_(0).mul_(-per_positive))
            block = slice(first, first + len(slopes))
            torch.mm(slopes, targets, out=grads[0][block])
            grads[1].addmm_(slopes.t(), predictions[block])
    return loss


class ClappVideo(Objective):
    """The hinge over all pairs at every layer, no gradient between layers; or at the last, end to end.

    One set of prediction weights a layer, gradient through states and targets. Over ranks: the mean over the
    samples of all ranks, negatives from this rank's share of the batch, as in the other hinge objectives.

    Args:
        num_rows: R of each layer's representation, checked here; None: checked with the first loss.

    Raises:
        ConfigError: a layer with a loss has too few steps of time to predict the next ones.
    """

    def __init__(
        self,
        config: ClappVideoConfig,
        *,
        channels: tuple[int, ...],
        num_cells: int,
        num_classes: int,
        num_rows: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.local = config, config.local
        last = len(channels) - 1
        self.layers = tuple(range(last + 1)) if config.local else (last,)
        for layer in self.layers:
            if num_rows is not None:
                self._check_rows(layer, num_rows[layer])
        self.predictors = nn.ModuleDict(
            {
                str(layer): Predictor(channels[layer], num_steps=config.num_steps, symmetric=True)
                for layer in self.layers
            }
        )

    def draw(self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int) -> Tensor:
        """Draw nothing, for all pairs are scored; return what this rank's samples weigh among all, f[]."""
        like = next(self.parameters())
        return share_of_ranks(like.new_full((), len(given)))

    def layer_loss(self, layer: int, representation: Tensor, given: Given) -> Tensor:
        """Return the layer's loss."""
        self._check_rows(layer, len(representation))
        loss = all_pairs_hinge_loss(_wide(representation), self._weight(layer), spatial=self._spatial)
        share: Tensor = given.draws
        return loss * share

    @torch.no_grad()
    def observe(self, layer: int, representation: Tensor, given: Given) -> dict[str, Tensor]:
        """Return the mean |score| of all pairs, and the shares of their terms that are not 0.

        Steps have equal weight; one more forward pass of the scores.
        """
        rows, matrices = _wide(representation).contiguous(), self._weight(layer)
        states = rows[: -len(matrices)]
        figures = []
        with torch.autocast(rows.device.type, enabled=False):
            for k, matrix in enumerate(matrices):
                predictions = _vectors(states @ matrix.t(), self._spatial)
                targets = _vectors(rows[k + 1 : k + 1 + len(states)], self._spatial)
                figures.append(_figures(predictions, targets))
        score, positive, negative = torch.stack(figures).mean(0).unbind()
        return {"score": score, "active_positive": positive, "active_negative": negative}

    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the layer's prediction weights."""
        return [self._weight(layer)]

    @property
    def _spatial(self) -> bool:
        return self.config.vectors == "spatial"

    def _weight(self, layer: int) -> nn.Parameter:
        predictor = self.predictors[str(layer)]
        assert isinstance(predictor, Predictor)
        return predictor.weight

    def _check_rows(self, layer: int, num_rows: int) -> None:
        if num_rows <= self.config.num_steps:
            raise ConfigError(
                f"objective.num_steps is {self.config.num_steps}, but layer{layer + 1} has "
                f"{num_rows} step{'s' if num_rows != 1 else ''} of time and needs "
                f"{self.config.num_steps + 1}; raise cut.num_frames or lower objective.num_steps"
            )


def _wide(representation: Tensor) -> Tensor:
    return representation.to(torch.promote_types(representation.dtype, torch.float32))


def _figures(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return mean |score|, and the shares of positive and negative terms that are not 0, f[3]."""
    count = len(targets)
    totals = predictions.new_zeros(3)
    for first, scores in _score_blocks(predictions, targets):
        own = scores.diagonal(first)
        active_positive = (own < 1).sum()
        absolute = scores.abs().sum()
        own.fill_(-1)
        totals += torch.stack([absolute, active_positive, (scores > -1).sum()])
    return totals / totals.new_tensor([count * count, count, max(1, count * (count - 1))])
