"""The gradients of one step: layer by layer, with feedback from the layer above, or end to end."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from raytrain.collectives import GradientAverager, world_size
from raytrain.encoders import Encoder
from raytrain.objectives import Given, Objective

Watch = Callable[[int, Tensor, dict[str, Tensor]], None]
"""is shown a layer's number, its representation f[R, B, Q, C], and its objective's figures of the scores"""


@dataclass(kw_only=True)
class StepInputs:
    """What one step is made of."""

    maps: Tensor | None
    """f[N, C, h, w] or volumes f[N, C, T, h, w], N = R * B * Q, with a graph where a stem made them"""
    grid: torch.Size
    """(R, B, Q)"""
    given: Given
    stop: bool = False
    """whether this rank asks to stop"""
    watch: Watch | None = None

    def take_maps(self) -> Tensor:
        """Give the maps away, so that they are freed while the layers above are still at work."""
        maps, self.maps = self.maps, None
        assert maps is not None, "taken once"
        return maps


class Gradients:
    """Leaves a step's gradients in the parameters, and starts averaging them over the ranks on the way.

    A local objective trains each layer by its own loss: the next layer gets the detached output. A stem is
    trained with the layer that reads it.
    """

    def __init__(
        self, encoder: Encoder, objective: Objective, *, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._encoder, self._objective, self._autocast = encoder, objective, autocast
        self._averager = GradientAverager()

    def make(self, step: StepInputs) -> Tensor:
        """Return the losses and, with ranks, whether any asked to stop: f[num_losses (+ 1)], averaged."""
        if self._objective.feedback:
            self._with_feedback(step)
        elif self._objective.local:
            self._layer_by_layer(step)
        else:
            self._end_to_end(step)
        return self._averager.wait()

    def _layer_by_layer(self, step: StepInputs) -> None:
        """Forward, loss, backward and free one layer at a time."""
        maps = step.take_maps()
        for index in range(len(self._encoder.layers)):
            loss, maps = self._layer(index, maps, step)
            self._launch(index, loss, step)

    def _layer(self, index: int, maps: Tensor, step: StepInputs) -> tuple[Tensor, Tensor]:
        with self._autocast():
            representation_map, following = self._encoder.layers[index](maps)
            representation = self._encoder.representation(representation_map, step.grid)
            loss = self._objective.layer_loss(index, representation, step.given)
        self._show(step, index, representation, step.given)
        del representation_map, representation  # the graph holds what the backward pass still needs
        following = following.detach()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), following

    def _with_feedback(self, step: StepInputs) -> None:
        """As `_layer_by_layer`, but a layer goes backward once the layer above has seen the batch."""
        maps = representation = step.take_maps()
        given = step.given
        last = len(self._encoder.layers) - 1

        def backward(index: int, representation: Tensor) -> None:
            with self._autocast():
                loss = self._objective.layer_loss(index, representation, given)
            self._show(step, index, representation, given)
            loss.backward()  # type: ignore[no-untyped-call]
            self._launch(index, loss.detach(), step)

        for index, layer in enumerate(self._encoder.layers):
            below = representation
            with self._autocast():
                representation_map, maps = layer(maps if index == 0 else maps.detach())
                representation = self._encoder.representation(representation_map, step.grid)
                given = self._objective.feedback_to_below(index, representation.detach(), given)
            if index > 0:
                backward(index - 1, below)
        backward(last, representation)

    def _end_to_end(self, step: StepInputs) -> None:
        """One forward pass, one loss on the last layer, one backward pass."""
        last = len(self._encoder.layers) - 1
        with self._autocast():
            representation_map = self._encoder(step.take_maps(), self._watch_maps(step))
            representation = self._encoder.representation(representation_map, step.grid)
            loss = self._objective.layer_loss(last, representation, step.given)
        del representation_map, representation
        loss.backward()  # type: ignore[no-untyped-call]
        self._launch(last, loss.detach(), step)

    def _watch_maps(self, step: StepInputs) -> Callable[[int, Tensor], None] | None:
        if step.watch is None:
            return None

        def show(index: int, representation_map: Tensor) -> None:
            representation = self._encoder.representation(representation_map.detach(), step.grid)
            self._show(step, index, representation, step.given)

        return show

    @torch.no_grad()
    def _show(self, step: StepInputs, index: int, representation: Tensor, given: Given) -> None:
        if step.watch is None or not len(given):  # nothing to look at
            return
        seen, figures = representation.detach(), {}
        if index in self._objective.layers:
            with self._autocast():  # the scores as the loss takes them
                figures = self._objective.observe(index, seen, given)
        step.watch(index, seen, figures)

    def _launch(self, index: int, loss: Tensor, step: StepInputs) -> None:
        """Start averaging over the ranks: a loss, the gradients it made and, with the last, the stop.

        A rank without a sample went through it all for the others' statistics, and has no gradient.
        """
        scalars = loss.reshape(1)
        if world_size() > 1 and index == len(self._encoder.layers) - 1:
            scalars = torch.cat([scalars, scalars.new_full((1,), float(step.stop))])
        local, encoder = self._objective.local, self._encoder
        trained = encoder.layer_parameters(index) if local else list(encoder.parameters())
        trained = [*trained, *self._objective.layer_parameters(index)]
        if not len(step.given):
            for parameter in trained:
                parameter.grad = None
        self._averager.launch(trained, scalars=scalars)
