"""The check for finite losses and gradients, with or without waiting for the device."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from raytrain.errors import DivergedError


class FiniteGuard:
    """Watches one pathway's losses and gradients and remembers the first that was not finite.

    `watch` never waits for the device; `check` does, and raises.
    """

    def __init__(self, pathway: str, *, losses: tuple[str, ...], parameters: tuple[str, ...]) -> None:
        self._pathway = pathway
        self._names = [f"loss of {loss}" for loss in losses]
        self._names += [f"gradient of {parameter}" for parameter in parameters]
        self._diverged: Tensor | None = None
        self._values: Tensor | None = None
        self._good_steps: Tensor | None = None
        self._watched: list[tuple[int, int]] = []

    def watch(self, losses: Tensor, gradients: Sequence[Tensor | None], *, epoch: int, step: int) -> Tensor:
        """Look at one step; return f32[] on the device: 1 if anything so far was not finite, else 0."""
        missing = losses.new_zeros(())
        held = [gradient for gradient in gradients if gradient is not None]
        norms = iter(torch._foreach_norm(held, math.inf) if held else ())
        norms_of_all = [missing if gradient is None else next(norms) for gradient in gradients]
        values = torch.cat([losses, torch.stack(norms_of_all)])
        bad = (~values.isfinite()).any().float()
        if self._diverged is None or self._values is None or self._good_steps is None:
            self._diverged, self._values, self._good_steps = bad, values, 1 - bad
        else:
            self._values = torch.where(self._diverged > 0, self._values, values)
            self._diverged = torch.maximum(self._diverged, bad)
            self._good_steps += 1 - self._diverged
        self._watched.append((epoch, step))
        return self._diverged

    def check(self) -> None:
        """Wait for the device and start anew.

        Raises:
            DivergedError: something was not finite; it names the first such step, and in it the lowest
            layer's loss or else the first gradient.
        """
        diverged, values, good_steps, watched = self._diverged, self._values, self._good_steps, self._watched
        if diverged is None or values is None or good_steps is None or not diverged.item():
            self._diverged, self._values, self._good_steps, self._watched = None, None, None, []
            return
        epoch, step = watched[int(good_steps.item())]
        index = int((~values.isfinite()).nonzero()[0].item())
        raise DivergedError(
            f"pathway {self._pathway}: {self._names[index]} is {values[index].item()} at epoch {epoch}, "
            f"step {step}; stopped before the update, the last good checkpoint is kept; "
            "lower optimizer.learning_rate or use training.precision = 'fp32'"
        )
