"""Motion: which kind of motion a clip shows and how fast it is, trained end to end."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.forms.clips import NUM_SPEEDS
from pipelines.views.transfer import to_device
from raytrain.config.objectives import MotionObjectiveConfig
from raytrain.objectives.base import Given, Objective
from raytrain.objectives.known import mean_over_known

NUM_KINDS = 2
"""motion of the camera, motion in the scene"""


class Head(nn.Module):
    """Linear, dropout by a given mask, linear: no nonlinearity between, as published."""

    def __init__(self, num_features: int, *, hidden: int, num_outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, hidden)
        self.output = nn.Linear(hidden, num_outputs)

    def forward(self, features: Tensor, factors: Tensor | None) -> Tensor:
        """Return logits f[B, outputs] of features [B, F]; `factors` f[B, hidden]: None for no dropout."""
        activity = self.hidden(features)
        if factors is not None:
            activity = activity * factors
        logits: Tensor = self.output(activity)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


class Motion(Objective):
    """Sum of the cross entropies of two heads on the flattened last representation, trained end to end.

    Kind: 0 the camera moves (egomotion), 1 the scene does. Speed: 12 classes, 0 .. 2 of the scene, 3 .. 11 of
    the camera. Mean over the samples of known motion of all ranks; 0 where there is none.

    Source: "Decomposed encoders" (arXiv 2401.08603), section 4.7, and its published code's heads.
    """

    local = False

    def __init__(
        self, config: MotionObjectiveConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        super().__init__()
        self.config = config
        self.layers = (len(channels) - 1,)
        features = channels[-1] * num_cells
        self.kind = Head(features, hidden=config.hidden, num_outputs=NUM_KINDS)
        self.speed = Head(features, hidden=config.hidden, num_outputs=NUM_SPEEDS)

    def draw(self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int) -> Tensor:
        """Draw which hidden units stay: f[2, B, hidden], of kind then of speed, 0 or 1 / (1 - dropout)."""
        stays = rng.random((2, len(given), self.config.hidden)) >= self.config.dropout
        like = next(self.parameters())
        return to_device(torch.from_numpy(stays), like.device).to(like.dtype) / (1 - self.config.dropout)

    def layer_loss(self, layer: int, representation: Tensor, given: Given) -> Tensor:
        """Return the loss; a sample of unknown motion is left out."""
        draws, motion = given.draws, given.motion
        assert motion is not None, "refused by the settings"
        features = _flatten(representation)
        kind, speed = self.kind(features, draws[0]), self.speed(features, draws[1])
        total = _summed(kind, motion[:, 0]) + _summed(speed, motion[:, 1])
        return mean_over_known(total, motion[:, 0] >= 0)

    def predict(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of kind f[B, 2] and of speed f[B, 12], without dropout."""
        features = _flatten(representation)
        return self.kind(features, None), self.speed(features, None)

    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the weights of both heads."""
        return list(self.parameters())


def _flatten(representation: Tensor) -> Tensor:
    return representation.permute(1, 0, 2, 3).flatten(1)


def _summed(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
