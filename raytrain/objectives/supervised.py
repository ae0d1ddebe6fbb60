"""Supervised: a linear classifier on the last layer, trained end to end with all layers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytrain.config.objectives import SupervisedConfig
from raytrain.errors import ConfigError
from raytrain.objectives.base import Given, Objective
from raytrain.objectives.known import mean_over_known


class Supervised(Objective):
    """Cross entropy of a linear classifier on the last layer, trained end to end.

    Softmax over the classes where a sample has one; where it may have several, the binary cross entropy of
    each class's sigmoid, mean over the classes. Mean over the labelled samples (label >= 0) of all ranks; 0
    where there is none.
    """

    local = False

    def __init__(
        self, config: SupervisedConfig, *, channels: tuple[int, ...], num_cells: int, num_classes: int
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(
                f"objective supervised needs labels of at least 2 classes, the data has {num_classes}; "
                "choose objective.name = 'clapp' or another data set"
            )
        self.pool = config.pool
        self.layers = (len(channels) - 1,)
        self.classifier = nn.Linear(channels[-1] * (1 if config.pool == "mean" else num_cells), num_classes)

    def draw(self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int) -> None:
        """Draw nothing."""

    def logits(self, representation: Tensor) -> Tensor:
        """Return f[B, num_classes] of the last layer's representation f[R, B, Q, C]."""
        if self.pool == "mean":
            features = representation.mean((0, 2))
        else:
            features = representation.permute(1, 0, 2, 3).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits

    def layer_loss(self, layer: int, representation: Tensor, given: Given) -> Tensor:
        """Return the loss; over ranks the mean of the ranks' losses is the joint batch's."""
        labels, logits = given.targets, self.logits(representation)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        known = labels >= 0
        if labels.dim() == 1:
            total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        else:
            targets = labels.to(logits.dtype)
            total = F.binary_cross_entropy_with_logits(
                logits, targets, known.to(logits.dtype), reduction="sum"
            )
            known, total = known[:, 0], total / labels.shape[1]
        return mean_over_known(total, known)

    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the classifier's weights."""
        return list(self.classifier.parameters())
