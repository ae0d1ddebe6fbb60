"""What every objective is: a loss on the representation of some layers, with parameters of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a step knows of its B samples beside their representation: one entry a sample in everything."""

    targets: Tensor
    """i64[B], a class each, or i64[B, L] of 0 and 1 where a sample may have several; -1: none"""
    motion: Tensor | None = None
    """i64[B, 2], kind and speed, -1 in both: unknown; None: the samples are no clips of known motion"""
    positions: NDArray[np.int64]
    """in the order of the epoch, ascending"""
    groups: NDArray[np.int64]
    factors: Tensor
    """f32[B, F]; F = 0 where the data set has none"""
    draws: Any = None
    """the objective's own random choices of this step, once made"""

    def __len__(self) -> int:
        return len(self.positions)


class Objective(nn.Module, ABC):
    """A loss on representations; `draw` once a step, then `layer_loss` for each layer in `layers`."""

    local: bool
    """True: each layer is trained by its own loss, no gradient passes between layers"""
    layers: tuple[int, ...]
    """indices of the layers that carry a loss, bottom first"""
    feedback: bool = False
    """True: a layer's loss waits for `feedback_to_below` of the layer above; local objectives only"""

    @abstractmethod
    def draw(self, rng: np.random.Generator, given: Given, *, num_rows: int, num_columns: int) -> Any:
        """Return the random choices of all layers for one step, on the objective's device."""

    @abstractmethod
    def layer_loss(self, layer: int, representation: Tensor, given: Given) -> Tensor:
        """Return the scalar loss of one layer, in float32 or wider.

        `representation` is [R, B, Q, C]: rows of patches, images, columns, channels; `given` holds what
        `draw` returned.
        """

    def feedback_to_below(self, layer: int, representation: Tensor, given: Given) -> Given:
        """Return what the layer below shall be given, knowing this layer's representation."""
        return given

    def observe(self, layer: int, representation: Tensor, given: Given) -> dict[str, Tensor]:
        """Return figures of the scores behind `layer_loss`, scalars on the device, by their names in a log.

        It only looks: no gradient, no draw. {} where an objective has no such scores.
        """
        return {}

    @abstractmethod
    def layer_parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the parameters that the loss of this layer trains."""

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device
